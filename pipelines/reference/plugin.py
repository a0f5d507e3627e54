"""A plugin as its class describes it: facts, options, and a piece of config that uses it."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import yaml
from pydantic import BaseModel

from florilegium.engine.core.errors import UsageError
from florilegium.engine.planning.registry import is_module
from florilegium.pipelines.reference.model_schema import joined, names_of
from florilegium.pipelines.reference.options import Option
from florilegium.pipelines.reference.values import yaml_lines

_INDENT = "  "
_EMPTY = ("", "null", "''", "[]", "{}")
_WORD_START = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


@dataclass(frozen=True, kw_only=True)
class Plugin:
    """A class that a config names, and what a reader of its code would find out.

    `facts` has lines by what they are about: tasks, packages, the version. `stanza` is a piece of a
    config that uses it, `use` what names it there.
    """

    name: str
    use: str
    path: str
    doc: str
    facts: Mapping[str, tuple[str, ...]]
    config: type[BaseModel]
    options: tuple[Option, ...]
    stanza: str

    @property
    def title(self) -> str:
        """The first sentence of the documentation."""
        return title_of(self.doc)

    def to_json(self) -> dict[str, Any]:
        """Return all of it as JSON values."""
        facts = {name: list(lines) for name, lines in self.facts.items()}
        return {
            "name": self.name,
            "class": self.path,
            "doc": self.doc,
            **facts,
            "options": [option.to_json() for option in self.options],
            "stanza": self.stanza,
        }


@dataclass(frozen=True, kw_only=True)
class Broken:
    """A plugin whose entry point is installed and leads to no such class."""

    name: str
    error: str

    def to_json(self) -> dict[str, Any]:
        """Return the error as JSON values."""
        return {"name": self.name, "error": self.error}


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A kind of plugins: what it is called, which are installed, and what describes one."""

    what: str
    names: Callable[[], list[str]]
    describe: Callable[[str], Plugin]

    def all(self) -> Iterator[Plugin | Broken]:
        """Describe all that are installed, by name."""
        for name in self.names():
            try:
                yield self.describe(name)
            except UsageError as error:
                yield Broken(name=name, error=str(error))


def name_of(use: str) -> str:
    """Return a name for a stage in a config, where its class has none that is installed."""
    if not is_module(use):
        return use
    return _WORD_START.sub("_", use.rpartition(":")[2].rpartition(".")[2]).lower()


def values_of(model: type[BaseModel], options: tuple[Option, ...]) -> Iterator[tuple[str, Any]]:
    """Yield the options that a stanza has: those with an example, those that must be given, and
    those that the class itself declares, with their defaults unless these are empty."""
    names = names_of(model)
    for option in options:
        if examples := model.model_fields[names[option.name]].examples:
            yield option.name, examples[0]
        elif option.default is None:
            yield option.name, option.name.upper()
        elif option.owner is model and option.default not in _EMPTY:
            yield option.name, yaml.safe_load(option.default)


def nested(keys: list[str], values: Iterable[tuple[str, Any]]) -> str:
    """Return YAML in which the values stand under keys within keys."""
    lines = [f"{_INDENT * depth}{key}:" for depth, key in enumerate(keys)]
    for key, value in values:
        lines += (f"{_INDENT * len(keys)}{line}" for line in yaml_lines(key, value))
    return "".join(f"{line}\n" for line in lines)


def title_of(doc: str) -> str:
    """Return the first sentence of a documentation."""
    return re.split(r"(?<=\.) |\n", doc, maxsplit=1)[0]


def path_of(plugin: type) -> str:
    """Return where a class is, as a config names it: `package.module:Class`."""
    return f"{plugin.__module__}:{plugin.__qualname__}"


def doc_of(plugin: type) -> str:
    """Return the docstring of a class, each paragraph on one line."""
    return joined(inspect.cleandoc(plugin.__doc__ or ""))

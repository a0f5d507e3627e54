"""What is installed: stages, sources, merge rules and exporters, each as its class describes it."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from florilegium.engine.core.errors import MissingPackage, UsageError
from florilegium.engine.core.stage import Filter, Input, Stage
from florilegium.engine.planning.registry import (
    absent_packages,
    find_source,
    find_stage,
    installed_names,
    is_module,
    require_packages,
    source_names,
    stage_names,
)
from florilegium.pipelines.export.exporter import EXPORTERS, find_exporter
from florilegium.pipelines.merge.rules import RuleOptions, find_rule, rule_names
from florilegium.pipelines.reference.model_schema import joined
from florilegium.pipelines.reference.options import Option, options_of, yaml_lines

INSTALLED = "installed"
_INDENT = "  "
_EMPTY = ("null", "''", "[]", "{}")
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
        return re.split(r"(?<=\.) |\n", self.doc, maxsplit=1)[0]

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


def stage(use: str) -> Plugin:
    """Describe a stage, by its name or as `package.module:Class`.

    Raises:
        PlanError: there is no such stage.
    """
    stage_class = find_stage(use)
    options = options_of(stage_class.Config, is_asked=is_asked(stage_class))
    name = _name_of(use)
    own = [*([("use", use)] if name != use else []), *_values(stage_class.Config, options)]
    return Plugin(
        name=name,
        use=use,
        path=_path(stage_class),
        doc=_doc(stage_class),
        facts={key: lines for key, lines in _stage_facts(name, stage_class) if lines},
        config=stage_class.Config,
        options=options,
        stanza=_nested([stage_class.section, name], own),
    )


def _stage_facts(name: str, stage_class: type[Stage[Any]]) -> Iterator[tuple[str, tuple[str, ...]]]:
    result = made(stage_class)
    found = None if isinstance(result, str) else result
    yield "kind", (stage_class.section.removesuffix("s"),)
    yield "version", (str(stage_class.version),)
    reads = stage_class.reads or (found.reads if found else ())
    yield "reads", tuple(_inputs(reads)) or ("the image alone",)
    yield "produces", stage_class.produces or (found.produces if found else ())
    yield "answers one by one about", stage_class.each or (found.each if found else ())
    if issubclass(stage_class, Filter):
        yield "measures", stage_class.measured
        yield "a verdict depends on", (_JUDGES_BY[stage_class.judges_by],)
    if family := getattr(stage_class, "family", None):
        yield "model", (f"{family.title}, such as {family.example}",)
        yield "model types", family.model_types
    yield "packages", tuple(_packages(name, stage_class, found))
    if isinstance(result, str):
        yield "defaults", (f"it cannot be made with them: {result}",)


_JUDGES_BY = {
    "annotation": "the annotation alone: it can judge before other stages are asked",
    "task": "the annotations of its task in the image: it can judge before other stages are asked",
    "image": "all annotations of the image: it judges after all stages",
}


def is_asked(stage_class: type[Stage[Any]]) -> bool:
    """Whether stages of a class are asked about samples: all but filters that measure nothing."""
    return not issubclass(stage_class, Filter) or bool(stage_class.measured)


def _inputs(reads: Iterable[Input]) -> Iterator[str]:
    """Yield a line for each input that is needed, and one for all that are read where they are."""
    for wanted in reads:
        if not wanted.optional:
            *most, last = wanted.tasks
            yield f"{', '.join(most)} or {last}" if most else last
    maybe = [task for wanted in reads if wanted.optional for task in wanted.tasks]
    if maybe:
        yield f"where a stage produces it: {', '.join(maybe)}"


def made(stage_class: type[Stage[Any]]) -> Stage[Any] | str:
    """Return the stage with the defaults of its options, or why it cannot be made with them."""
    try:
        return stage_class(stage_class.Config())
    except ValidationError as error:
        wrong = error.errors(include_url=False)
        return "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in wrong)
    except Exception as error:  # a plugin may raise anything
        return str(error) or repr(error)


def _packages(name: str, stage_class: type[Stage[Any]], found: Stage[Any] | None) -> Iterator[str]:
    """Yield what the stage needs beyond the base installation, and what of that is missing."""
    if found:
        absent = [str(one) for one in absent_packages(name, found)]
    else:
        absent = list(_absent(name, stage_class))
    if stage_class.extra or stage_class.needs:
        bundle = f"extra `{stage_class.extra}`" if stage_class.extra else ""
        packages = ", ".join(stage_class.needs)
        state = [] if absent else [INSTALLED]
        yield ": ".join(filter(None, [bundle, packages, *state]))
    yield from absent
    family = getattr(stage_class, "family", None)
    if family is not None and family.needs_torchvision:
        yield f"extra `torchvision` for models of type {', '.join(family.needs_torchvision)}"


def _absent(name: str, stage_class: type[Stage[Any]]) -> Iterator[str]:
    try:
        require_packages(name, stage_class)
    except MissingPackage as error:
        yield str(error)


def source(kind: str) -> Plugin:
    """Describe a kind of source, by its name or as `package.module:Class`.

    Raises:
        ConfigError: there is no such kind.
    """
    source_class = find_source(kind)
    options = options_of(source_class.Config)
    is_packed = "archives: an item has many images, and is a shard of its own"
    facts = {
        "reads": (is_packed if source_class.is_packed else "images one by one",),
        "labels": source_class.produces or ("those that it finds: name their tasks in `provides`",),
    }
    own = [("kind", kind), *_values(source_class.Config, options)]
    return Plugin(
        name=_name_of(kind),
        use=kind,
        path=_path(source_class),
        doc=_doc(source_class),
        facts=facts,
        config=source_class.Config,
        options=tuple(option for option in options if option.name != "kind"),
        stanza=_nested(["source"], own),
    )


def rule(name: str) -> Plugin:
    """Describe a merge rule.

    Raises:
        ConfigError: there is no such rule.
    """
    rule_class = find_rule(name)
    fits = "one that is fitted to an audit; without it, `agreement` is used"
    needed = [(option, option.upper()) for option in rule_class.requires]
    return Plugin(
        name=name,
        use=name,
        path=_path(rule_class),
        doc=_doc(rule_class),
        facts={"calibration": (fits,)} if rule_class.needs_calibration else {},
        config=RuleOptions,
        options=options_of(RuleOptions),
        stanza=_nested(["specialists", "merge"], [("rule", name), *needed]),
    )


def exporter(name: str) -> Plugin:
    """Describe an export format.

    Raises:
        ConfigError: there is no such format.
    """
    exporter_class = find_exporter(name)
    options = options_of(exporter_class.Config)
    return Plugin(
        name=name,
        use=name,
        path=_path(exporter_class),
        doc=_doc(exporter_class),
        facts={"command": (f"florilegium export DIR --format {name} --output FOLDER",)},
        config=exporter_class.Config,
        options=options,
        stanza=_nested([], _values(exporter_class.Config, options)),
    )


STAGES = Kind(what="stage", names=stage_names, describe=stage)
SOURCES = Kind(what="source", names=source_names, describe=source)
RULES = Kind(what="merge rule", names=rule_names, describe=rule)
EXPORT_FORMATS = Kind(
    what="export format", names=partial(installed_names, EXPORTERS), describe=exporter
)


def _name_of(use: str) -> str:
    """Return a name for a stage in a config, where its class has none that is installed."""
    if not is_module(use):
        return use
    return _WORD_START.sub("_", use.rpartition(":")[2].rpartition(".")[2]).lower()


def _values(model: type[BaseModel], options: tuple[Option, ...]) -> Iterator[tuple[str, Any]]:
    """Yield the options that a stanza has: those with an example, those that must be given, and
    those that the class itself declares, with their defaults unless these are empty."""
    for option in options:
        if examples := model.model_fields[option.name].examples:
            yield option.name, examples[0]
        elif option.default is None:
            yield option.name, option.name.upper()
        elif option.owner is model and option.default not in _EMPTY:
            yield option.name, yaml.safe_load(option.default)


def _nested(keys: list[str], values: Iterable[tuple[str, Any]]) -> str:
    """Return YAML in which the values stand under keys within keys."""
    lines = [f"{_INDENT * depth}{key}:" for depth, key in enumerate(keys)]
    for key, value in values:
        lines += (f"{_INDENT * len(keys)}{line}" for line in yaml_lines(key, value))
    return "".join(f"{line}\n" for line in lines)


def _path(plugin: type) -> str:
    return f"{plugin.__module__}:{plugin.__qualname__}"


def _doc(plugin: type) -> str:
    return joined(inspect.cleandoc(plugin.__doc__ or ""))

"""Checks: each looks at one subject and yields a sentence for each fault. Each is made once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import import_module
from typing import Any, Generic, TypeVar, get_args

from pydantic import BaseModel

from florilegium.engine.core.documented import attribute_docs
from florilegium.testing.faults import ContractBroken, raised

SubjectT = TypeVar("SubjectT")
Check = Callable[[SubjectT], Iterator[str]]
"""Yields a sentence for each fault that it finds; its docstring tells what it wants."""


class Checks(Generic[SubjectT]):
    """The checks of a subject.

    `required` has checks that make no sense unless others have found nothing, with these others.
    """

    def __init__(
        self,
        subject: SubjectT,
        every: Sequence[Check[SubjectT]],
        required: Mapping[Check[SubjectT], tuple[Check[SubjectT], ...]],
    ) -> None:
        self.subject = subject
        self.every = tuple(every)
        self._required = required
        self._found: dict[Check[SubjectT], list[str]] = {}

    def faults(self, check: Check[SubjectT]) -> list[str]:
        """Return what a check finds; nothing where it makes no sense."""
        if check not in self._found:
            self._found[check] = [] if self.is_pointless(check) else self._made(check)
        return self._found[check]

    def is_pointless(self, check: Check[SubjectT]) -> bool:
        """Whether a check makes no sense, as one that it requires found a fault."""
        required = self._required.get(check, ())
        return any(self.faults(one) or self.is_pointless(one) for one in required)

    def _made(self, check: Check[SubjectT]) -> list[str]:
        try:
            return list(check(self.subject))
        except Exception as error:  # of any kind, from code of the plugin
            return [f"{check.__name__}: it raises {raised(error)}"]

    def raise_faults(self, name: str) -> None:
        """Make all checks.

        Raises:
            ContractBroken: with what they found.
        """
        if faults := [fault for check in self.every for fault in self.faults(check)]:
            raise ContractBroken(name, faults)


def name_of(plugin: type) -> str:
    """Return what names a class in a config: `package.module:Class`."""
    return f"{plugin.__module__}:{plugin.__qualname__}"


def naming_faults(plugin: type) -> Iterator[str]:
    """Find out whether a class is where its name leads."""
    if plugin.__module__ == "__main__":
        yield (
            f"{name_of(plugin)!r} is of the program itself, so no config and no worker finds it: "
            f"put it in a module and import it"
        )
        return
    place: Any = import_module(plugin.__module__)
    for part in plugin.__qualname__.split("."):
        place = getattr(place, part, None)
    if place is not plugin:
        yield (
            f"{name_of(plugin)!r} does not lead to the class, so no config and no worker finds it: "
            f"define it at the top of a module that can be imported"
        )


def config_faults(config_class: type[BaseModel]) -> Iterator[str]:
    """Find out whether options are frozen and documented, and refuse unknown keys, also within."""
    name = config_class.__name__
    if not config_class.model_config.get("frozen"):
        yield f"{name} is not frozen: derive it from the base class and keep its `model_config`"
    if config_class.model_config.get("extra") != "forbid":
        yield (
            f"{name} accepts unknown keys, so a typing error in a config is silent: set "
            f'extra="forbid"'
        )
    for model in sorted(_models_in(config_class) - {config_class}, key=lambda one: one.__name__):
        if model.model_config.get("extra") != "forbid":
            yield (
                f"{model.__name__}, which is part of {name}, accepts unknown keys, so a typing "
                f'error in a config is silent: set extra="forbid"'
            )
    documented = attribute_docs(config_class)
    for field, info in config_class.model_fields.items():
        if not info.description and field not in documented:
            yield (
                f"the option {name}.{field} is not documented: write a string below it, with unit "
                f"and range"
            )


def _models_in(config_class: type[BaseModel]) -> set[type[BaseModel]]:
    """Return a model and those of which its fields have values, at any depth."""
    found: set[type[BaseModel]] = set()
    kinds: list[Any] = [config_class]
    while kinds:
        kind = kinds.pop()
        kinds += get_args(kind)
        if isinstance(kind, type) and issubclass(kind, BaseModel) and kind not in found:
            found.add(kind)
            kinds += [info.annotation for info in kind.model_fields.values()]
    return found


def doc_faults(plugin: type) -> Iterator[str]:
    """Find out whether a class has a docstring of its own."""
    if not plugin.__doc__:
        yield "it has no docstring, which documentation and lists show: write one sentence"

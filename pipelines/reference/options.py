"""The options of a config, as people read them: type and range, default, meaning, cost of a change.

All of it comes from the model's JSON schema and from the marks on its fields.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import yaml
from pydantic import BaseModel

from florilegium.engine.core.stage import CONTENT, RUNTIME, THRESHOLD, Marker, StageConfig
from florilegium.pipelines.reference.model_schema import (
    Schema,
    names_of,
    resolved,
    schemas_of,
    within,
)
from florilegium.pipelines.reference.values import value_text, yaml_line

ANY_NAME = "NAME"
"""Stands for a key that the user chooses, in the names of nested options."""


class Change(StrEnum):
    """What a new value of a stage's option costs."""

    NOTHING = "free"
    """No answer changes, and nothing is asked again."""
    VERDICTS = "judged again"
    """Verdicts are made again from stored measurements. Of other stages, only those that are asked
    about what passes are asked, about what passes now and did not before."""
    CONTENT = "asked again if the content differs"
    """The same content elsewhere is free. Other content is asked again, as below."""
    ANSWERS = "asked again"
    """The stage, and all stages that read it, are asked again about all samples."""


_CHANGES = {RUNTIME: Change.NOTHING, THRESHOLD: Change.VERDICTS, CONTENT: Change.CONTENT}


@dataclass(frozen=True, kw_only=True, slots=True)
class Option:
    """A key of a config.

    `name` is dotted for a key within another. `value` is its type and range. `default` is YAML,
    `None` where the key must be given, and empty where code makes it. `owner` is the class that
    declares it. `change` is of stages only.
    """

    name: str
    value: str
    default: str | None
    doc: str
    owner: type[BaseModel]
    change: Change | None = None
    nested: tuple[Option, ...] = ()

    @property
    def default_text(self) -> str:
        """The default in words."""
        if self.default is None:
            return "required"
        return f"default {self.default}" if self.default else "a default that code makes"

    @property
    def all(self) -> Iterator[Option]:
        """Yield the option and those in it, depth first."""
        yield self
        for option in self.nested:
            yield from option.all

    def to_json(self) -> dict[str, Any]:
        """Return the option as JSON values; what it has not is left out."""
        values: dict[str, Any] = {"name": self.name, "value": self.value}
        if self.default:
            values["default"] = yaml.safe_load(self.default)
        values |= {"is_required": self.default is None, "doc": self.doc}
        if self.change:
            values["change"] = str(self.change)
        if self.nested:
            values["options"] = [option.to_json() for option in self.nested]
        return values


def options_of(model: type[BaseModel], *, is_asked: bool = True) -> tuple[Option, ...]:
    """Return the options of a config, those that its own class declares first; `is_asked` as in
    `change_of`."""
    names, definitions = schemas_of([model])
    schema = definitions[names[model]]
    order, fields = [*model.__mro__], names_of(model)
    keys = sorted(fields, key=lambda key: order.index(owner_of(model, fields[key])))
    return tuple(
        _option(
            key,
            schema,
            definitions,
            owner=owner_of(model, fields[key]),
            change=change_of(model, fields[key], is_asked=is_asked),
        )
        for key in keys
    )


def owner_of(model: type[BaseModel], name: str) -> type[BaseModel]:
    """Return the class that declares a field, the one that is looked at first."""
    return next(one for one in model.__mro__ if name in vars(one).get("__annotations__", {}))


def change_of(model: type[BaseModel], name: str, *, is_asked: bool = True) -> Change | None:
    """Return what a new value of an option costs; `None` where it is not one of a stage. A filter
    that measures nothing is not asked: it only judges."""
    if not issubclass(model, StageConfig):
        return None
    marks = model.model_fields[name].metadata
    others = Change.ANSWERS if is_asked else Change.VERDICTS
    known = [one for one in marks if isinstance(one, Marker) and one in _CHANGES]
    return _CHANGES[known[0]] if known else others


def _option(
    name: str,
    schema: Schema,
    definitions: Schema,
    *,
    owner: type[BaseModel],
    change: Change | None,
    above: str = "",
) -> Option:
    field = schema["properties"].get(name, {})
    dotted = f"{above}{name}"
    nested = tuple(
        _option(one, inner, known, owner=owner, change=change, above=f"{dotted}{between}")
        for between, inner, known in _mappings(field, definitions)
        for one in inner["properties"]
    )
    return Option(
        name=dotted,
        value=value_text(field, definitions),
        default=None if name in schema.get("required", ()) else _default(field, definitions),
        doc=field.get("description", ""),
        owner=owner,
        change=change,
        nested=nested,
    )


def _mappings(schema: Schema, definitions: Schema) -> Iterator[tuple[str, Schema, Schema]]:
    """Yield the mappings of known keys in a value, each with what stands between the names and the
    definitions for what is in it."""
    found, definitions = resolved(schema, definitions), within(schema, definitions)
    if "properties" in found:
        yield ".", found, definitions
    elif "items" in found:
        yield from _mappings(found["items"], definitions)
    elif isinstance(found.get("additionalProperties"), dict):
        for between, one, known in _mappings(found["additionalProperties"], definitions):
            yield f".{ANY_NAME}{between}", one, known
    else:
        distinct: dict[int, tuple[str, Schema, Schema]] = {}
        for one in found.get("anyOf", ()):
            distinct |= {id(each[1]): each for each in _mappings(one, definitions)}
        yield from distinct.values()


def _default(field: Schema, definitions: Schema) -> str:
    """Return a default as YAML on one line, without what its own parts have by default; empty where
    it is no JSON, or made from other options."""
    if "default" not in field:
        return ""
    value = _without_defaults(field.get("default"), field, definitions)
    return yaml_line(value)


def _without_defaults(value: Any, schema: Schema, definitions: Schema) -> Any:
    if not isinstance(value, dict):
        return value
    found = resolved(schema, definitions)
    if "properties" in found:
        inner = found["properties"]
        return {
            key: _without_defaults(one, inner.get(key, {}), definitions)
            for key, one in value.items()
            if key not in inner or inner[key].get("default") != one
        }
    of_each = found.get("additionalProperties")
    if isinstance(of_each, dict):
        return {key: _without_defaults(one, of_each, definitions) for key, one in value.items()}
    return value

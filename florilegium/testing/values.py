"""Other valid values of an option, found in the JSON schema of its config."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from pydantic.errors import PydanticInvalidForJsonSchema

from florilegium.engine.core.stage import StageConfig
from florilegium.engine.planning.config import validated

Schema = Mapping[str, Any]
_BOTH = range(2)
"""Of a number in a list or a mapping, the low and the high value."""


def other_values(
    config: StageConfig,
    name: str,
    *,
    given: Mapping[str, Any],
    names: Sequence[str] = (),
    has_any_text: bool = True,
) -> list[Any]:
    """Return values of an option, as JSON, that differ from that of `config` and that it accepts.

    Args:
        given: the options of which `config` was made; the others keep these values.
        names: keys to try in a mapping that is empty.
        has_any_text: whether a text may be made up, which is harmful where it is a folder.
    """
    try:
        schema = type(config).model_json_schema()
    except PydanticInvalidForJsonSchema:
        return []
    values = Values(schema.get("$defs", {}), names, has_any_text=has_any_text)
    now = _json_of(config)[name]
    found: list[Any] = []
    for value in values.of(schema["properties"][name], now):
        accepted = _accepted(type(config), {**given, name: value}, name)
        if all(accepted != one for one in (None, [now], *([one] for one in found))):
            found += accepted or []
    return found


def _accepted(config_class: type[StageConfig], options: Any, name: str) -> list[Any] | None:
    """Return the value that the config makes of an option, in a list; `None` if it refuses it."""
    try:
        return [_json_of(validated(config_class, options, where=name))[name]]
    except Exception:  # of any kind, from validators of the plugin
        return None


def _json_of(config: StageConfig) -> dict[str, Any]:
    return config.model_dump(mode="json")


class Values:
    """Finds values that a schema may allow; validators may still refuse them."""

    def __init__(
        self, definitions: Mapping[str, Schema], names: Sequence[str], *, has_any_text: bool
    ) -> None:
        self._definitions = definitions
        self._names = names
        self._has_any_text = has_any_text

    def of(self, schema: Schema, now: Any) -> Iterator[Any]:
        """Yield values other than `now`: of a number a low one, then a high one."""
        yield from (value for value in self._any_of(schema, now) if value != now)

    def _any_of(self, schema: Schema, now: Any) -> Iterator[Any]:
        schema = self._definitions.get(schema.get("$ref", "").rsplit("/", 1)[-1], schema)
        if "enum" in schema or "const" in schema:
            yield from schema.get("enum", [schema.get("const")])
            return
        for one in (*schema.get("anyOf", ()), *schema.get("oneOf", ())):
            yield from self._any_of(one, now)
        match schema.get("type"):
            case "boolean":
                yield from (not now,) if isinstance(now, bool) else (False, True)
            case "null":
                yield None
            case "integer":
                yield from (int(one) for one in numbers(schema, now))
            case "number":
                yield from numbers(schema, now)
            case "string" if self._has_any_text:
                yield f"{now}2" if isinstance(now, str) and now else "other"
            case "array":
                yield from self._lists(schema, now if isinstance(now, list) else [])
            case "object":
                yield from self._mappings(schema, now if isinstance(now, dict) else {})

    def _lists(self, schema: Schema, now: list[Any]) -> Iterator[list[Any]]:
        """Yield lists with each item changed, without one, empty, and of any other items."""
        first = schema.get("prefixItems", [])
        schemas = [*first, *[schema.get("items", {})] * (len(now) - len(first))]
        for number in _BOTH:
            yield [self._pick(one, item, number) for one, item in zip(schemas, now, strict=False)]
        yield from (now[1:], now[:-1], [])
        yield list(self.of(schema.get("items", {}), None))

    def _mappings(self, schema: Schema, now: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """Yield mappings with the value of each key changed; an empty one gets keys."""
        fields = schema.get("properties")
        if fields is not None:
            for number in _BOTH:
                yield {
                    name: self._pick(one, now.get(name, one.get("default")), number)
                    for name, one in fields.items()
                }
            return
        item = schema.get("additionalProperties")
        item = item if isinstance(item, dict) else {}
        known = schema.get("propertyNames", {}).get("enum", self._names)
        for number in _BOTH:
            yield {name: self._pick(item, one, number) for name, one in now.items()}
            if not now:
                yield {name: self._pick(item, None, number) for name in known}
        yield {}

    def _pick(self, schema: Schema, now: Any, number: int) -> Any:
        """Return one of the other values; `now` if there is none."""
        found = list(self.of(schema, now))
        return found[min(number, len(found) - 1)] if found else now


def numbers(schema: Schema, now: Any) -> tuple[float, float]:
    """Return a low and a high number: the limits of the range, half and double where it has none,
    or a number between where the limit itself is not in the range."""
    is_number = isinstance(now, int | float) and not isinstance(now, bool)
    lowest, below = schema.get("minimum"), schema.get("exclusiveMinimum")
    highest, above = schema.get("maximum"), schema.get("exclusiveMaximum")
    start = now if is_number else next(_given((lowest, below, highest, above)), 0)
    low = lowest if lowest is not None else start / 2 if start else -1
    high = highest if highest is not None else max(2 * start, start) + 1
    if lowest is None and below is not None:
        low = (below + start) / 2
    if highest is None and above is not None:
        high = (above + start) / 2
    step = schema.get("multipleOf")
    return (low, high) if not step else (low // step * step, high // step * step)


def _given(limits: Collection[float | None]) -> Iterator[float]:
    return (one for one in limits if one is not None)

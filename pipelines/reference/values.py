"""Values of a config in words and as YAML."""

from __future__ import annotations

from typing import Any

import yaml

from florilegium.pipelines.reference.model_schema import Schema, resolved, within

_LONGEST = 72
"""Characters of a key with its value on one line."""


def yaml_line(value: Any) -> str:
    """Return a value as YAML on one line."""
    text = yaml.safe_dump(
        value, default_flow_style=True, sort_keys=False, width=float("inf"), allow_unicode=True
    )
    return text.removesuffix("\n").removesuffix("\n...")


def yaml_lines(key: str, value: Any) -> list[str]:
    """Return a key with its value as YAML: on one line, or where that is long, an entry on each."""
    line = f"{key}: {yaml_line(value)}"
    if len(line) <= _LONGEST or not isinstance(value, dict):
        return [line]
    inner = (one for name, entry in value.items() for one in yaml_lines(name, entry))
    return [f"{key}:", *(f"  {one}" for one in inner)]


def value_text(schema: Schema, definitions: Schema) -> str:
    """Return the type and the range of a value in words."""
    found, definitions = resolved(schema, definitions), within(schema, definitions)
    if "anyOf" in found:
        texts = dict.fromkeys(value_text(one, definitions) for one in found["anyOf"])
        return " or ".join(sorted(texts, key="null".__eq__))
    if "enum" in found or "const" in found:
        *most, last = (f"`{yaml_line(one)}`" for one in found.get("enum", [found.get("const")]))
        return f"{', '.join(most)} or {last}" if most else last
    return _TYPES[found.get("type", "any")](found, definitions)


def _number(kind: str, schema: Schema) -> str:
    least, most = schema.get("minimum"), schema.get("maximum")
    above, below = schema.get("exclusiveMinimum"), schema.get("exclusiveMaximum")
    if least is not None and most is not None:
        return f"{kind} {least}..{most}"
    limits = (("at least", least), ("above", above), ("at most", most), ("below", below))
    words = [f"{word} {limit}" for word, limit in limits if limit is not None]
    return " ".join((kind, " and ".join(words))).rstrip()


def _list(schema: Schema, definitions: Schema) -> str:
    if "prefixItems" in schema:
        kinds = dict.fromkeys(value_text(one, definitions) for one in schema["prefixItems"])
        return f"list of {len(schema['prefixItems'])}: {', '.join(kinds)}"
    if schema.get("maxItems") == 0:
        return "empty list"
    text = value_text(schema.get("items", {}), definitions)
    return f"list of: {text}{_least(schema, 'minItems')}"


def _mapping(schema: Schema, definitions: Schema) -> str:
    of_each = schema.get("additionalProperties")
    for one in schema.get("patternProperties", {}).values():
        of_each = one
    if "properties" in schema or not isinstance(of_each, dict) or not of_each:
        return "mapping"
    text = f"mapping of names to: {value_text(of_each, definitions)}"
    return f"{text}{_least(schema, 'minProperties')}"


def _least(schema: Schema, key: str) -> str:
    """Return how long a value is at least."""
    least = schema.get(key, 0)
    return f", at least {least}" if least > 1 else ", not empty" if least else ""


_TYPES = {
    "any": lambda schema, definitions: "anything",
    "null": lambda schema, definitions: "null",
    "string": lambda schema, definitions: f"text{_least(schema, 'minLength')}",
    "boolean": lambda schema, definitions: "`true` or `false`",
    "integer": lambda schema, definitions: _number("whole number", schema),
    "number": lambda schema, definitions: _number("number", schema),
    "array": _list,
    "object": _mapping,
}

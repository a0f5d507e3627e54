"""JSON schemas of configs, with the docstrings of their fields as descriptions."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from typing import Any, ClassVar

from pydantic import AliasChoices, BaseModel
from pydantic.fields import FieldInfo
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaWarningKind, models_json_schema
from pydantic_core import to_jsonable_python

from florilegium.engine.core.documented import attribute_docs

Schema = dict[str, Any]
"""A JSON schema of draft 2020-12, or a part of one."""
REFERENCE = "#/$defs/"
"""How a reference to a definition begins."""


class _Documented(GenerateJsonSchema):
    """Describes fields by their docstrings, has the defaults that a function makes, and leaves out
    titles made of names."""

    ignored_warning_kinds: ClassVar[set[JsonSchemaWarningKind]] = {  # type: ignore[misc]
        "skipped-choice",
        "non-serializable-default",
    }

    def handle_invalid_for_json_schema(self, schema: Any, error_info: str) -> Schema:
        """Accept anything for a type that JSON does not know: one option of a plugin must not hide
        all others."""
        return {}

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False

    def model_schema(self, schema: Any) -> Schema:
        described = super().model_schema(schema)
        described.pop("title", None)
        model = schema["cls"]
        docs, names = attribute_docs(model), names_of(model)
        for key, field in described.get("properties", {}).items():
            name = names[key]
            if name in docs:
                field.setdefault("description", joined(docs[name]))
            info = model.model_fields[name]
            if info.default_factory and not info.default_factory_takes_validated_data:
                with suppress(Exception):  # code of a plugin; the option has no default then
                    value = info.get_default(call_default_factory=True)
                    field.setdefault("default", to_jsonable_python(value, serialize_unknown=True))
        return described


def schemas_of(models: Iterable[type[BaseModel]]) -> tuple[dict[type[BaseModel], str], Schema]:
    """Return the names of models among the definitions, and the definitions by name, those of
    nested models included."""
    given = [(model, "validation") for model in dict.fromkeys(models)]
    found, whole = models_json_schema(given, schema_generator=_Documented)  # type: ignore[arg-type]
    names = {model: one["$ref"].removeprefix(REFERENCE) for (model, _), one in found.items()}
    return names, whole["$defs"]  # type: ignore[return-value]


def resolved(schema: Schema, definitions: Schema) -> Schema:
    """Return what a schema refers to, or itself."""
    name = str(schema.get("$ref", "")).removeprefix(REFERENCE)
    return definitions.get(name, {}) if name else schema


def within(schema: Schema, definitions: Schema) -> Schema:
    """Return the definitions for what is in a schema: without its own, so that one that holds
    itself ends."""
    own = str(schema.get("$ref", "")).removeprefix(REFERENCE)
    return {name: one for name, one in definitions.items() if name != own} if own else definitions


def names_of(model: type[BaseModel]) -> dict[str, str]:
    """Return the names of a model's fields by the keys that they have in a config: their aliases,
    where they have some."""
    return {_key(name, field): name for name, field in model.model_fields.items()}


def _key(name: str, field: FieldInfo) -> str:
    alias = field.validation_alias or field.alias or name
    while isinstance(alias, AliasChoices):
        alias = alias.choices[0]
    return alias if isinstance(alias, str) else str(alias.path[0])


def joined(text: str) -> str:
    """Return a text with each paragraph on one line."""
    paragraphs = text.strip().split("\n\n")
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)

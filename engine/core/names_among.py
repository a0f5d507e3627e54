"""Names that a validator checks, in the JSON schema of a config: editors complete them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any


class NamesAmong:
    """Marks a list of names, or a mapping by name, whose names are among these.

    `tasks: Annotated[tuple[str, ...], NamesAmong(CAPTION_TASKS)]`; a validator of the config checks
    them, with a message that names the nearest.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self.names = [*names]

    def __get_pydantic_json_schema__(self, schema: Any, handler: Any) -> dict[str, Any]:
        described: dict[str, Any] = handler(schema)
        key = "items" if described["type"] == "array" else "propertyNames"
        return {**described, key: {"type": "string", "enum": self.names}}

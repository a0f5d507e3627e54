"""Text of strangers for a terminal, which would obey what is in it.

With ESC or CSI a label could move the cursor and rewrite what is shown, with a mark of direction
turn it around.
"""

from __future__ import annotations

from typing import Any


def escaped(value: Any) -> Any:
    """Write what cannot be printed, in every text of a JSON-like value, as in source code."""
    if isinstance(value, str):
        return "".join(map(_character, value))
    if isinstance(value, list):
        return [escaped(one) for one in value]
    if isinstance(value, dict):
        return {name: escaped(one) for name, one in value.items()}
    return value


def _character(one: str) -> str:
    return one if one.isprintable() else one.encode("unicode_escape").decode()

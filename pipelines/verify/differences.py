"""Where two JSON values differ, leaf by leaf."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

_SHOWN = 60  # characters of a value
_NOTHING = object()


def differences(expected: Any, found: Any, path: str = "") -> Iterator[tuple[str, str, str]]:
    """Yield the path of each difference, and the values of both sides.

    1, 1.0 and true differ; two floats do when they differ in more than the last digits.
    """
    if isinstance(expected, dict) and isinstance(found, dict):
        for name in sorted(expected.keys() | found.keys()):
            inner = f"{path}.{name}" if path else name
            yield from differences(expected.get(name, _NOTHING), found.get(name, _NOTHING), inner)
    elif isinstance(expected, list) and isinstance(found, list) and len(expected) == len(found):
        for index, pair in enumerate(zip(expected, found, strict=True)):
            yield from differences(*pair, f"{path}.{index}" if path else str(index))
    elif not _is_same(expected, found):
        yield path, _shown(expected), _shown(found)


def _is_same(expected: Any, found: Any) -> bool:
    if type(expected) is not type(found):
        return False
    return (
        math.isclose(expected, found, rel_tol=1e-9)
        if isinstance(expected, float)
        else expected == found
    )


def _shown(value: Any) -> str:
    return "nothing" if value is _NOTHING else repr(value)[:_SHOWN]

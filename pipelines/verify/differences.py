"""Where two JSON values differ, leaf by leaf."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

_SHOWN = 60  # characters of a value
_NOTHING = object()


def differences(said: Any, found: Any, path: str = "") -> Iterator[tuple[str, str, str]]:
    """Yield the path of each difference, and what stands there on either side.

    1, 1.0 and true differ; two floats do where more than the last digits are other ones.
    """
    if isinstance(said, dict) and isinstance(found, dict):
        for name in sorted(said.keys() | found.keys()):
            inner = f"{path}.{name}" if path else name
            yield from differences(said.get(name, _NOTHING), found.get(name, _NOTHING), inner)
    elif isinstance(said, list) and isinstance(found, list) and len(said) == len(found):
        for place, pair in enumerate(zip(said, found, strict=True)):
            yield from differences(*pair, f"{path}.{place}" if path else str(place))
    elif not _is_same(said, found):
        yield path, _shown(said), _shown(found)


def _is_same(said: Any, found: Any) -> bool:
    if type(said) is not type(found):
        return False
    return math.isclose(said, found, rel_tol=1e-9) if isinstance(said, float) else said == found


def _shown(value: Any) -> str:
    return "nothing" if value is _NOTHING else repr(value)[:_SHOWN]

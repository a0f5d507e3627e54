"""JSON of strangers: how deep it may be is checked before it is parsed.

Python's parser calls itself for each list and object within another, until it can no more.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np

_STEPS = np.zeros(256, np.int8)
_STEPS[list(b"[{")] = 1
_STEPS[list(b"]}")] = -1


class TooDeep(ValueError):
    """JSON has more lists and objects within each other than the limit, or than Python reads."""


def parsed(
    data: str | bytes,
    *,
    max_depth: int,
    parse_constant: Callable[[str], Any] | None = None,
    object_pairs_hook: Callable[[list[tuple[str, Any]]], Any] | None = None,
) -> Any:
    """Return the value of a JSON text; `parse_constant` and the hook as in `json.loads`.

    Raises:
        TooDeep: it has more lists and objects within each other.
        ValueError: it is no JSON.
    """
    if isinstance(data, bytes):
        data = data.decode(json.detect_encoding(data), "surrogatepass")  # as `json.loads` does
    if (depth := depth_of(data)) > max_depth:
        raise TooDeep(f"{depth} lists and objects within each other, the limit is {max_depth}")
    try:
        return json.loads(data, parse_constant=parse_constant, object_pairs_hook=object_pairs_hook)
    except RecursionError as error:  # of a limit that is higher than the parser's own
        raise TooDeep(f"{depth} lists and objects within each other: too many") from error


def depth_of(text: str) -> int:
    """Return how many lists and objects of a JSON text lie within each other; 1 means one."""
    if "[" not in text and "{" not in text:
        return 0
    # Between the quotes, which are no escaped ones, every second piece is a string.
    bare = "".join(text.replace("\\\\", "").replace('\\"', "").split('"')[::2])
    steps = _STEPS[np.frombuffer(bare.encode("utf-8", "replace"), np.uint8)]
    return int(max(0, np.cumsum(steps, dtype=np.int64).max(initial=0)))

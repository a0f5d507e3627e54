"""JSON of strangers: how deep it may be and how much it may hold is checked before it is parsed.

Python's parser calls itself for each list and object within another, until it can no more, and
makes dozens of bytes of each byte.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np

from engine.safety.escaped import cut

_STEPS = np.zeros(256, np.int8)
_STEPS[list(b"[{")] = 1
_STEPS[list(b"]}")] = -1
_BEFORE_VALUES = np.zeros(256, np.bool_)
_BEFORE_VALUES[list(b"[{,")] = True
_QUOTE = ord('"')


class TooDeep(ValueError):
    """JSON has more lists and objects within each other than the limit, or than Python reads."""


class TooManyValues(ValueError):
    """JSON has more values than the limit."""


def parsed(
    data: str | bytes,
    *,
    max_depth: int,
    max_values: int | None = None,
    has_unique_keys: bool = False,
    parse_constant: Callable[[str], Any] | None = None,
) -> Any:
    """Return the value of a JSON text; `parse_constant` as in `json.loads`.

    With `has_unique_keys` an object that has a key twice is refused: which of its values is meant,
    nothing tells.

    Raises:
        TooDeep: it has more lists and objects within each other.
        TooManyValues: it has more values, those of objects and lists counted.
        ValueError: it is no JSON.
    """
    if isinstance(data, bytes):
        data = data.decode(json.detect_encoding(data), "surrogatepass")  # as `json.loads` does
    depth, values = measure(data)
    if depth > max_depth:
        raise TooDeep(f"{depth} lists and objects within each other, the limit is {max_depth}")
    if max_values is not None and values > max_values:
        raise TooManyValues(
            f"up to {values} values, the limit is {max_values} (limits.max_json_values)"
        )
    hook = _unique if has_unique_keys else None
    try:
        return json.loads(data, parse_constant=parse_constant, object_pairs_hook=hook)
    except RecursionError as error:  # of a limit that is higher than the parser's own
        raise TooDeep(f"{depth} lists and objects within each other: too many") from error


def depth_of(text: str) -> int:
    """Return how many lists and objects of a JSON text lie within each other; 1 means one."""
    return measure(text)[0]


def measure(text: str) -> tuple[int, int]:
    """Return how many lists and objects of a JSON text lie within each other, and how many values
    it has at most."""
    if "[" not in text and "{" not in text:
        return 0, 1
    bare = text.replace("\\\\", "").replace('\\"', "").encode("utf-8", "replace")
    letters = np.frombuffer(bare, np.uint8)
    # Behind an odd number of quotes lies a string; the last bit of a count that runs over stays.
    is_text = (np.cumsum(letters == _QUOTE, dtype=np.uint8) & 1).astype(np.bool_)
    steps = np.where(is_text, np.int8(0), _STEPS[letters])
    depth = int(max(0, np.cumsum(steps, dtype=np.int32).max(initial=0)))
    return depth, 1 + int(np.count_nonzero(_BEFORE_VALUES[letters] & ~is_text))


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        twice = next(key for key, count in Counter(key for key, _ in pairs).items() if count > 1)
        raise ValueError(f"the key {cut(twice)} is there twice: remove one")
    return values

"""JSON from outside: its depth and its number of values are checked before it is parsed.

Python's parser recurses for each nested list and object, down to its limit of recursion, and needs
dozens of bytes of memory for each byte of text.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np

from florilegium.engine.untrusted.escaped import cut

_STEPS = np.zeros(256, np.int8)
_STEPS[list(b"[{")] = 1
_STEPS[list(b"]}")] = -1
_BEFORE_VALUES = np.zeros(256, np.bool_)
_BEFORE_VALUES[list(b"[{,")] = True
_QUOTE = ord('"')


class TooDeep(ValueError):
    """JSON is nested deeper than the limit, or than Python can parse."""


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

    With `has_unique_keys`, an object that has a key twice is refused, as its value is ambiguous.

    Raises:
        TooDeep: it is nested deeper than `max_depth`.
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
    """Return how deep lists and objects of a JSON text are nested; 1 is one alone."""
    return measure(text)[0]


def measure(text: str) -> tuple[int, int]:
    """Return how deep lists and objects of a JSON text are nested, and how many values it has at
    most."""
    if "[" not in text and "{" not in text:
        return 0, 1
    bare = text.replace("\\\\", "").replace('\\"', "").encode("utf-8", "replace")
    letters = np.frombuffer(bare, np.uint8)
    # After an odd number of quotes comes a string; the last bit survives an overflow of the count.
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

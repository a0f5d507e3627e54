"""The metadata of an image from its source, as JSON text of bounded length."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from datetime import date, datetime, time
from typing import Any

import numpy as np

MAX_METADATA_BYTES = 64 * 1024
"""Bytes of the metadata of a sample, at most; beyond it, the longest values are left out and
named."""
LABEL_ERROR = "label_error"
"""The metadata key of labels of the source that could not be used, with the reason."""
DROPPED = "metadata_dropped"
"""The metadata key with the names of values that were too long."""

_MAX_ERROR_CHARACTERS = 1000


def metadata_json(values: Mapping[str, Any]) -> str:
    """Write metadata as compact JSON with sorted keys, at most `MAX_METADATA_BYTES` long.

    Numbers that JSON lacks become null, bytes hexadecimal, times ISO 8601, others text.
    """
    try:
        plain = _plain(dict(values))
    except RecursionError:
        plain = {LABEL_ERROR: "the metadata is nested too deeply"}
    text = _dumped(plain)
    if len(text.encode()) <= MAX_METADATA_BYTES:
        return text
    return _dumped(_shortened(plain))


def with_problems(values: Mapping[str, Any], problems: list[str]) -> dict[str, Any]:
    """Return metadata with these problems of labels, after those that it already has."""
    known = [str(values[LABEL_ERROR])] if LABEL_ERROR in values else []
    text = "; ".join(dict.fromkeys(known + problems))[:_MAX_ERROR_CHARACTERS]
    return {**values, LABEL_ERROR: text} if text else dict(values)


def _shortened(plain: dict[str, Any]) -> dict[str, Any]:
    """Keep the shortest values that fit, and name (the first twenty of) the others."""
    sizes = {key: len(_dumped({key: value}).encode()) for key, value in plain.items()}
    budget = MAX_METADATA_BYTES - 4096  # room for the names of left out values
    kept = {}
    for key in sorted(sizes, key=lambda key: (key != LABEL_ERROR, sizes[key], key)):
        budget -= sizes[key]
        if budget < 0:
            break
        kept[key] = plain[key]
    return kept | {DROPPED: [key[:100] for key in sorted(plain.keys() - kept.keys())[:20]]}


def _dumped(plain: Mapping[str, Any]) -> str:
    return json.dumps(plain, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic | np.ndarray):
        value = value.tolist()
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {_clean(str(key)): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value).hex()
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    return _clean(str(value))


def _clean(text: str) -> str:
    """Replace what is no Unicode text (lone surrogates), which Arrow refuses."""
    return text.encode("utf-8", "replace").decode()

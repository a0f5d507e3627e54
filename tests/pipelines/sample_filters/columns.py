"""Samples as a sample filter judges them, without an image behind them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Any

import numpy as np

from florilegium.engine.core.judgement import SampleColumns


def columns_of(
    keys: Sequence[str],
    *,
    contents: Sequence[str] | None = None,
    sizes_wh: Sequence[tuple[int, int]] | None = None,
    numbers: Mapping[str, Sequence[float]] | None = None,
    texts: Mapping[str, Sequence[str]] | None = None,
) -> SampleColumns:
    """Return samples with these keys; equal `contents` have equal digests."""
    sizes = np.array(sizes_wh or [(64, 48)] * len(keys)).reshape(-1, 2)
    digests = [sha256(one.encode()).hexdigest() for one in contents or keys]
    return SampleColumns(
        key=_texts(keys),
        sha256=_texts(digests),
        width_px=sizes[:, 0],
        height_px=sizes[:, 1],
        source=_texts(keys),
        metadata=_texts(["{}"] * len(keys)),
        numbers={name: np.array(one, np.float64) for name, one in (numbers or {}).items()},
        texts={name: _texts(one) for name, one in (texts or {}).items()},
    )


def of_rows(rows: Sequence[Mapping[str, Any]]) -> SampleColumns:
    """Return samples with what was measured on each."""
    names = {name for row in rows for name in row}
    numbers = {name for name in names if isinstance(rows[0][name], float)}
    return columns_of(
        [f"{row}" for row in range(len(rows))],
        numbers={name: [row[name] for row in rows] for name in numbers},
        texts={name: [row[name] for row in rows] for name in names - numbers},
    )


def _texts(values: Sequence[str]) -> np.ndarray:
    column = np.empty(len(values), dtype=object)
    column[:] = values
    return column

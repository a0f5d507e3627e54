"""Does memory grow with the dataset? Peak of all processes at 1,000 and at 10,000 images."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.benchmarks.children import DRIVER, run
from tests.benchmarks.jobs import job
from tests.benchmarks.photographs import print_copies, take_photographs
from tests.benchmarks.table import Row

FEW, MANY = 1_000, 10_000
LIMIT = 1.05
BRIGHTEST: dict[str, Any] = {"specialists": {"bright": {"use": "tests.stages:Brightest"}}}
"""A stage that decodes the image and says one box."""


def measure(folder: Path, images: int | None) -> Iterator[Row]:
    """Build a small and a large source of the same photographs."""
    many = images or MANY
    album = take_photographs(folder / "photographs", 100)
    peaks = [_peak_bytes(folder / str(count), album, count) for count in (many * FEW // MANY, many)]
    how = "all processes, shared pages once (PSS), 256 images of 100 KB a shard"
    for count, peak in zip((many * FEW // MANY, many), peaks, strict=True):
        yield Row(what=f"peak, {count} images", value=peak / 1e9, unit="GB", how=how)
    yield Row(what="growth with 10 times the images", value=peaks[1] / peaks[0], limit=LIMIT)


def _peak_bytes(folder: Path, album: Path, count: int) -> int:
    source = print_copies(album, folder / "copies", count)
    return run(DRIVER, folder / "build", job(source, folder / "out", **BRIGHTEST)).peak_bytes

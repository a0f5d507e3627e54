"""How well the default filters tell captions to keep from those to drop, and how fast."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

from tests.benchmarks.table import Row
from tests.pipelines.filters.captions import CONFIG, KEEP, DefaultFilters, read_captions

SLOWEST_MS = 10.0
"""Milliseconds of a CPU for a caption, several times what they are."""


def measure(folder: Path, images: int | None) -> Iterator[Row]:
    """Judge the captions of `tests/pipelines/filters/captions.tsv`, or the first `images`."""
    captions = read_captions()[:images]
    texts = [one.text for one in captions]
    filters = DefaultFilters()
    filters.verdicts(texts[:1])
    started_s = time.process_time()
    verdicts = filters.verdicts(texts)
    cpu_ms = 1_000 * (time.process_time() - started_s) / len(texts)
    pairs = [(one.verdict, verdict) for one, verdict in zip(captions, verdicts, strict=True)]
    right = sum(wanted == found == KEEP for wanted, found in pairs)
    how = f"{len(texts)} captions of our own, filters of {CONFIG}"
    kept = sum(found == KEEP for _, found in pairs)
    yield Row(what="precision: kept captions that are good", value=right / max(kept, 1), how=how)
    good = sum(wanted == KEEP for wanted, _ in pairs)
    yield Row(what="recall: good captions that are kept", value=right / max(good, 1))
    wrong = sum(wanted != found for wanted, found in pairs)
    yield Row(what="wrong verdicts, or wrong reasons", value=wrong, limit=0)
    yield Row(what="time for a caption", value=cpu_ms, unit="ms", limit=SLOWEST_MS)

"""What do the quality filters cost? Milliseconds of a core for a photograph, beside decoding."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from florilegium.engine.core.sample import Picture, Sample
from florilegium.engine.planning.registry import find_stage
from tests.benchmarks.photographs import take_photographs
from tests.benchmarks.table import Row

IMAGES = 64
FILTERS = (
    "sharpness",
    "image_exposure",
    "borders",
    "screenshot",
    "jpeg_quality",
    "duplicates",
    "rights",
)
"""Those that measure without a model."""
LIMIT_MS = 20.0
"""For a photograph of 640 pixels."""


def measure(folder: Path, images: int | None) -> Iterator[Row]:
    """Measure each filter on photographs that are decoded already."""
    paths = sorted(take_photographs(folder / "photos", images or IMAGES).iterdir())
    samples = [
        Sample(key=path.stem, width=0, height=0, picture=Picture(path.read_bytes()))
        for path in paths
    ]
    decoding_ms = _each_ms(lambda: [sample.image for sample in samples], len(samples))
    yield Row(what="decoding", value=decoding_ms, unit="ms", how="a photograph of 640 pixels")
    for name in FILTERS:
        stage_class = find_stage(name)
        stage = stage_class(stage_class.Config())
        stage.load()
        stage.answer(samples[:1])  # imports
        cost_ms = _each_ms(partial(stage.answer, samples), len(samples))
        whole_ms = cost_ms + decoding_ms
        rate = f"{1000 / cost_ms:,.0f} images/s, {1000 / whole_ms:,.0f} with decoding"
        yield Row(what=name, value=cost_ms, unit="ms", limit=LIMIT_MS, how=rate)


def _each_ms(work: Callable[[], object], count: int) -> float:
    began = time.process_time()
    work()
    return 1000 * (time.process_time() - began) / count

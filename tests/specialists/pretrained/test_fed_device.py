"""The coarse form of `python -m tests.benchmarks device`: is a device of known speed fed?"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from copy import copy
from dataclasses import replace
from pathlib import Path

from florilegium.engine.core.sample import Sample
from florilegium.specialists.pretrained.views import Preprocess
from tests.benchmarks.known_speed import KnownSpeed, KnownSpeedConfig, Passes

BATCH = 8
BATCHES = 8
SLOWER = 3
"""Times that the device takes longer for a batch than the batch takes to be prepared."""
ONE_BY_ONE = SLOWER / (SLOWER + 1)
"""The busy share of a device that waits while each batch is prepared."""
FED = 0.87
ATTEMPTS = 8


def test_a_device_of_known_speed_is_fed(
    photograph: Callable[[str], Sample], tmp_path: Path
) -> None:
    batch = [photograph("cat")] * BATCH
    shares = (_busy_share(tmp_path / str(n), batch, 1, calls=2) for n in range(ATTEMPTS))
    assert any(share > FED for share in shares), "on a busy machine, all but one may be lower"


def test_a_device_that_waits_for_each_batch_is_not_fed(
    photograph: Callable[[str], Sample], tmp_path: Path
) -> None:
    batch = [photograph("cat")] * BATCH
    assert _busy_share(tmp_path, batch, 0, calls=1) < (ONE_BY_ONE + FED) / 2


def _busy_share(folder: Path, batch: list[Sample], feeders: int, *, calls: int) -> float:
    """Make calls as a worker of a GPU stage does, and return the busy share of the device."""
    folder.mkdir(exist_ok=True)
    options = {"passes": str(folder / "passes"), "side": 96, "batch_size": BATCH}
    stage = KnownSpeed(KnownSpeedConfig(**options, feeders=feeders, images_per_s=1))
    stage.load()
    seconds = min(_seconds_to_prepare(stage, batch) for _ in range(4))
    speed = BATCH / (SLOWER * seconds)
    stage.config = stage.config.model_copy(update={"images_per_s": speed})
    with ThreadPoolExecutor(calls) as threads:
        list(threads.map(stage.predict, [[*map(_fresh, batch)] for _ in range(BATCHES)]))
    return Passes.read(folder / "passes").busy_share


def _seconds_to_prepare(stage: KnownSpeed, batch: list[Sample]) -> float:
    start_s = time.perf_counter()
    pictures = [_fresh(sample).picture for sample in batch]
    stage.network.prepare(pictures, Preprocess(stage.network.image_processor))
    return time.perf_counter() - start_s


def _fresh(sample: Sample) -> Sample:
    """Return a sample whose pixels are not decoded yet."""
    return replace(sample, picture=copy(sample.picture))

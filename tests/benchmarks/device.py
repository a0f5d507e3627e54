"""Is the device fed? The busy share of one whose speed is known, behind real images, on Ray.

First the images per second are measured for which these cores can do all that a build does beside
the device, by hand. The device is then so fast that the cores could feed 1.25 times as much.
"""

from __future__ import annotations

import io
import os
import tarfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from hashlib import sha256
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from tests.benchmarks.children import DRIVER, run
from tests.benchmarks.jobs import job
from tests.benchmarks.known_speed import Passes, image_processor
from tests.benchmarks.photographs import print_copies, take_photographs
from tests.benchmarks.table import Row

IMAGES = 512
ALBUM = 64
BATCH = 32
SHARD = 256
RESERVE = 1.25
LIMIT_IDLE = 0.05
"""The busy share of a fed device is .95 at least."""
CORES = os.cpu_count() or 1
TOKENS = 32
FED = {"feeders": CORES}
DESIGNS: dict[str, tuple[dict[str, Any], bool]] = {
    "encoder, one sleep a batch": (FED, True),
    f"generator, {TOKENS} sleeps a batch": ({**FED, "steps": TOKENS}, True),
    "the same, 8 threads of the worker": ({"threads": 8, "steps": TOKENS}, False),
    "the same, 2 workers with 4 threads": (
        {"threads": 4, "steps": TOKENS, "num_gpus": 0.5, "workers": 2},
        False,
    ),
}
"""What is measured: the options of the stage, and whether the limit holds for it."""
_HAND_S = 6.0
"""Seconds for which the work is done by hand, about."""


def measure(folder: Path, images: int | None) -> Iterator[Row]:
    """Measure what the cores could feed, then build with a device of that speed / 1.25."""
    album = take_photographs(folder / "album", ALBUM)
    photographs = print_copies(album, folder / "photographs", images or IMAGES)
    could = by_hand(sorted(album.iterdir()))
    how = f"a process on each of {CORES} cores: read, check, decode, prepare for 768 px, stack"
    yield Row(what="the cores could feed", value=could, unit="images/s", how=how)
    speed = could / RESERVE
    for number, (what, (options, is_limited)) in enumerate(DESIGNS.items()):
        passes = build(folder / f"design_{number}", photographs, speed, **options)
        how = f"{passes.images} photographs, batches of {BATCH}, {speed:.0f} images/s"
        limit = LIMIT_IDLE if is_limited else None
        yield Row(what=f"idle share, {what}", value=1 - passes.busy_share, limit=limit, how=how)


def build(folder: Path, photographs: Path, images_per_s: float, **options: Any) -> Passes:
    """Build a dataset with a device of known speed, and return what it did."""
    stage = {
        "use": "tests.benchmarks.known_speed:KnownSpeed",
        "passes": str(folder / "passes"),
        "images_per_s": images_per_s,
        "batch_size": BATCH,
        "num_gpus": 1,
        **options,
    }
    document = job(photographs, folder / "out", shard_size=SHARD, specialists={"device": stage})
    run(DRIVER, folder, document, "1", is_memory_watched=False)
    return Passes.read(folder / "passes")


def by_hand(paths: Sequence[Path]) -> float:
    """Return the images per second for which all cores do all that is to be done by hand."""
    with ProcessPoolExecutor(CORES, get_context("spawn"), initializer=_begin) as processes:
        list(processes.map(_work, [paths[:8]] * CORES))  # imports, and whatever is slow once
        start_s, done = time.monotonic(), 0
        while time.monotonic() - start_s < _HAND_S:
            done += sum(processes.map(_work, [paths[:32]] * CORES))
        return done / (time.monotonic() - start_s)


def _begin() -> None:
    import torch

    torch.set_num_threads(1)


def _work(paths: Sequence[Path]) -> int:
    """Do what a build does beside the device: read, identify, check, prepare, write."""
    import torch

    from florilegium.engine.core.image.reading import check, decode
    from florilegium.specialists.pretrained.batches import stacked
    from florilegium.specialists.pretrained.by_table import by_table
    from florilegium.specialists.pretrained.network import preprocess

    processor, table = by_table(image_processor(768), torch.float32)
    inputs = []
    with tarfile.open(fileobj=io.BytesIO(), mode="w") as tar:
        for path in paths:
            data = path.read_bytes()
            member = tarfile.TarInfo(sha256(data).hexdigest())
            member.size = len(data)
            check(data)
            inputs.append(preprocess(processor, decode(data)))
            tar.addfile(member, io.BytesIO(data))
    stacked(inputs, torch.float32, table=table)
    return len(paths)

"""One stage three ways: a loop over single images, over batches, and the engine."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from florilegium.engine.execution.preparation import prepare
from florilegium.engine.planning.config import RunConfig, validated
from tests.benchmarks.gpu import device
from tests.benchmarks.gpu.album import make_album
from tests.benchmarks.gpu.by_hand import Looped, looped, release
from tests.benchmarks.gpu.engine_side import Built, build
from tests.benchmarks.gpu.jobs import JOBS, options_of
from tests.benchmarks.gpu.loudness import least_scores
from tests.benchmarks.table import Row

IMAGES_GPU, IMAGES_CPU = 1024, 512
SHARDS = 8
MIN_SHARD = 32
ALONE = 4
"""One in so many images is asked about alone."""
MIN_RATIO = 0.95
MIN_BUSY = 0.9
MAX_DIFFERENCE_GPU, MAX_DIFFERENCE_CPU = 0.05, 0.001
"""Annotations more or less: half precision differs with the batch, padding a little."""
BUSY_STAGE = "florence2"


class AtLeast(Row):
    """A measured value that must not be below its limit."""

    @property
    def is_broken(self) -> bool:
        """Whether the value is below its limit."""
        return self.limit is not None and self.value < self.limit


@dataclass(frozen=True, kw_only=True)
class Measured:
    """The three ways, and how busy the device was in the third after warm-up."""

    alone: Looped
    batched: Looped
    batch_size: int
    built: Built
    busy: float


def compare(
    name: str,
    folder: Path,
    images: int | None,
    *,
    is_real: bool,
    runner: Mapping[str, Any] | None = None,
) -> Iterator[Row]:
    """Measure a stage three ways on the same photographs; networks have real or tiny sizes."""
    count = images or (IMAGES_GPU if is_real else IMAGES_CPU)
    paths = make_album(folder / "photographs", count)
    document = {
        "source": str(folder / "photographs"),
        "output": str(folder / "out"),
        "runner": dict(runner or runner_of(is_real)),
        "shard_size": shard_size(count),
        "allow_random_weights": True,
        "max_dead_letter_share": 1,
        "specialists": {
            **JOBS[name].inputs,
            name: options_of(name, folder / "model", is_real=is_real),
        },
    }
    if is_real and JOBS[name].wanted:
        found = least_scores(document, {name: JOBS[name].wanted}, paths)
        document["specialists"][name]["least_score"] = found[name]
    yield from _rows(name, _measured(name, document, paths), is_real=is_real)


def runner_of(is_real: bool) -> dict[str, Any]:
    """Return where the engine runs: on a CPU with one worker, as the loop is one process."""
    return {"kind": "ray"} if is_real else {"kind": "ray", "workers": 1}


def shard_size(images: int, *, least: int = MIN_SHARD) -> int:
    """Return how many images a shard has: several shards, for they overlap."""
    return max(least, images // SHARDS)


def _measured(name: str, document: Mapping[str, Any], paths: Sequence[Path]) -> Measured:
    run = prepare(validated(RunConfig, document, where=name))
    [stage] = [node.stage for node in run.graph.specialists if node.name == name]
    size = stage.config.batch_size
    loop = JOBS[name].loop(stage)
    alone = looped(loop, paths[: max(size, len(paths) // ALONE)], batch_size=1)
    batched = looped(loop, paths, batch_size=size)
    del loop
    release()
    with device.watched() as busy:
        built = build(run, [name])
    share = busy.share(built.warm_s, built.last_s)
    return Measured(alone=alone, batched=batched, batch_size=size, built=built, busy=share)


def _rows(name: str, measured: Measured, *, is_real: bool) -> Iterator[Row]:
    alone, batched, built = measured.alone, measured.batched, measured.built
    speed = {"unit": "images/s"}
    how = f"{alone.images} photographs: bytes, PIL, processor, model, post-processing, objects"
    yield Row(what="by hand, one at a time", value=alone.images_per_s, how=how, **speed)
    how = f"{batched.images} photographs, the same without overlap"
    yield Row(
        what=f"by hand, batches of {measured.batch_size}",
        value=batched.images_per_s,
        how=how,
        **speed,
    )
    how = f"{built.images} photographs, after the first {built.warm_images}; {JOBS[name].note}"
    yield Row(what="engine", value=built.images_per_s, how=how.rstrip("; "), **speed)
    best = max(alone.images_per_s, batched.images_per_s)
    yield Row(what="engine / one at a time", value=built.images_per_s / alone.images_per_s)
    yield AtLeast(
        what="engine / the better loop",
        value=built.images_per_s / best,
        limit=MIN_RATIO if is_real else None,
    )
    by_engine, by_hand = built.annotations(name), batched.annotations
    yield Row(
        what="annotations more or less than by hand",
        value=abs(by_engine - by_hand) / max(by_hand, 1),
        limit=MAX_DIFFERENCE_GPU if is_real else MAX_DIFFERENCE_CPU,
        how=f"{by_engine} by the engine, {by_hand} by hand",
    )
    if is_real and name == BUSY_STAGE:
        how = "share of the time after warm-up in which a kernel runs, nvidia-smi"
        yield AtLeast(what="device busy", value=measured.busy, limit=MIN_BUSY, how=how)
    how = "start of Ray to the first answers, the model loaded"
    yield Row(what="start-up", value=built.startup_s, unit="s", how=how)

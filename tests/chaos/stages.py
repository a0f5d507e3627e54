"""Stages that take their time and write down every call, so that a call which is repeated shows."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from typing import Annotated

import numpy as np
from pydantic import Field

from florilegium.engine.core.annotation import Annotation
from florilegium.engine.core.rows import Measurement
from florilegium.engine.core.sample import Sample
from florilegium.engine.core.stage import RUNTIME, THRESHOLD, Specialist, StageConfig, one_of
from tests.stages import BrightEnough

BATCH = 4
"""Images per call: half a shard, so that a call of the engine is one of each stage."""
GRID = 3


class SlowConfig(StageConfig):
    """Where calls are written down, and how long they take."""

    batch_size: Annotated[int, RUNTIME, Field(ge=1)] = BATCH
    """Images per call."""
    log: Annotated[str, RUNTIME]
    """A file that gets a line when a call begins and one when it ends."""
    seconds: Annotated[float, RUNTIME] = 0.1
    """Seconds that a call takes for each image, at least."""


@contextmanager
def _noted(config: SlowConfig, stage: str, samples: Sequence[Sample]) -> Iterator[None]:
    """Write down a call; each line is one write to the end of a file: whole, or not there."""
    keys = [sample.key for sample in samples]
    _write(config.log, stage, keys, "begun")
    time.sleep(config.seconds * len(samples))
    yield
    _write(config.log, stage, keys, "ended")


def _write(log: str, stage: str, keys: Sequence[str], what: str) -> None:
    line = {"at_s": time.monotonic(), "pid": os.getpid(), "stage": stage, "keys": keys, what: True}
    file = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(file, json.dumps(line).encode() + b"\n")
    finally:
        os.close(file)


class Patches(Specialist[SlowConfig]):
    """Finds the brighter patches of a grid; the scores are their brightness."""

    Config = SlowConfig
    produces = ("object_detection",)
    channel = 0

    def predict(self, samples: Sequence[Sample]) -> list[list[Annotation]]:
        with _noted(self.config, type(self).__name__, samples):
            return [self._found(sample) for sample in samples]

    def _found(self, sample: Sample) -> list[Annotation]:
        rows = np.linspace(0, sample.height, GRID + 1).astype(int)
        columns = np.linspace(0, sample.width, GRID + 1).astype(int)
        found = []
        for top, bottom in pairwise(rows):
            for left, right in pairwise(columns):
                mean = sample.image[top:bottom, left:right, self.channel].mean() / 255
                box = (float(left), float(top), float(right), float(bottom))
                found.append(_region(box, score=round(float(mean), 4)))
        return sorted(found, key=lambda one: -(one.score or 0))[:GRID]


def _region(box_xyxy: tuple[float, float, float, float], *, score: float) -> Annotation:
    return Annotation(
        kind="region", task="object_detection", label="patch", box_xyxy=box_xyxy, score=score
    )


class BluePatches(Patches):
    """Finds those that are brighter in blue: a second voter."""

    channel = 2


class Colours(Specialist[SlowConfig]):
    """Describes each box by its mean colour, one by one."""

    Config = SlowConfig
    reads = (one_of("object_detection"),)
    each = ("object_detection",)
    produces = ("region_description",)

    def predict(self, samples: Sequence[Sample]) -> list[list[Annotation]]:
        with _noted(self.config, type(self).__name__, samples):
            return [
                [_described(sample, box) for box in sample.of("object_detection")]
                for sample in samples
            ]


def _described(sample: Sample, box: Annotation) -> Annotation:
    left, top, right, bottom = map(int, box.box_xyxy or ())
    red, green, blue = sample.image[top:bottom, left:right].reshape(-1, 3).mean(axis=0)
    return Annotation(
        kind="region",
        task="region_description",
        text=f"A patch of the colour {red:.0f}, {green:.0f}, {blue:.0f}.",
        box_xyxy=box.box_xyxy,
        parent_id=box.id,
    )


class BrightConfig(SlowConfig):
    """What is bright enough."""

    minimum: Annotated[float, THRESHOLD, Field(ge=0, le=1)] = 0.4
    """Lowest brightness that is kept, 0..1."""


class Bright(BrightEnough):
    """Drops dark boxes; notes each image that it measures."""

    Config = BrightConfig

    def measure(self, samples: Sequence[Sample]) -> list[list[Measurement]]:
        with _noted(self.config, type(self).__name__, samples):
            return [
                [
                    Measurement(box.id, {"brightness": box.score or 0.0})
                    for box in sample.of("object_detection")
                ]
                for sample in samples
            ]

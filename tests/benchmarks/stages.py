"""Stages that cost nothing themselves: they mark moments, count calls, or touch bytes."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Annotated

from pydantic import Field

from florilegium.engine.core.annotation import Annotation
from florilegium.engine.core.judgement import Statements, Verdicts
from florilegium.engine.core.rows import Measurement
from florilegium.engine.core.sample import Sample
from florilegium.engine.core.stage import (
    RUNTIME,
    THRESHOLD,
    Filter,
    Specialist,
    StageConfig,
    one_of,
)
from tests.benchmarks.marks import FIRST_IMAGE, mark


class MarkingConfig(StageConfig):
    """Where moments are marked."""

    marks: Annotated[str, RUNTIME]
    """The file of the run's marks."""


class FirstImage(Specialist[MarkingConfig]):
    """Marks when a worker meets its first image; list it first."""

    Config = MarkingConfig
    produces = ("tag",)

    def load(self) -> None:
        self._is_first = True

    def predict(self, samples: Sequence[Sample]) -> list[list[Annotation]]:
        if self._is_first:
            mark(self.config.marks, FIRST_IMAGE)
            self._is_first = False
        return [[] for _ in samples]


class Silent(Specialist[StageConfig]):
    """Finds nothing and looks at nothing."""

    produces = ("tag",)

    def predict(self, samples: Sequence[Sample]) -> list[list[Annotation]]:
        return [[] for _ in samples]


class Touch(Specialist[StageConfig]):
    """Reads some of the bytes of each image where they lie, and finds nothing."""

    produces = ("tag",)

    def predict(self, samples: Sequence[Sample]) -> list[list[Annotation]]:
        for sample in samples:
            data = sample.picture._data
            if sum(data[:: max(1, len(data) // 16)]) < 0:
                raise AssertionError("bytes are not negative")
        return [[] for _ in samples]


class CountingConfig(StageConfig):
    """Where calls are written down."""

    log: Annotated[str, RUNTIME]
    """A file that gets a line for each image."""
    word: str = "seen"
    """The tag or the caption of each image; another word makes another stage of it."""
    pause_s: Annotated[float, RUNTIME, Field(ge=0)] = 0.001
    """Seconds that an image takes, so that a build can be killed in its middle."""


class Counting(Specialist[CountingConfig]):
    """Writes down each image that it is asked about."""

    Config = CountingConfig
    produces = ("tag",)

    def predict(self, samples: Sequence[Sample]) -> list[list[Annotation]]:
        write_down(samples, self.config)
        return [[self._annotation()] for _ in samples]

    def _annotation(self) -> Annotation:
        return Annotation(kind="text", task="tag", label=self.config.word, score=0.5)


class CountingReader(Counting):
    """The same, for a stage that reads what the other answers."""

    reads = (one_of("tag"),)
    produces = ("caption",)

    def _annotation(self) -> Annotation:
        return Annotation(kind="text", task="caption", text=self.config.word, score=0.5)


class CountingFilterConfig(CountingConfig):
    """What is kept."""

    minimum: Annotated[float, THRESHOLD, Field(ge=0, le=1)] = 0.1
    """Least score of a tag."""


class CountingFilter(Filter[CountingFilterConfig]):
    """Measures tags, and writes down each image that it measures."""

    Config = CountingFilterConfig
    reads = (one_of("tag"),)
    measured = ("strength",)

    def measure(self, samples: Sequence[Sample]) -> list[list[Measurement]]:
        write_down(samples, self.config)
        return [
            [Measurement(tag.id, {"strength": tag.score or 0.0}) for tag in sample.of("tag")]
            for sample in samples
        ]

    def judge(self, statements: Statements) -> Verdicts:
        verdicts = Verdicts(len(statements))
        where = statements.of_tasks(("tag",))
        strength = statements.measurements["strength"]
        verdicts.measure("strength", strength, where)
        verdicts.drop(where & (strength < self.config.minimum), "too_weak")
        return verdicts


def write_down(samples: Sequence[Sample], config: CountingConfig) -> None:
    """Append the keys of samples to a file, whole lines even when many processes write."""
    lines = "".join(f"{sample.key}\n" for sample in samples)
    with open(config.log, "ab", buffering=0) as file:
        file.write(lines.encode())
    time.sleep(config.pause_s * len(samples))

"""The same stage in the engine: Ray, a pool on one GPU, layers and shards written.

Speed is that of the images through the stage from a quarter of them on, when the first shard is
written and everything is warm; the start-up, models included, is reported apart.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from florilegium.engine.execution.preparation import Run
from florilegium.engine.execution.progress import Progress
from florilegium.engine.execution.run import execute
from florilegium.engine.results.manifest import Manifest

WARM = 0.25
"""Share of the images after which the speed counts."""


@dataclass(frozen=True, kw_only=True)
class Moment:
    """When a stage had answered so many images."""

    stage: str
    answered: int
    time_s: float


class Answers(Counter[str]):
    """Counts of answered images by stage, and the moments at which they grew."""

    def __init__(self) -> None:
        super().__init__()
        self.moments: list[Moment] = []

    def __setitem__(self, stage: str, answered: int) -> None:
        if answered > self[stage]:
            now_s = time.perf_counter()
            self.moments.append(Moment(stage=stage, answered=answered, time_s=now_s))
        super().__setitem__(stage, answered)


@dataclass
class Watched(Progress):
    """Remembers all that, and when the first shard was written."""

    written_s: float = 0.0

    def finish(self, *, samples: int, dead_letters: int) -> None:
        """Count a finished shard."""
        super().finish(samples=samples, dead_letters=dead_letters)
        self.written_s = self.written_s or time.perf_counter()


@dataclass(frozen=True, kw_only=True)
class Built:
    """What a build did; times are those of `time.perf_counter`."""

    images: int
    started_s: float
    first_s: float
    """When the first images were through all stages that count."""
    warm_s: float
    """From when on the speed counts."""
    warm_images: int
    last_s: float
    manifest: Manifest = field(repr=False)

    @property
    def images_per_s(self) -> float:
        """Speed after warm-up."""
        return (self.images - self.warm_images) / (self.last_s - self.warm_s)

    @property
    def startup_s(self) -> float:
        """Seconds from the start to the first answers."""
        return self.first_s - self.started_s

    def annotations(self, stage: str) -> int:
        """Return the number of annotations of a stage."""
        return sum(self.manifest.totals.specialists.get(stage, {}).values())


def build(run: Run, stages: Sequence[str] = ()) -> Built:
    """Build a dataset; the stages that count are those named, or all."""
    counted = stages or [node.name for node in run.graph.layered]
    progress, answers = Watched(), Answers()
    progress.answered = answers
    started_s = time.perf_counter()
    manifest = execute(run, progress)
    least = WARM * manifest.totals.inputs
    done = through(answers.moments, counted)
    start = Moment(stage="", answered=0, time_s=started_s)
    # With so few images that nothing is warm before the end, the start-up counts.
    warm = next(
        (one for one in done[:-1] if one.answered >= least and one.time_s >= progress.written_s),
        start,
    )
    return Built(
        images=done[-1].answered,
        started_s=started_s,
        first_s=done[0].time_s,
        warm_s=warm.time_s,
        warm_images=warm.answered,
        last_s=done[-1].time_s,
        manifest=manifest,
    )


def through(moments: Sequence[Moment], stages: Sequence[str]) -> list[Moment]:
    """Return when how many images were through all of some stages."""
    counts = dict.fromkeys(stages, 0)
    through: list[Moment] = []
    for moment in moments:
        if moment.stage in counts:
            counts[moment.stage] = moment.answered
            answered = min(counts.values())
            if answered > (through[-1].answered if through else 0):
                through.append(Moment(stage="", answered=answered, time_s=moment.time_s))
    return through

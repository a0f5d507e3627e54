"""Calls of stages, whatever happens to the workers.

    run       one call; when its worker dies or exceeds a limit, the call is cut into pieces, and
      │       each piece runs alone in a worker, down to a single image
    _accuse   that image, stage by stage, until the stage that kills its worker is found

Knows one shard at a time, and nothing of what happens to it before or after.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Collection, Sequence
from typing import Any

from florilegium.engine.core.errors import RunError, WorkerDied
from florilegium.engine.execution.answer import INPUT_FAILED, PROCESS_DIED
from florilegium.engine.execution.answers import Answers
from florilegium.engine.execution.deaths import STRIKES, blamed, pieces
from florilegium.engine.execution.observer import (
    CallFinished,
    Observer,
    SamplesAnswered,
    WorkerLost,
)
from florilegium.engine.execution.runner import Opened, Runner
from florilegium.engine.execution.segments import Segment
from florilegium.engine.execution.timing import Moment
from florilegium.engine.execution.worker import LayerParts
from florilegium.engine.planning.graph import Graph
from florilegium.engine.results.layer import StageError, make_layer

_log = logging.getLogger(__name__)

MAX_DEATHS = 64
"""Workers that may die one after the other, no call coming through, before a run is given up."""


class Caller:
    """Makes calls through a runner and reports them; finds the image of which workers die."""

    def __init__(self, graph: Graph, runner: Runner, observer: Observer) -> None:
        self._runner = runner
        self._observer = observer
        self._nodes = {node.name: node for node in graph.layered}
        self._deaths = 0  # one after the other, no call coming through
        self.pending: Counter[str] = Counter()
        """Calls by pool: made and not answered yet."""

    async def run(
        self,
        opened: Opened,
        segment: Segment,
        samples: Sequence[int],
        answers: Answers,
        *,
        exclusive: bool = False,
        died_alone: int = 0,
    ) -> None:
        """Run a segment over some samples of a shard; add what the stages answer to `answers`.

        A worker may have had several calls when it died: the pieces are run alone, so that no
        image is blamed for what another did. An image is asked again as a whole first: stage by
        stage, its innocent stages would be asked several times.

        Raises:
            RunError: too many workers died, one after the other.
        """
        try:
            part = await self._call(opened, segment, segment.names, samples, exclusive=exclusive)
        except WorkerDied as error:
            self._count_death(error, opened, segment, samples)
            if len(samples) > 1:
                for piece in pieces(samples, error.samples):
                    await self.run(opened, segment, piece, answers, exclusive=True)
                return
            alone = died_alone + exclusive
            if error.reason == PROCESS_DIED and alone < STRIKES:
                await self.run(opened, segment, samples, answers, exclusive=True, died_alone=alone)
                return
            known = error if exclusive and error.samples else None
            part = await self._accuse(opened, segment, samples[0], known)
        else:
            self._deaths = 0
        answers.add(samples, part)
        self._report_answered(opened, segment, samples)

    async def _call(
        self,
        opened: Opened,
        segment: Segment,
        names: Sequence[str],
        samples: Sequence[int],
        *,
        exclusive: bool,
    ) -> Any:
        """Ask some stages of a segment, report the call, and return its part."""
        began = Moment.now()
        self.pending[segment.pool] += 1
        try:
            ran = await self._runner.run(segment.pool, opened, names, samples, exclusive=exclusive)
        finally:
            self.pending[segment.pool] -= 1
        self._observer.observe(
            CallFinished(
                shard=opened.work.shard.name,
                pool=segment.pool,
                stages=tuple(names),
                samples=len(samples),
                started_s=began.wall_s,
                seconds=began.seconds,
                timings=ran.timings,
                repeats=ran.repeats,
            )
        )
        return ran.part

    async def _accuse(
        self, opened: Opened, segment: Segment, number: int, known: WorkerDied | None
    ) -> LayerParts:
        """Find the stage that dies of an image, stage by stage; the others still answer about it.

        `known` is the second death, when that named the stage.
        """
        part: Any = None
        good: list[str] = []
        failed: dict[str, StageError] = {}
        for name in segment.names:
            if read := failed.keys() & set(self._nodes[name].inputs):
                message = f"stage {min(read)!r}, which {name!r} reads, failed on this image"
                failed[name] = StageError(sample=number, reason=INPUT_FAILED, message=message)
                continue
            if known and known.stage == name:
                failed[name] = blamed(number, known)
                continue
            try:
                part = await self._call(opened, segment, [*good, name], [number], exclusive=True)
                good.append(name)
            except WorkerDied as error:
                self._count_death(error, opened, segment, [number])
                failed[name] = blamed(number, error)
        answered = await self._runner.fetch(part) if good else {}
        empty = {name: make_layer(self._nodes[name], {}, [error]) for name, error in failed.items()}
        return {**answered, **empty}

    def _report_answered(self, opened: Opened, segment: Segment, samples: Collection[int]) -> None:
        shard = opened.work.shard.name
        for name in segment.names:
            asked = opened.work.asked[name].intersection(samples)
            self._observer.observe(SamplesAnswered(shard=shard, stage=name, samples=len(asked)))

    def _count_death(
        self, error: WorkerDied, opened: Opened, segment: Segment, samples: Sequence[int]
    ) -> None:
        shard, names = opened.work.shard.name, ", ".join(segment.names)
        self._observer.observe(
            WorkerLost.of(error, shard, segment.pool, stages=segment.names, samples=len(samples))
        )
        _log.warning("a worker died: %s", error, extra={"shard": shard, "stage": names})
        self._deaths += 1
        if self._deaths > max(MAX_DEATHS, 4 * self._runner.width(segment.pool)):
            raise RunError(
                f"{self._deaths} workers died in a row, the last in shard {shard} while running "
                f"{names}: {error}; look for missing memory or a broken library, then run the same "
                f"command again, it resumes"
            ) from error

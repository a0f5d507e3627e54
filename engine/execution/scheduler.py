"""The schedule of a run: how each shard goes through the stages, oldest shard first.

    _finish   one coroutine for each shard in flight; starts the shard again when nodes leave with
       │      its bytes, or when shared memory is full, and keeps what was answered
    _build    open ──> visit ──> visit ──> publish
       │      a visit waits for those whose layers its stages read
    _visit    one segment: the stages of one pool that run together, so that an image is decoded
       │      once for all of them; the shard is cut into calls of about 32 samples
    Caller    makes the calls, and finds the image of which a worker dies (`caller.py`)

The driver runs all of it as one `asyncio` program. Few shards are in flight, whatever the size of
the dataset; their images pass the driver as references only, their annotations packed. Stages on
CPUs share one pool, a stage on GPUs or one that waits for a service has a pool of its own, and a
pool is released when no shard needs it any more. (Ray Data would move every column of every row at
each stage, and a row that fails would cost its block.)
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections import Counter
from collections.abc import (
    AsyncIterator,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any, TypeVar

from florilegium.engine.core.errors import DataLost, RunError, SampleError, StoreFull, WorkerDied
from florilegium.engine.execution.answers import Answers, for_each
from florilegium.engine.execution.caller import MAX_DEATHS, Caller
from florilegium.engine.execution.cutting import CHUNK, tapered, whole_batches
from florilegium.engine.execution.deaths import STRIKES, error_of, unreadable
from florilegium.engine.execution.observer import (
    Observer,
    PoolLoad,
    ShardFinished,
    ShardMeasured,
    ShardOpened,
    ShardRestarted,
    WorkerLost,
)
from florilegium.engine.execution.pool_visits import PoolVisits
from florilegium.engine.execution.runner import Made, Opened, Runner
from florilegium.engine.execution.segments import Segment, segments
from florilegium.engine.execution.timing import Moment
from florilegium.engine.execution.unused_memory import UnusedMemory
from florilegium.engine.planning.graph import CPU_POOL, Graph
from florilegium.engine.planning.partition import ShardSpec
from florilegium.engine.results.comparison import MeasuredShard
from florilegium.engine.results.publication import ShardStats
from florilegium.engine.results.shard import Shard, Spot

_log = logging.getLogger(__name__)
T = TypeVar("T")

ATTEMPTS = 3
"""Times that a shard is read when workers die reading it, and no single input is to blame."""
FULL = 5
"""Times that a shard is started when shared memory is full."""
PAUSE_S = 1.0
"""Seconds until the second time; twice as many each time after it."""
LOSSES = 8
"""Times that a shard is started when nodes leave with its bytes."""
LOOK_S = 1.0
"""Seconds after which more shards are started, when workers joined."""
STARTED_AGAIN = (DataLost, StoreFull)
"""Errors after which a shard is started again."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """A shard that may need work.

    `done` are the statistics of the finished shard when it was made by the same recipe;
    `previous_digest` is the digest of the samples that it held before.
    """

    spec: ShardSpec
    previous_digest: str = ""
    done: ShardStats | None = None
    retry: bool = False


class Scheduler:
    """Moves shards through a runner, and reports to an observer what happens to them."""

    def __init__(self, graph: Graph, runner: Runner, observer: Observer, *, keep_s: float) -> None:
        self._graph = graph
        self._runner = runner
        self._observer = observer
        self._keep_s = keep_s
        self._caller = Caller(graph, runner, observer)
        self._nodes = {node.name: node for node in graph.layered}
        self._room = math.inf  # shards in work for which shared memory is large enough
        self._alone = asyncio.Lock()  # held by a shard for which shared memory was too small
        self._visits = PoolVisits((), runner.release)
        self._has_more = False  # shards that are not started yet
        self._unused_memory = UnusedMemory()

    async def run(self, jobs: Iterable[Job], *, shard_size: int) -> AsyncIterator[tuple[Job, Made]]:
        """Yield each job with what its shard became, as they come: its statistics, or what was
        measured.

        A job is taken from `jobs` when the one before it starts.
        """
        pools = {node.pool for node in self._nodes.values()} - {CPU_POOL}
        self._visits = PoolVisits(pools, self._runner.release)
        waiting = iter(jobs)
        job = await self._next(waiting)
        running: set[asyncio.Task[tuple[Job, Made]]] = set()
        done: set[asyncio.Task[tuple[Job, Made]]] = set()
        try:
            while True:
                while job and len(running) < self._in_flight(shard_size):
                    running.add(asyncio.create_task(self._finish(job)))
                    job = await self._next(waiting)
                if not running:
                    return
                done, running = await asyncio.wait(
                    running, timeout=LOOK_S, return_when=asyncio.FIRST_COMPLETED
                )
                for task in done:
                    yield task.result()
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, *done, return_exceptions=True)

    async def _next(self, waiting: Iterator[Job]) -> Job | None:
        """Return the next job, which may need every pool, or nothing after the last one."""
        job = next(waiting, None)
        self._has_more = job is not None
        if job:
            self._visits.begin(job.spec.name)
        else:
            await self._visits.no_more_jobs()
        return job

    def loads(self) -> tuple[PoolLoad, ...]:
        """Return the calls of each pool, by name."""
        return tuple(
            PoolLoad(pool=pool, width=self._runner.width(pool), calls=self._caller.pending[pool])
            for pool in sorted({node.pool for node in self._nodes.values()})
        )

    def _in_flight(self, shard_size: int) -> int:
        """Return how many shards may be in work: they keep the workers on CPUs busy, which may be
        more than at the last look."""
        busy = 1 + math.ceil(self._runner.width(CPU_POOL) / math.ceil(shard_size / CHUNK))
        return int(min(busy, self._room))

    async def _finish(self, job: Job) -> tuple[Job, Made]:
        """Build a shard, from the start again when its bytes are lost, or do not fit into shared
        memory: then after the others that do not fit, and with fewer shards beside it. Others may
        fill it, too, so each time it waits longer; with each shard that fits, there may be more."""
        turn: AbstractAsyncContextManager[Any] = nullcontext()
        began = Moment.now()
        failures: Counter[type[RunError]] = Counter()
        while True:
            try:
                async with turn:
                    if full := failures[StoreFull]:
                        await asyncio.sleep(PAUSE_S * 2 ** (full - 1))
                    done = await self._build(job)
            except STARTED_AGAIN as error:
                shard = job.spec.name
                _log.warning("it starts again: %s", error, extra={"shard": shard})
                self._observer.observe(ShardRestarted(shard=shard, reason=str(error)))
                failures[type(error)] += 1
                if failures[StoreFull] == FULL or failures[DataLost] == LOSSES:
                    raise
                if isinstance(error, StoreFull):
                    self._room, turn = 1, self._alone
            else:
                self._room += not self._alone.locked()
                self._report_made(job.spec.name, done[1], began)
                self._unused_memory.give_back()  # of the shard's work, and its answers
                return done

    async def _build(self, job: Job) -> tuple[Job, Made]:
        """Read a shard, visit each pool that has something to do for it, and publish it."""
        began = Moment.now()
        opened = await self._open(job)
        shard, todo = opened.work.shard, opened.work.todo
        self._report_opened(shard, todo, began)
        plan = segments(self._graph, list(todo))
        is_read = frozenset(index for segment in plan for index in segment.after)
        await self._visits.plan(shard.name, plan)
        visits: list[asyncio.Task[None]] = []
        answers = [self._answers(opened, segment) for segment in plan]
        for index, segment in enumerate(plan):
            before = [visits[other] for other in segment.after]
            visit = self._visit(
                opened, segment, index, before, answers[index], store=index in is_read
            )
            visits.append(asyncio.create_task(visit))
        last = [index for index in range(len(plan)) if index not in is_read]
        names = [name for index in last for name in plan[index].names]
        try:
            await _all_of(visits)
            if not todo and job.done and job.done.is_of(shard) and not job.done.has_failures:
                return job, job.done
            for index in last:
                await answers[index].end()
            parts = [part for index in last for part in answers[index].parts]
            return job, await self._runner.publish(opened, names, parts)
        except STARTED_AGAIN:
            await for_each(answers, Answers.flush, lost=STARTED_AGAIN)
            raise
        finally:
            await for_each(answers, Answers.end, lost=STARTED_AGAIN)

    def _answers(self, opened: Opened, segment: Segment) -> Answers:
        """Return the answers of a visit, none yet; those that were paid for are stored at once."""
        is_paid = any(self._nodes[name].stage.is_remote for name in segment.names)
        return Answers(
            partial(self._runner.keep, opened, segment.names),
            after_s=0 if is_paid else self._keep_s,
        )

    def _report_opened(
        self, shard: Shard, todo: Mapping[str, Sequence[int]], began: Moment
    ) -> None:
        """Report a shard that was opened, and what its layers already have."""
        samples, unread = len(shard.records), len(shard.dead_letters)
        self._observer.observe(
            ShardOpened(
                shard=shard.name,
                inputs=samples + unread,
                unread=unread,
                answered={name: samples - len(todo.get(name, ())) for name in self._nodes},
                started_s=began.wall_s,
                seconds=began.seconds,
            )
        )

    def _report_made(self, name: str, made: Made, began: Moment) -> None:
        if isinstance(made, MeasuredShard):
            self._observer.observe(ShardMeasured(shard=name))
            return
        self._observer.observe(
            ShardFinished(shard=name, stats=made, started_s=began.wall_s, seconds=began.seconds)
        )

    async def _open(self, job: Job) -> Opened:
        """Read a shard; an input of which workers die again is given up."""
        given_up: dict[Spot, SampleError] = {}
        strikes: Counter[Spot] = Counter()
        deaths = 0
        while True:
            try:
                if not deaths:
                    return await self._runner.open(
                        job.spec, previous_digest=job.previous_digest, retry=job.retry
                    )
                return await self._runner.reopen(
                    job.spec,
                    previous_digest=job.previous_digest,
                    retry=job.retry,
                    given_up=given_up,
                )
            except WorkerDied as error:
                _log.warning("a reader died: %s", error, extra={"shard": job.spec.name})
                self._observer.observe(WorkerLost.of(error, job.spec.name, CPU_POOL))
                deaths += 1
                if deaths > MAX_DEATHS or deaths > ATTEMPTS + STRIKES * len(given_up):
                    raise unreadable(job.spec, error) from error
                if error.spot is None:
                    continue
                spot = Spot(*error.spot)
                strikes[spot] += 1
                if strikes[spot] == STRIKES:
                    given_up[spot] = error_of(spot, error)

    async def _visit(
        self,
        opened: Opened,
        segment: Segment,
        index: int,
        before: Sequence[asyncio.Task[None]],
        answers: Answers,
        *,
        store: bool,
    ) -> None:
        """Run a segment over a shard after the visits before it; store its layers where later
        visits read them."""
        for visit in before:
            await visit
        todo = opened.work.todo
        samples = sorted({number for name in segment.names for number in todo[name]})
        rest = iter(samples)
        calls = [
            asyncio.create_task(self._caller.run(opened, segment, [*islice(rest, length)], answers))
            for length in self._lengths(segment, len(samples))
        ]
        await _all_of(calls)
        await self._visits.end(opened.work.shard.name, index, segment.pool)
        if store:
            await answers.end()
            await self._runner.store(opened, segment.names, answers.parts)
            answers.parts.clear()

    def _lengths(self, segment: Segment, count: int) -> Iterator[int]:
        """Share samples of a shard among the workers of a pool; those on CPUs, which have no need
        of whole batches, should end a run at the same time."""
        width = self._runner.width(segment.pool)
        batch = max(self._nodes[name].stage.config.batch_size for name in segment.names)
        is_end = segment.pool == CPU_POOL and width > 1 and not self._has_more
        lengths = tapered if is_end else whole_batches
        return lengths(count, width=width, batch=batch)


async def _all_of(tasks: Sequence[asyncio.Task[T]]) -> list[T]:
    """Return the results of tasks that ask about one shard.

    Where one fails since the shard has to start again, the others end first: what they are at is
    answered then, and kept. At any other failure they are cancelled.
    """
    pending = {*tasks}
    try:
        while pending:
            done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_EXCEPTION)
            for task in done:
                error = task.exception()
                if error and not isinstance(error, STARTED_AGAIN):
                    raise error
        return [task.result() for task in tasks]
    finally:
        for task in tasks:
            task.cancel()

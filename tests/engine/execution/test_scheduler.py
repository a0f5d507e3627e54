from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import pytest

from florilegium.engine.core.errors import (
    DataLost,
    RunError,
    SampleError,
    StoreFull,
    WorkerDied,
    WorkerStuck,
)
from florilegium.engine.core.stage import StageConfig
from florilegium.engine.execution import scheduler
from florilegium.engine.execution.cutting import tapered, whole_batches
from florilegium.engine.execution.progress import Progress
from florilegium.engine.execution.runner import Opened, Runner
from florilegium.engine.execution.scheduler import LOSSES, MAX_DEATHS, Job, Scheduler
from florilegium.engine.execution.segments import segments
from florilegium.engine.execution.worker import LayerParts, Ran, ShardWork
from florilegium.engine.planning.gates import Gate
from florilegium.engine.planning.graph import CPU_POOL, Graph, Node
from florilegium.engine.planning.index import Entry
from florilegium.engine.planning.partition import ShardSpec, shard_name
from florilegium.engine.results.layer import make_layer
from florilegium.engine.results.publication import FileStats, ShardStats
from florilegium.engine.results.shard import Spot
from florilegium.engine.sources.source import Item
from tests.engine.by_hand import planned, shard_of


def graph_of(*stages: tuple[str, str, tuple[str, ...]], batch_size: int = 8) -> Graph:
    """Return a graph of stages, each with its name, pool (or `cpu`) and the stages it reads."""
    stage = planned().specialists[0].stage
    nodes = []
    for name, pool, reads in stages:
        config = StageConfig(num_gpus=0 if pool == CPU_POOL else 1, batch_size=batch_size)
        own = type(stage)(config)
        upstream = dict.fromkeys(reads, frozenset[str]())
        nodes.append(Node[Any](name=name, use="", stage=own, upstream=upstream, fingerprint=name))
    return Graph(specialists=tuple(nodes), filters=())


def visits(graph: Graph, *todo: str) -> list[tuple[str, tuple[str, ...], list[int]]]:
    names = todo or [node.name for node in graph.layered]
    return [(one.pool, one.names, sorted(one.after)) for one in segments(graph, list(names))]


SANDWICH = graph_of(
    ("ocr", CPU_POOL, ()),
    ("florence", "gpu", ()),
    ("caption", CPU_POOL, ("ocr",)),
    ("sam", "gpu", ("florence",)),
    ("ground", CPU_POOL, ("caption", "florence")),
    ("score", CPU_POOL, ("ground", "sam")),
)


def test_stages_of_one_pool_are_one_visit() -> None:
    graph = graph_of(("a", CPU_POOL, ()), ("b", CPU_POOL, ("a",)), ("c", CPU_POOL, ("a", "b")))
    assert visits(graph) == [(CPU_POOL, ("a", "b", "c"), [])]


def test_a_stage_goes_into_the_visit_after_the_pool_that_it_reads() -> None:
    assert visits(SANDWICH) == [
        (CPU_POOL, ("ocr", "caption"), []),
        ("florence", ("florence",), []),
        ("sam", ("sam",), [1]),
        (CPU_POOL, ("ground",), [0, 1]),
        (CPU_POOL, ("score",), [2, 3]),
    ]


def test_what_is_done_is_neither_visited_nor_waited_for() -> None:
    assert visits(SANDWICH, "sam", "score") == [("sam", ("sam",), []), (CPU_POOL, ("score",), [0])]
    assert visits(SANDWICH, "caption", "ground") == [(CPU_POOL, ("caption", "ground"), [])]
    assert segments(SANDWICH, []) == []


def test_a_stage_is_visited_after_the_filters_that_measure_for_its_gate() -> None:
    boxes, enough, masks = graph_of(
        ("boxes", CPU_POOL, ()), ("enough", "gpu", ("boxes",)), ("masks", CPU_POOL, ("boxes",))
    ).specialists
    gate = Gate(filters=("enough",), measured=("enough",), lineage=("boxes",))
    graph = Graph(specialists=(boxes, replace(masks, gate=gate), enough), filters=())
    assert visits(graph) == [
        (CPU_POOL, ("boxes",), []),
        ("enough", ("enough",), [0]),
        (CPU_POOL, ("masks",), [0, 1]),
    ]


def test_every_stage_is_in_one_visit_and_after_all_that_it_reads() -> None:
    plan = segments(SANDWICH, [node.name for node in SANDWICH.layered])
    place = {name: index for index, one in enumerate(plan) for name in one.names}
    assert sorted(place) == sorted(node.name for node in SANDWICH.layered)
    for node in SANDWICH.layered:
        for read in node.upstream:
            same = place[read] == place[node.name]
            assert same or place[read] in plan[place[node.name]].after
    assert all(earlier < index for index, one in enumerate(plan) for earlier in one.after)


Dies = Callable[[Sequence[str], Sequence[int]], bool]


@dataclass
class Call:
    shard: str
    pool: str
    names: tuple[str, ...]
    samples: tuple[int, ...]
    exclusive: bool


class FakeRunner(Runner):
    """Runs nothing; records the calls, and dies as planned."""

    def __init__(
        self,
        graph: Graph,
        count: int,
        *,
        width: int = 2,
        dies: Dies = lambda names, samples: False,
        todo: dict[str, tuple[int, ...]] | None = None,
    ) -> None:
        self.graph = graph
        self.count = count
        self._width = width
        self.dies = dies
        self.todo = todo
        self.calls: list[Call] = []
        self.events: list[str] = []
        self.parts: dict[str, list[LayerParts]] = {}
        self.kept: dict[str, dict[str, set[int]]] = {}
        self.open_now = self.open_most = 0

    async def start(self) -> Graph:
        return self.graph

    async def release(self, pool: str) -> None:
        self.events.append(f"release {pool}")

    async def close(self) -> None: ...

    def width(self, pool: str) -> int:
        return self._width

    async def open(self, spec: ShardSpec, *, previous_digest: str, retry: bool) -> Opened:
        self.open_now += 1
        self.open_most = max(self.open_most, self.open_now)
        self.events.append(f"open {spec.name}")
        await asyncio.sleep(0)
        todo = self.todo
        if todo is None:
            todo = {node.name: tuple(range(self.count)) for node in self.graph.layered}
        for name, samples in self.kept.get(spec.name, {}).items():
            todo = {**todo, name: tuple(sorted({*todo[name]} - samples))}
        shard = shard_of(self.count, number=spec.number)
        work = ShardWork(shard=shard, todo=dict(todo), previous_digest=previous_digest, retry=retry)
        return Opened(work=work, images=None)

    async def run(
        self,
        pool: str,
        opened: Opened,
        names: Sequence[str],
        samples: Sequence[int],
        *,
        exclusive: bool = False,
    ) -> Ran:
        shard = opened.work.shard.name
        self.calls.append(Call(shard, pool, tuple(names), tuple(samples), exclusive))
        self.events += [f"run {name}" for name in names]
        await asyncio.sleep(0)
        if self.dies(names, samples):
            raise WorkerDied("killed")
        nodes = {node.name: node for node in self.graph.layered}
        part = {name: make_layer(nodes[name], {n: [] for n in samples}, ()) for name in names}
        return Ran(part=part, timings=())

    async def fetch(self, part: LayerParts) -> LayerParts:
        return part

    async def store(
        self, opened: Opened, names: Sequence[str], parts: Sequence[LayerParts]
    ) -> None:
        self.events.append(f"store {' '.join(names)}")
        self.parts.setdefault(opened.work.shard.name, []).extend(parts)

    async def keep(self, opened: Opened, names: Any, samples: Any, parts: Any) -> None:
        for name in names:
            of_shard = self.kept.setdefault(opened.work.shard.name, {})
            of_shard.setdefault(name, set()).update(samples)

    async def publish(
        self, opened: Opened, names: Sequence[str], parts: Sequence[LayerParts]
    ) -> ShardStats:
        self.open_now -= 1
        name = opened.work.shard.name
        self.events.append(f"publish {name} {' '.join(names)}")
        self.parts.setdefault(name, []).extend(parts)
        return stats_of(opened)

    def failures(self) -> set[tuple[str, int, str]]:
        """Return every failure that was published: stage, sample, reason."""
        return {
            (name, error.sample, error.reason)
            for parts in self.parts.values()
            for part in parts
            for name, layer in part.items()
            for error in layer.errors
        }


def stats_of(opened: Opened) -> ShardStats:
    file = FileStats(bytes=0, sha256="")
    shard = opened.work.shard
    return ShardStats(
        number=shard.number, recipe="", samples_digest=shard.digest, samples=len(shard.records),
        annotations_kept=0, annotations_dropped=0, tasks={}, specialists={}, drops={},
        extensions={}, dead_letters=(), tar=file, parquet=file,
    )  # fmt: skip


def job(number: int, **changes: Any) -> Job:
    return Job(spec=ShardSpec(number=number, source=0, entries=()), **changes)


def schedule(runner: FakeRunner, *jobs: Job, shard_size: int = 64) -> tuple[list[str], Progress]:
    """Run jobs; return the names of finished shards as they came, and the progress."""
    progress = Progress(stages=tuple(node.name for node in runner.graph.layered))

    async def run() -> list[str]:
        shards = Scheduler(runner.graph, runner, progress, keep_s=10)
        return [
            shard_name(stats.number) async for _, stats in shards.run(jobs, shard_size=shard_size)
        ]

    return asyncio.run(run()), progress


TWO = graph_of(("a", CPU_POOL, ()), ("b", CPU_POOL, ("a",)))


def test_every_sample_is_run_once() -> None:
    runner = FakeRunner(TWO, 100)
    _, progress = schedule(runner, job(0), shard_size=100)
    assert sorted(n for call in runner.calls for n in call.samples) == list(range(100))
    assert progress.answered == {"a": 100, "b": 100}
    assert progress.inputs == 100


def test_a_job_is_taken_when_the_one_before_it_starts() -> None:
    runner = FakeRunner(TWO, 4)
    jobs = iter([job(number) for number in range(100)])

    async def take_one() -> None:
        shards = Scheduler(runner.graph, runner, Progress(), keep_s=10).run(jobs, shard_size=64)
        await anext(shards)
        await shards.aclose()

    asyncio.run(take_one())
    assert len(list(jobs)) > 90


def test_a_pool_is_released_by_the_last_shard_that_needs_it() -> None:
    runner = FakeRunner(graph_of(("a", "a", ()), ("b", "b", ("a",)), ("c", CPU_POOL, ("b",))), 4)
    schedule(runner, job(0), job(1), job(2))
    released = [event for event in runner.events if event.startswith("release")]
    assert released == ["release a", "release b"]
    last = [max(n for n, e in enumerate(runner.events) if e == f"run {name}") for name in "ab"]
    assert [runner.events.index(event) for event in released] > last
    assert runner.events.index("release a") < last[1], "b still has work when a has none"


class Losing(FakeRunner):
    """Loses the bytes of a shard with one node after the other."""

    losses = 0

    async def publish(self, *args: Any) -> ShardStats:
        if self.losses:
            self.losses -= 1
            raise DataLost("a node left")
        return await super().publish(*args)


@pytest.mark.parametrize(("losses", "is_done"), [(LOSSES - 1, True), (LOSSES, False)])
def test_a_shard_whose_bytes_are_lost_starts_again_as_often_as_nodes_may_go(
    losses: int, is_done: bool
) -> None:
    runner = Losing(TWO, 4)
    runner.losses = losses
    if is_done:
        assert schedule(runner, job(0))[0] == ["000000"]
    else:
        with pytest.raises(DataLost):
            schedule(runner, job(0))


class Forgetful(FakeRunner):
    """Loses the bytes of the first shard that is published, which starts again."""

    has_lost = False

    async def publish(
        self, opened: Opened, names: Sequence[str], parts: Sequence[LayerParts]
    ) -> ShardStats:
        if not self.has_lost:
            self.has_lost = True
            self.open_now -= 1
            raise DataLost("a node left")
        return await super().publish(opened, names, parts)


class Leaving(FakeRunner):
    """Loses the bytes of a shard in one call, while others are running."""

    has_lost = False

    async def run(self, pool: str, opened: Opened, names: Any, samples: Any, **options: Any) -> Ran:
        ran = await super().run(pool, opened, names, samples, **options)
        if 2 in samples and "b" in names and not self.has_lost:
            self.has_lost = True
            self.open_now -= 1
            raise DataLost("a node left")
        for _ in range(9):
            await asyncio.sleep(0)
        return ran


def test_a_shard_that_starts_again_asks_only_what_was_lost() -> None:
    """The answers of calls that were running when its bytes were lost are kept, too."""
    graph = graph_of(("a", "a", ()), ("b", CPU_POOL, ()), batch_size=1)
    runner = Leaving(graph, 6, width=2)
    _, progress = schedule(runner, job(0))
    assert runner.events.count("open 000000") == 2
    asked = [(name, n) for call in runner.calls for name in call.names for n in call.samples]
    again = {one: asked.count(one) for one in asked if asked.count(one) > 1}
    assert again == {("b", 2): 2}, "the call that was lost"
    assert runner.kept["000000"] == {"a": set(range(6)), "b": {0, 1, 3, 4, 5}}
    assert progress.answered == {"a": 6, "b": 6}


class Slow(FakeRunner):
    """Has a last call that goes on until the answers of the others are stored."""

    async def run(self, pool: str, opened: Opened, names: Any, samples: Any, **options: Any) -> Ran:
        ran = await super().run(pool, opened, names, samples, **options)
        while 5 in samples and self.kept.get("000000") != {"a": set(range(5))}:
            await asyncio.sleep(0)
        return ran


def test_answers_are_stored_while_other_calls_go_on() -> None:
    runner = Slow(graph_of(("a", CPU_POOL, ()), batch_size=1), 6, width=3)

    async def run() -> None:
        shards = Scheduler(runner.graph, runner, Progress(stages=("a",)), keep_s=0)
        async for _ in shards.run([job(0)], shard_size=6):
            pass

    asyncio.run(asyncio.wait_for(run(), timeout=60))
    assert runner.events[-1] == "publish 000000 a", "nothing is stored after the whole layer"
    assert len(runner.parts["000000"]) == 6


def test_a_shard_that_starts_again_does_not_release_a_pool_that_others_need() -> None:
    runner = Forgetful(graph_of(("a", "a", ()), ("c", CPU_POOL, ("a",))), 4, width=1)
    names, progress = schedule(runner, *map(job, range(5)), shard_size=4)
    assert (progress.inputs, progress.answered) == (20, {"a": 20, "c": 20})
    assert sorted(names) == [f"{number:06d}" for number in range(5)]
    last = max(place for place, event in enumerate(runner.events) if event == "run a")
    assert runner.events.count("open 000000") == 2
    assert runner.events.index("release a") > last


def test_a_pool_without_work_is_released_at_once() -> None:
    graph = graph_of(("a", "a", ()), ("b", "b", ()))
    runner = FakeRunner(graph, 4, todo={"b": (0, 1, 2, 3)})
    schedule(runner, job(0))
    assert runner.events.index("release a") < runner.events.index("run b")


def test_shards_are_cut_into_whole_batches_and_the_last_one_into_shorter_calls() -> None:
    runner = FakeRunner(graph_of(("a", CPU_POOL, ()), batch_size=8), 100, width=2)
    schedule(runner, *map(job, range(4)), shard_size=100)
    lengths: dict[str, list[int]] = {}
    for call in runner.calls:
        lengths.setdefault(call.shard, []).append(len(call.samples))
    assert lengths["000000"] == [*whole_batches(100, width=2, batch=8)] == [32, 32, 32, 4]
    assert lengths["000003"] == [*tapered(100, width=2, batch=8)]
    assert [n for call in runner.calls if call.shard == "000003" for n in call.samples] == [
        *range(100)
    ]


@pytest.mark.parametrize(("pool", "width"), [("gpu", 2), (CPU_POOL, 1)])
def test_whole_batches_are_not_cut_for_a_device_or_one_worker(pool: str, width: int) -> None:
    runner = FakeRunner(graph_of(("a", pool, ()), batch_size=8), 20, width=width)
    schedule(runner, job(0), shard_size=20)
    assert [len(call.samples) for call in runner.calls] == [
        *whole_batches(20, width=width, batch=8)
    ]


def test_a_call_is_of_whole_batches_of_the_stage_with_the_largest_ones() -> None:
    graph = graph_of(("a", CPU_POOL, ()), batch_size=4)
    larger = graph_of(("b", CPU_POOL, ("a",)), batch_size=10).specialists
    both = Graph(specialists=(*graph.specialists, *larger), filters=())
    runner = FakeRunner(both, 30, width=1)
    schedule(runner, job(0), shard_size=30)
    assert [len(call.samples) for call in runner.calls] == [20, 10]


def test_layers_that_others_read_are_stored_before_they_are_read() -> None:
    runner = FakeRunner(SANDWICH, 4)
    schedule(runner, job(0))
    events = runner.events
    for stage, layer in (("ground", "ocr caption"), ("sam", "florence"), ("score", "sam")):
        assert events.index(f"store {layer}") < events.index(f"run {stage}")
    assert events[-1] == "publish 000000 score"


def test_only_what_is_left_to_do_is_run_and_published() -> None:
    runner = FakeRunner(TWO, 10, todo={"b": (3, 7)})
    _, progress = schedule(runner, job(0))
    assert [(call.names, call.samples) for call in runner.calls] == [(("b",), (3, 7))]
    assert runner.events[-1] == "publish 000000 b"
    assert progress.answered == {"a": 10, "b": 10}


def test_a_shard_with_all_layers_is_only_published() -> None:
    runner = FakeRunner(TWO, 10, todo={})
    assert schedule(runner, job(0))[0] == ["000000"]
    assert runner.calls == []
    assert runner.events[-1] == "publish 000000 "


def test_a_finished_shard_of_the_same_samples_is_left_alone() -> None:
    runner = FakeRunner(TWO, 10, todo={})
    opened = asyncio.run(runner.open(job(0).spec, previous_digest="", retry=False))
    done = stats_of(opened)
    assert schedule(runner, job(0, done=done))[0] == ["000000"]
    assert not any(event.startswith("publish") for event in runner.events)
    changed = replace(done, samples_digest="other")
    schedule(runner, job(0, done=changed))
    assert runner.events[-1].startswith("publish")


@pytest.mark.parametrize(("width", "shard_size", "most"), [(2, 256, 2), (2, 16, 3), (8, 32, 9)])
def test_few_shards_are_in_flight_whatever_their_number(
    width: int, shard_size: int, most: int
) -> None:
    runner = FakeRunner(TWO, 4, width=width)
    names, _ = schedule(runner, *map(job, range(40)), shard_size=shard_size)
    assert sorted(names) == [f"{number:06d}" for number in range(40)]
    assert runner.open_most == most


def test_more_shards_are_in_flight_when_workers_join(monkeypatch: pytest.MonkeyPatch) -> None:
    """Even while none is finished."""
    monkeypatch.setattr("florilegium.engine.execution.scheduler.LOOK_S", 0.01)
    joined = asyncio.Event()

    class Growing(FakeRunner):
        async def publish(self, *args: Any) -> ShardStats:
            if self.open_now == 2:
                self._width = 6  # nodes join; nothing is finished before more shards are open
            if self.open_now == 7:
                joined.set()
            await joined.wait()
            return await super().publish(*args)

    runner = Growing(TWO, 4, width=1)
    names, _ = schedule(runner, *map(job, range(20)), shard_size=4)
    assert (len(names), runner.open_most) == (20, 7)


def test_shards_are_opened_oldest_first() -> None:
    runner = FakeRunner(TWO, 4)
    schedule(runner, *map(job, range(9)))
    opened = [event for event in runner.events if event.startswith("open")]
    assert opened == [f"open {number:06d}" for number in range(9)]


def kills(stage: str, sample: int) -> Dies:
    return lambda names, samples: stage in names and sample in samples


def test_a_call_that_kills_its_worker_is_cut_until_the_guilty_image_is_alone() -> None:
    runner = FakeRunner(TWO, 64, dies=kills("b", 37))
    _, progress = schedule(runner, job(0))
    assert runner.failures() == {("b", 37, "process_died")}
    answered = {
        (name, number)
        for parts in runner.parts.values()
        for part in parts
        for name, layer in part.items()
        for number in [error.sample for error in layer.errors]
    }
    assert answered == {("b", 37)}
    assert progress.answered == {"a": 64, "b": 64}
    died = [call for call in runner.calls if kills("b", 37)(call.names, call.samples)]
    assert len(died) <= 6


class Stuck(FakeRunner):
    """Tells what a call was at that goes beyond a limit: a batch of four, of one stage."""

    stage, guilty = "b", 37

    async def run(
        self, pool: str, opened: Opened, names: Any, samples: Any, **options: Any
    ) -> LayerParts:
        part = await super().run(pool, opened, names, samples, **options)
        if self.stage in names and self.guilty in samples:
            start = self.guilty // 4 * 4
            batch = tuple(number for number in range(start, start + 4) if number in samples)
            message = f"{self.stage} took too long"
            raise WorkerStuck(message, reason="stage_timeout", stage=self.stage, samples=batch)
        return part


@pytest.mark.attack("hangs")
def test_the_images_of_a_batch_that_takes_too_long_are_asked_one_by_one() -> None:
    runner = Stuck(TWO, 64)
    _, progress = schedule(runner, job(0))
    asked = [(call.names, call.samples) for call in runner.calls if 37 in call.samples]
    assert asked == [
        (("a", "b"), tuple(range(32, 40))),
        (("a", "b"), (37,)),
        (("a",), (37,)),  # what others say of it is kept
    ]
    assert runner.failures() == {("b", 37, "stage_timeout")}
    neighbours = [call.samples for call in runner.calls if 36 in call.samples]
    assert neighbours == [tuple(range(32, 40)), (36,)]
    assert progress.answered == {"a": 64, "b": 64}


@pytest.mark.attack("hangs")
def test_an_image_is_given_up_only_when_it_takes_too_long_alone_and_again() -> None:
    class Once(Stuck):
        async def run(self, *args: Any, **options: Any) -> LayerParts:
            try:
                return await super().run(*args, **options)
            except WorkerStuck:
                self.guilty = -1  # it was a slow disk
                raise

    runner = Once(TWO, 64)
    schedule(runner, job(0))
    assert runner.failures() == set()


class Unread(FakeRunner):
    """Dies while it reads some inputs."""

    def __init__(self, *deaths: Spot | None) -> None:
        super().__init__(TWO, 4)
        self.deaths = list(deaths)
        self.given_up: list[dict[Spot, SampleError]] = []

    async def open(self, spec: ShardSpec, *, previous_digest: str, retry: bool) -> Opened:
        if self.deaths:
            raise WorkerDied("killed", spot=self.deaths.pop(0))
        return await super().open(spec, previous_digest=previous_digest, retry=retry)

    async def reopen(self, spec: ShardSpec, *, given_up: Any, **options: Any) -> Opened:
        self.given_up.append(dict(given_up))
        return await self.open(spec, **options)


FIRST, SECOND = Spot(0, 0, is_decoding=True), Spot(2, 0, is_decoding=False)


@pytest.mark.attack("hangs")
@pytest.mark.parametrize(
    ("deaths", "given_up"),
    [
        ([None], set()),
        ([None, FIRST], set()),
        ([None, FIRST, FIRST], {FIRST}),
        ([FIRST, FIRST, SECOND, SECOND], {FIRST, SECOND}),
    ],
)
def test_an_input_of_which_workers_die_twice_is_given_up(
    deaths: list[Spot | None], given_up: set[Spot]
) -> None:
    runner = Unread(*deaths)
    assert schedule(runner, job(0))[0] == ["000000"]
    assert set(runner.given_up[-1]) == given_up


def test_reading_that_kills_its_worker_each_time_ends_the_run_with_the_shard() -> None:
    entry = Entry(source="s", shard=0, key="k", item=Item(location="big.tar", signature=""))
    spec = ShardSpec(number=0, source=0, entries=(entry,))
    runner = Unread(*[None] * 9)
    with pytest.raises(RunError, match=r"reading shard 000000, which begins with big\.tar, killed"):
        schedule(runner, Job(spec=spec))
    assert len(runner.given_up) == 3


class Full(FakeRunner):
    """Has room for one shard in shared memory."""

    async def publish(self, opened: Opened, *args: Any) -> ShardStats:
        await asyncio.sleep(0)
        if self.open_now > 1:
            self.open_now -= 1
            raise StoreFull("full")
        return await super().publish(opened, *args)


@pytest.fixture
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    """Others that fill shared memory are not waited for."""
    monkeypatch.setattr(scheduler, "PAUSE_S", 0)


@pytest.mark.attack("memory")
@pytest.mark.usefixtures("no_pause")
def test_shards_that_do_not_fit_into_memory_together_are_built_one_after_the_other() -> None:
    runner = Full(TWO, 4)
    names, progress = schedule(runner, *map(job, range(6)))
    assert sorted(names) == [f"{number:06d}" for number in range(6)]
    assert progress.answered == {"a": 24, "b": 24}


@pytest.mark.usefixtures("no_pause")
def test_more_shards_are_in_work_again_when_memory_is_no_longer_full() -> None:
    class Filled(FakeRunner):
        opened: ClassVar[list[int]] = []  # shards in work, at each publication

        async def publish(self, *args: Any) -> ShardStats:
            self.opened.append(self.open_now)
            if len(self.opened) == 1:  # another program filled it
                self.open_now -= 1
                raise StoreFull("full")
            return await super().publish(*args)

    runner = Filled(TWO, 4, width=8)
    names, _ = schedule(runner, *map(job, range(20)))
    assert sorted(names) == [f"{number:06d}" for number in range(20)]
    after = runner.opened[5:]  # those that were in work when it was full
    assert (after[0], max(after)) == (1, 5)


@pytest.mark.attack("memory")
@pytest.mark.usefixtures("no_pause")
def test_a_shard_that_does_not_fit_alone_ends_the_run() -> None:
    class Tiny(FakeRunner):
        async def publish(self, *args: Any) -> ShardStats:
            raise StoreFull("raise runner.object_store_mb")

    with pytest.raises(RunError, match=r"raise runner\.object_store_mb"):
        schedule(Tiny(TWO, 4), job(0))


def test_a_call_that_killed_its_worker_is_cut_into_eight() -> None:
    runner = FakeRunner(graph_of(("a", "a", ()), batch_size=32), 32, dies=kills("a", 13))
    schedule(runner, job(0))
    lengths = [len(call.samples) for call in runner.calls]
    # The call; its eighths, of which the fourth dies and is cut again; the image, asked twice more.
    assert lengths == [32, 4, 4, 4, 4, 1, 1, 1, 1, 1, 1, 4, 4, 4, 4]
    assert {call.samples for call in runner.calls[6:9]} == {(13,)}
    (error,) = [
        error for part in runner.parts["000000"] for layer in part.values()
        for error in layer.errors
    ]  # fmt: skip
    assert (error.sample, error.reason, error.attempt) == (13, "process_died", 2)


@pytest.mark.parametrize(("shards", "is_given_up"), [(16, False), (17, True)])
def test_as_many_workers_may_die_in_a_row_as_the_limit_says(shards: int, is_given_up: bool) -> None:
    """Each image kills four: it is asked three times more, alone."""
    graph = graph_of(("a", CPU_POOL, ()), batch_size=1)
    runner = FakeRunner(graph, 1, width=1, dies=lambda names, samples: True)
    if is_given_up:
        two_shards = f"({MAX_DEATHS + 1}|{MAX_DEATHS + 2}) workers died in a row"
        with pytest.raises(RunError, match=two_shards):
            schedule(runner, *map(job, range(shards)))
    else:
        names, _ = schedule(runner, *map(job, range(shards)))
        assert len(names) == shards
        assert len(runner.calls) == MAX_DEATHS


def test_progress_counts_for_each_stage_what_it_had_left_to_do() -> None:
    runner = FakeRunner(TWO, 6, todo={"a": (1, 3), "b": (0, 1, 2, 3, 4)})
    _, progress = schedule(runner, job(0))
    assert progress.answered == {"a": 6, "b": 6}


def test_after_a_death_the_pieces_run_alone() -> None:
    """Who else is in a worker when it dies would be blamed for it."""
    runner = FakeRunner(TWO, 64, dies=kills("b", 37))
    schedule(runner, job(0))
    died = [number for number, call in enumerate(runner.calls) if 37 in call.samples]
    assert not runner.calls[died[0]].exclusive
    assert all(runner.calls[number].exclusive for number in died[1:])


def test_the_innocent_are_answered_after_a_death() -> None:
    runner = FakeRunner(TWO, 20, dies=kills("a", 3))
    schedule(runner, job(0))
    alive = [call for call in runner.calls if not kills("a", 3)(call.names, call.samples)]
    assert {n for call in alive if "a" in call.names for n in call.samples} == set(range(20)) - {3}


def test_who_reads_the_stage_that_died_fails_too_and_the_others_still_speak() -> None:
    graph = graph_of(("a", CPU_POOL, ()), ("b", CPU_POOL, ("a",)), ("c", CPU_POOL, ()))
    runner = FakeRunner(graph, 3, dies=kills("a", 1))
    schedule(runner, job(0))
    assert runner.failures() == {("a", 1, "process_died"), ("b", 1, "input_failed")}
    assert (("c",), (1,)) in [(call.names, call.samples) for call in runner.calls]


@pytest.mark.parametrize("deaths_in_a_row", [1, 2, 3])
def test_an_image_is_not_blamed_for_what_kills_its_workers_by_chance(deaths_in_a_row: int) -> None:
    deaths = iter([True] * deaths_in_a_row)
    runner = FakeRunner(TWO, 1, dies=lambda names, samples: next(deaths, False))
    schedule(runner, job(0))
    assert runner.failures() == set()
    as_a_whole = [call.names for call in runner.calls] == [("a", "b")] * (deaths_in_a_row + 1)
    assert as_a_whole == (deaths_in_a_row < 3), "no stage is asked more often than needed"


def test_workers_that_die_without_end_stop_the_run_and_say_where() -> None:
    runner = FakeRunner(TWO, 64, dies=lambda names, samples: True)
    with pytest.raises(
        RunError, match=r"workers died in a row, the last in shard 00000\d .* a, b: killed"
    ):
        schedule(runner, *map(job, range(9)))
    assert len(runner.calls) <= MAX_DEATHS + 8


def test_lone_images_that_kill_their_workers_do_not_add_up() -> None:
    """Each shard has one; many more workers die than may die in a row."""
    runner = FakeRunner(TWO, 8, width=1, dies=kills("b", 3))
    names, _ = schedule(runner, *map(job, range(MAX_DEATHS)), shard_size=8)
    assert len(names) == MAX_DEATHS
    assert runner.failures() == {("b", 3, "process_died")}
    deaths = [call for call in runner.calls if "b" in call.names and 3 in call.samples]
    assert len(deaths) > 2 * MAX_DEATHS


def test_an_error_of_a_worker_stops_the_run_and_leaves_no_task_behind() -> None:
    class Broken(FakeRunner):
        async def publish(self, *args: Any) -> ShardStats:
            raise RunError("the disk burns")

    with pytest.raises(RunError, match="the disk burns"):
        schedule(Broken(TWO, 4), *map(job, range(5)))

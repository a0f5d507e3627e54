"""Which calls an actor of a pool has at the same time; no Ray is started."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest
from ray.exceptions import ActorDiedError, ActorUnavailableError

from florilegium.engine.core.errors import RunError, WorkerDied
from florilegium.engine.execution.actor_pool import NODES, ActorPool
from florilegium.engine.execution.ray_errors import NodeLost
from florilegium.engine.execution.reply import Reply
from florilegium.engine.execution.runner import ATTEMPTS
from florilegium.engine.planning.pools import Pool


class Method:
    """A method of an actor that answers at once."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer

    async def remote(self, *_: Any) -> Any:
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


class Actor:
    """An actor on a node; one that is not placed never answers."""

    def __init__(self, node: str = "") -> None:
        self.load = Method(Reply())
        self.node = Method(node)


class Unplaced(Actor):
    """An actor that fits nowhere."""

    def __init__(self) -> None:
        self.load = self

    async def remote(self, *_: Any) -> Reply:
        return await asyncio.get_running_loop().create_future()


def died(words: str) -> ActorDiedError:
    """Return the error of an actor that died, with Ray's words for the cause."""
    error = ActorDiedError()
    error.error_msg = words
    return error


ALONE = "The actor is dead because its worker process has died. Worker exit type: SYSTEM_ERROR"
WITH_NODE = "The actor died because its node has died. Node Id: d538\n\thealth check failed"


@pytest.fixture(autouse=True)
def killed(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The actors that were ended."""
    actors: list[Any] = []
    monkeypatch.setattr("ray.kill", actors.append)
    return actors


async def pool_of(size: int, *, calls: int = 1, make: Callable[[], Any] = Actor) -> ActorPool:
    """Return a pool whose actors are there."""
    pool = ActorPool(Pool(name="cpus", size=size, calls=calls), make, None)
    await settle()
    return pool


class Held:
    """A call that lasts until it is released, and the actor that it runs on."""

    def __init__(self) -> None:
        self.actor: Actor | None = None
        self.released = asyncio.Event()

    async def __call__(self, actor: Actor) -> None:
        self.actor = actor
        await self.released.wait()

    @staticmethod
    async def at_once(_: Actor) -> None:
        """Be over at once."""


async def settle() -> None:
    """Let all tasks run until they wait."""
    for _ in range(10):
        await asyncio.sleep(0)


async def begun(coroutine: Callable[[Held], Awaitable[Any]]) -> tuple[Held, asyncio.Future[Any]]:
    """Begin a call; return it and its task."""
    held = Held()
    task = asyncio.ensure_future(coroutine(held))
    await settle()
    return held, task


def test_nothing_runs_beside_an_exclusive_call() -> None:
    """A death of the worker would be blamed on the image that runs alone."""

    async def run() -> None:
        pool = await pool_of(1)
        alone, first = await begun(lambda held: pool.call(held, (), priority="0", exclusive=True))
        beside, second = await begun(pool.beside)
        assert (alone.actor is not None, beside.actor) == (True, None)
        alone.released.set()
        await first
        await settle()
        assert beside.actor is alone.actor
        beside.released.set()
        await second

    asyncio.run(run())


def test_an_exclusive_call_waits_for_what_runs_beside() -> None:
    async def run() -> None:
        pool = await pool_of(1, calls=2)
        beside, first = await begun(pool.beside)
        alone, second = await begun(lambda held: pool.call(held, (), priority="0", exclusive=True))
        assert (beside.actor is not None, alone.actor) == (True, None)
        later = [
            await begun(lambda held: pool.call(held, (), priority="1")),
            await begun(pool.beside),
        ]
        beside.released.set()
        await first
        await settle()
        assert alone.actor is beside.actor
        assert [held.actor for held, _ in later] == [None, None], "it would wait for ever"
        for held, _ in later:
            held.released.set()
        alone.released.set()
        await asyncio.gather(second, *(task for _, task in later))

    asyncio.run(run())


def test_what_may_run_beside_goes_to_an_actor_without_an_exclusive_call() -> None:
    async def run() -> None:
        pool = await pool_of(2)
        alone, first = await begun(lambda held: pool.call(held, (), priority="0", exclusive=True))
        others = [await begun(pool.beside) for _ in range(3)]
        assert all(held.actor not in (None, alone.actor) for held, _ in others)
        for held, _ in others:
            held.released.set()
        alone.released.set()
        await asyncio.gather(first, *(task for _, task in others))

    asyncio.run(run())


def test_an_exclusive_call_that_is_cancelled_keeps_nothing_off() -> None:
    async def run() -> None:
        pool = await pool_of(1)
        beside, first = await begun(pool.beside)
        _, waiting = await begun(lambda held: pool.call(held, (), priority="0", exclusive=True))
        later, second = await begun(pool.beside)
        assert later.actor is None
        waiting.cancel()
        await settle()
        assert later.actor is beside.actor
        for held in (beside, later):
            held.released.set()
        await asyncio.gather(first, second)

    asyncio.run(run())


async def calls_of(pool: ActorPool, count: int) -> tuple[list[Held], list[asyncio.Future[Any]]]:
    """Begin calls of one shard; return them and their tasks."""
    begun_calls = [await begun(lambda held: pool.call(held, (), priority="")) for _ in range(count)]
    return [held for held, _ in begun_calls], [task for _, task in begun_calls]


async def released(calls: Sequence[Held], tasks: Sequence[asyncio.Future[Any]]) -> None:
    for held in calls:
        held.released.set()
    await asyncio.gather(*tasks)


def test_a_pool_that_grows_takes_the_calls_that_wait() -> None:
    async def run() -> None:
        pool = await pool_of(1)
        calls, tasks = await calls_of(pool, 4)
        assert sum(held.actor is not None for held in calls) == 1
        pool.resize(3)
        await settle()
        assert pool.there == 3
        assert len({held.actor for held in calls if held.actor}) == 3
        await released(calls, tasks)

    asyncio.run(run())


def test_a_pool_that_shrinks_loses_no_call(killed: list[Any]) -> None:
    async def run() -> None:
        pool = await pool_of(3)
        calls, tasks = await calls_of(pool, 5)
        pool.resize(1)
        assert killed == [], "a call runs on each"
        assert pool.there == 1
        for held in calls[:3]:
            held.released.set()
        await settle()
        assert killed == [calls[1].actor, calls[2].actor]
        assert calls[3].actor is calls[0].actor
        await released(calls, tasks)

    asyncio.run(run())


def test_actors_that_are_not_there_go_first(killed: list[Any]) -> None:
    async def run() -> None:
        made = iter([Unplaced, Actor, Unplaced])
        pool = await pool_of(3, make=lambda: next(made)())
        pool.resize(1)
        assert [type(one) for one in killed] == [Unplaced, Unplaced]
        assert (pool.there, pool.late(-1)) == (1, 0)
        await pool.call(Held.at_once, (), priority="")

    asyncio.run(run())


def test_a_pool_has_at_least_one_actor() -> None:
    async def run() -> None:
        pool = await pool_of(2)
        for size in (0, -3):
            pool.resize(size)
            assert pool.there == 1

    asyncio.run(run())


def test_a_pool_that_shrinks_and_grows_again_keeps_an_actor_that_has_not_left(
    killed: list[Any],
) -> None:
    async def run() -> None:
        pool = await pool_of(2)
        calls, tasks = await calls_of(pool, 2)
        pool.resize(1)
        pool.resize(2)
        await released(calls, tasks)
        assert (pool.there, killed) == (2, [])

    asyncio.run(run())


def test_an_actor_on_a_node_that_leaves_finishes_its_call_and_takes_no_other(
    killed: list[Any],
) -> None:
    async def run() -> None:
        nodes = iter("abc")
        pool = await pool_of(2, make=lambda: Actor(next(nodes)))
        calls, tasks = await calls_of(pool, 3)
        pool.resize(2, leaving={"a"})
        await settle()
        assert killed == []
        assert calls[2].actor not in (None, calls[0].actor), "its successor on another node"
        calls[0].released.set()
        await settle()
        assert killed == [calls[0].actor]
        await released(calls, tasks)
        assert pool.there == 2

    asyncio.run(run())


def test_an_idle_actor_on_a_node_that_leaves_goes_at_once(killed: list[Any]) -> None:
    async def run() -> None:
        nodes = iter("ab")
        pool = await pool_of(2, make=lambda: Actor(next(nodes)))
        pool.resize(1, leaving={"a"})
        assert [await one.node.remote() for one in killed] == ["a"]
        assert pool.there == 1

    asyncio.run(run())


def test_an_exclusive_call_that_waits_for_an_actor_that_leaves_takes_another() -> None:
    async def run() -> None:
        nodes = iter("ab")
        pool = await pool_of(1, make=lambda: Actor(next(nodes)), calls=2)
        beside, first = await begun(pool.beside)
        alone, second = await begun(lambda held: pool.call(held, (), priority="", exclusive=True))
        pool.resize(1, leaving={"a"})
        await settle()
        assert alone.actor not in (None, beside.actor)
        await released([beside, alone], [first, second])

    asyncio.run(run())


@pytest.mark.parametrize(
    "error",
    [died(WITH_NODE), ActorUnavailableError("Socket closed", None)],
)
@pytest.mark.parametrize("kind", ["call", "exclusive", "beside"])
def test_a_call_whose_node_is_gone_is_made_again_and_blames_nothing(
    error: Exception, kind: str
) -> None:
    async def run() -> None:
        pool = await pool_of(2)
        actors: list[Any] = []

        async def call(actor: Any) -> str:
            actors.append(actor)
            if len(actors) < NODES:
                raise error
            return "done"

        if kind == "beside":
            assert await pool.beside(call, attempts=1) == "done"
        else:
            assert await pool.call(call, (), priority="", exclusive=kind == "exclusive") == "done"
        assert len({id(actor) for actor in actors}) == NODES
        await settle()
        assert pool.there == 2

    asyncio.run(run())


@pytest.mark.parametrize("kind", ["call", "beside"])
def test_a_call_under_which_node_after_node_goes_ends_the_run_and_blames_nothing(kind: str) -> None:
    async def run() -> None:
        pool = await pool_of(2)
        calls = 0

        async def call(_: Any) -> None:
            nonlocal calls
            calls += 1
            raise died(WITH_NODE)

        with pytest.raises(NodeLost, match="the node of a worker of pool 'cpus' is gone: health"):
            await (pool.beside(call) if kind == "beside" else pool.call(call, (), priority=""))
        assert calls == NODES

    asyncio.run(run())


def test_an_actor_that_dies_by_itself_is_told_to_the_caller() -> None:
    async def run() -> None:
        pool = await pool_of(1)

        async def call(_: Any) -> None:
            raise died(ALONE)

        with pytest.raises(WorkerDied):
            await pool.call(call, (), priority="")
        await settle()
        assert pool.there == 1

    asyncio.run(run())


def test_an_actor_that_dies_while_it_starts_is_started_again(killed: list[Any]) -> None:
    def make() -> Actor:
        actor = Actor()
        if len(killed) < ATTEMPTS - 1:
            actor.load = Method(died(ALONE))
        return actor

    async def run() -> None:
        pool = await pool_of(1, make=make)
        assert (pool.there, len(killed)) == (1, ATTEMPTS - 1)

    asyncio.run(run())


def test_only_deaths_one_after_the_other_count(killed: list[Any]) -> None:
    made = itertools.count(1)

    def make() -> Actor:
        actor = Actor()
        if next(made) % ATTEMPTS:
            actor.load = Method(died(ALONE))
        return actor

    async def run() -> None:
        pool = await pool_of(1, make=make)
        pool.resize(2)
        await settle()
        assert (pool.there, len(killed)) == (2, 2 * (ATTEMPTS - 1))

    asyncio.run(run())


@pytest.mark.parametrize("words", [WITH_NODE, ALONE])
def test_many_actors_that_die_together_while_they_start_are_started_again(
    killed: list[Any], words: str
) -> None:
    """As on a large node that goes."""
    many = 5 * NODES

    def make() -> Actor:
        actor = Actor()
        if len(made) < many:
            actor.load = Method(died(words))
        made.append(actor)
        return actor

    made: list[Actor] = []

    async def run() -> None:
        pool = await pool_of(many, make=make)
        assert (pool.there, len(killed)) == (many, many)

    asyncio.run(run())


def test_actors_that_die_each_time_they_start_end_the_run() -> None:
    def make() -> Actor:
        actor = Actor()
        actor.load = Method(died(ALONE))
        return actor

    async def run() -> None:
        pool = await pool_of(1, make=make)
        with pytest.raises(RunError, match="a worker of pool 'cpus' cannot start: The actor is"):
            await pool.call(Held(), (), priority="")

    asyncio.run(run())


@pytest.mark.parametrize(("deaths", "comes_through"), [(ATTEMPTS - 1, True), (ATTEMPTS, False)])
def test_an_actor_that_dies_while_it_loads_is_replaced_a_few_times(
    deaths: int, comes_through: bool
) -> None:
    """Of what it died is not known: only a stage that kills each time ends the run."""
    loads = 0

    class Loading(Actor):
        def __init__(self) -> None:
            super().__init__()
            self.load = self

        async def remote(self, names: Sequence[str]) -> Reply:
            nonlocal loads
            if names:
                loads += 1
                if loads <= deaths:
                    raise died(ALONE)
            return Reply()

    async def run() -> None:
        pool = await pool_of(1, make=Loading)
        call = pool.call(Held.at_once, ["ocr"], priority="")
        if comes_through:
            await call
        else:
            with pytest.raises(RunError, match="a worker died while loading ocr: The actor is"):
                await call
        assert loads == min(deaths + 1, ATTEMPTS)

    asyncio.run(run())


class Recording(Actor):
    """An actor that writes down what all of them load, the first times with errors."""

    loads: list[Sequence[str]]
    errors: list[Exception]

    def __init__(self) -> None:
        super().__init__()
        self.load = self

    async def remote(self, names: Sequence[str]) -> Reply:
        if names:
            self.loads.append(names)
        if names and self.errors:
            raise self.errors.pop()
        return Reply()


@pytest.mark.parametrize(
    ("errors", "loads"),
    [
        ([], 1),  # and not again for the call
        ([died(ALONE)], 2),  # the actor in its place does so for the call
    ],
)
def test_stages_are_loaded_while_nobody_calls_and_an_error_is_left_to_the_call(
    monkeypatch: pytest.MonkeyPatch, errors: list[Exception], loads: int
) -> None:
    monkeypatch.setattr(Recording, "loads", seen := [], raising=False)
    monkeypatch.setattr(Recording, "errors", errors, raising=False)

    async def run() -> None:
        pool = ActorPool(Pool(name="ocr", size=1), Recording, None, ahead=["ocr"])
        await settle()
        assert seen == [["ocr"]]
        await pool.call(Held.at_once, ["ocr"], priority="")
        assert seen == [["ocr"]] * loads

    asyncio.run(run())


def test_a_spent_actor_is_replaced_when_nothing_runs_beside_its_calls(killed: list[Any]) -> None:
    async def run() -> None:
        pool = await pool_of(1)
        (held, beside), tasks = zip(
            await begun(lambda held: pool.call(held, (), priority="")),
            await begun(pool.beside),
            strict=True,
        )
        pool.retire(held.actor)
        held.released.set()
        await settle()
        assert killed == [], "a shard is being read or written"
        beside.released.set()
        await settle()
        assert killed == [held.actor]
        assert pool.there == 1
        await asyncio.gather(*tasks)

    asyncio.run(run())


def test_a_pool_that_failed_ends_what_waits_and_what_comes() -> None:
    async def run() -> None:
        pool = await pool_of(1, make=Unplaced)
        _, waiting = await begun(lambda held: pool.call(held, (), priority=""))
        pool.fail(RunError("no room"))
        for call in (waiting, pool.call(Held(), (), priority=""), pool.beside(Held())):
            with pytest.raises(RunError, match="no room"):
                await call

    asyncio.run(run())


def test_a_closed_pool_ends_its_actors_and_those_that_wait_for_room(killed: list[Any]) -> None:
    async def run() -> None:
        made = iter([Actor, Unplaced])
        pool = await pool_of(2, make=lambda: next(made)())
        _, tasks = await calls_of(pool, 1)
        pool.close()
        assert [type(one) for one in killed] == [Actor, Unplaced]
        tasks[0].cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert (pool.there, len(killed)) == (0, 2), "no actor is made for those that went"
        assert asyncio.all_tasks() == {asyncio.current_task()}, "nothing waits for an actor"

    asyncio.run(run())

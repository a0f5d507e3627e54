"""Which calls an actor of a pool has at the same time; no Ray is started."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from engine.execution.actor_pool import ActorPool
from engine.execution.reply import Reply
from engine.planning.pools import Pool


class Method:
    """A method of an actor that answers at once."""

    async def remote(self, *_: Any) -> Reply:
        return Reply()


class Actor:
    load = Method()


async def pool_of(size: int, *, calls: int = 1) -> ActorPool:
    """Return a pool whose actors are there."""
    pool = ActorPool(Pool(name="cpus", size=size, calls=calls), Actor, None)
    await asyncio.gather(*pool._starting)
    return pool


class Held:
    """A call that lasts until it is released, and the actor that it runs on."""

    def __init__(self) -> None:
        self.actor: Actor | None = None
        self.released = asyncio.Event()

    async def __call__(self, actor: Actor) -> None:
        self.actor = actor
        await self.released.wait()


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

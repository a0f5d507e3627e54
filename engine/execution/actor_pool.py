"""Actors of Ray that host the same stages.

Calls go to idle actors, oldest shard first. An actor that dies, hangs or keeps too much memory is
replaced. Knows nothing of what the calls do.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from engine.core.errors import DataLost, FlorilegiumError, RunError, StoreFull, WorkerDied
from engine.core.image.header import OUT_OF_MEMORY
from engine.execution.reply import Reply
from engine.execution.runner import ATTEMPTS, too_small, while_loading
from engine.planning.pools import Pool

Call = Callable[[Any], Awaitable[Any]]
"""What is done with an actor."""


class ActorPool:
    """Actors that host the same stages; each takes as many calls at once as its stages allow.

    Each slot of the pool has an actor, or waits for a new one. When nodes are gone and a new actor
    fits nowhere, the remaining slots go on.
    """

    def __init__(self, pool: Pool, make: Callable[[], Any], memory_mb: int | None) -> None:
        self.name = pool.name
        self._memory_mb = memory_mb
        self._calls = pool.calls
        self._make = make
        self._actors: dict[int, Any] = {}
        self._loaded: dict[int, frozenset[str]] = {}
        self._idle: Counter[int] = Counter()  # calls that each slot could take
        self._beside: Counter[int] = Counter()  # what runs on each slot beside the calls
        self._alone: set[int] = set()  # slots with an exclusive call
        self._spent: set[int] = set()
        self._waiting: list[tuple[str, int, asyncio.Future[None]]] = []
        self._turns = itertools.count()
        self._failure: Exception | None = None
        self._starting_since_s: dict[int, float] = {}  # start of actors that are not there yet
        self._starting = {asyncio.create_task(self._start(slot)) for slot in range(pool.size)}

    def late(self, patience_s: float) -> int:
        """Return how many slots have waited for their actor for longer than `patience_s`."""
        now_s = time.monotonic()
        return sum(now_s - since_s > patience_s for since_s in self._starting_since_s.values())

    async def call(
        self, call: Call, names: Sequence[str], *, priority: str, exclusive: bool = False
    ) -> Any:
        """Make a call on an idle actor that has loaded these stages, the oldest shard first.

        With `exclusive`, nothing else runs on the actor meanwhile: when it dies, this call did it.
        """
        slot = await (self._empty_slot(priority) if exclusive else self._free_slot(priority))
        room = self._calls if exclusive else 1
        self._idle[slot] -= room
        actor = self._actors[slot]
        try:
            await self._load(slot, names)
            return await self._on(slot, call)
        finally:
            if exclusive:
                self._alone.discard(slot)
            if self._actors.get(slot) is actor:
                self._set_idle(slot, room)

    async def _free_slot(self, priority: str) -> int:
        """Wait for a slot that can take a call; return the one with the most free calls."""
        while True:
            for slot, free in self._idle.most_common():
                if free and slot not in self._alone:
                    return slot
            await self._wake_up(priority)

    async def _empty_slot(self, priority: str) -> int:
        """Keep everything new off a slot, and return it when all that ran there is over."""
        while True:
            while not (slots := self._actors.keys() - self._alone):
                await self._wake_up(priority)
            slot = min(slots, key=lambda one: (self._beside[one] - self._idle[one], one))
            actor = self._actors[slot]
            self._alone.add(slot)
            try:
                while self._actors.get(slot) is actor:
                    if self._idle[slot] == self._calls and not self._beside[slot]:
                        return slot
                    await self._wake_up(priority)
            except BaseException:
                self._alone.discard(slot)
                self._wake_all()
                raise
            self._alone.discard(slot)  # its actor died: another slot may be free

    def retire(self, actor: Any) -> None:
        """Replace an actor as soon as it has no call."""
        self._spent |= {slot for slot, one in self._actors.items() if one is actor}

    async def beside(self, call: Call, *, attempts: int = ATTEMPTS) -> Any:
        """Make a call beside the running ones, on the actors in turn, but not beside an exclusive
        one; try again when the actor dies."""
        for attempt in range(1, attempts + 1):
            while not (slots := sorted(self._actors.keys() - self._alone)):
                await self._wake_up("")
            slot = slots[next(self._turns) % len(slots)]
            self._beside[slot] += 1
            try:
                return await self._on(slot, call)
            except WorkerDied:
                if attempt == attempts:
                    raise
            finally:
                self._beside[slot] -= 1
                self._wake_all()
        raise AssertionError("unreachable")

    def close(self) -> None:
        """Kill the actors."""
        import ray

        for task in self._starting:
            task.cancel()
        for actor in self._actors.values():
            ray.kill(actor)

    async def _start(self, slot: int) -> None:
        """Make an actor, wait until it is there, and offer its slot to calls."""
        self._starting_since_s[slot] = time.monotonic()
        try:
            actor = self._make()
            (await actor.load.remote([])).checked()
        except Exception as error:  # an actor that cannot be made ends the run
            reason = explained(error, self.name)
            self._failure = RunError(f"a worker of pool {self.name!r} cannot start: {reason}")
            self._wake_all()
            return
        finally:
            del self._starting_since_s[slot]
        self._actors[slot] = actor
        self._loaded[slot] = frozenset()
        self._set_idle(slot, self._calls)

    async def _load(self, slot: int, names: Sequence[str]) -> None:
        """Have an actor load stages before a call: a death while loading blames no image."""
        missing = frozenset(names) - self._loaded[slot]
        if not missing:
            return

        async def load(actor: Any) -> Reply:
            reply: Reply = await actor.load.remote(sorted(missing))
            return reply.checked()

        with while_loading(sorted(missing)):
            reply = await self._on(slot, load)
        self._loaded[slot] |= missing
        if reply.is_spent:
            raise too_small(sorted(self._loaded[slot]), self._memory_mb)

    async def _on(self, slot: int, call: Call) -> Any:
        from ray.exceptions import RayError

        actor = self._actors[slot]
        try:
            return await call(actor)
        except (RayError, WorkerDied) as error:
            ours = explained(error, self.name)
            if isinstance(ours, WorkerDied) and self._actors.get(slot) is actor:
                self._replace(slot)
            raise ours from (None if ours is error else error)

    def _replace(self, slot: int) -> None:
        """End an actor, which may hang, and start another."""
        import ray

        ray.kill(self._actors.pop(slot))
        del self._idle[slot]
        self._spent.discard(slot)
        self._starting.add(asyncio.create_task(self._start(slot)))

    def _set_idle(self, slot: int, calls: int) -> None:
        self._idle[slot] += calls
        if slot in self._spent and self._idle[slot] == self._calls:
            self._replace(slot)
        else:
            self._wake_all()

    async def _wake_up(self, priority: str) -> None:
        """Wait until a slot may be free; waiters of the oldest shard wake first."""
        if self._failure:
            raise self._failure
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._waiting, (priority, next(self._turns), turn))
        await turn
        if self._failure:
            raise self._failure

    def _wake_all(self) -> None:
        while self._waiting:
            _, _, turn = heapq.heappop(self._waiting)
            if not turn.done():
                turn.set_result(None)


def explained(error: Exception, pool: str) -> FlorilegiumError:
    """Return the engine's error for an error of Ray."""
    from ray.exceptions import (
        ObjectLostError,
        ObjectStoreFullError,
        OutOfDiskError,
        OutOfMemoryError,
        RayActorError,
        RayTaskError,
    )

    cause = error.cause if isinstance(error, RayTaskError) else error
    if isinstance(cause, FlorilegiumError):
        return cause
    if isinstance(cause, ObjectLostError):
        return DataLost(f"a node left with the bytes of a shard: {last_line(cause)}")
    if isinstance(cause, ObjectStoreFullError | OutOfDiskError):
        return StoreFull(
            f"the shared memory of Ray is full, and so is the disk behind it: {last_line(cause)}; "
            f"raise runner.object_store_mb, make room in the temporary folder, or lower shard_size"
        )
    if isinstance(cause, OutOfMemoryError):
        return WorkerDied(last_line(cause), reason=OUT_OF_MEMORY)
    if isinstance(cause, RayActorError) and not cause.actor_init_failed:
        return WorkerDied(last_line(cause))
    what = f"{type(cause).__name__}: {last_line(cause)}"
    return RunError(f"a worker of pool {pool!r} failed: {what}")


def last_line(error: BaseException) -> str:
    """Return the last line of an error's message, where Ray states the cause."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__

"""Actors of Ray that host the same stages.

Calls go to idle actors, oldest shard first. An actor that dies, hangs or keeps too much memory is
replaced. Knows nothing of what the calls do.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from engine.core.errors import RunError, WorkerDied
from engine.execution.ray_errors import explained
from engine.execution.reply import Reply
from engine.execution.runner import ATTEMPTS, too_small, while_loading
from engine.planning.pools import Pool

Call = Callable[[Any], Awaitable[Any]]
"""What is done with an actor."""


@dataclass(eq=False)
class _Slot:
    """An actor of a pool and what runs on it; one that is not there yet takes no calls."""

    number: int
    actor: Any = None
    is_there: bool = False
    since_s: float = field(default_factory=time.monotonic)  # when its actor was asked for
    loaded: frozenset[str] = frozenset()
    idle: int = 0  # calls that it could take
    beside: int = 0  # what runs beside the calls
    is_alone: bool = False  # it has an exclusive call
    is_spent: bool = False  # it is replaced as soon as it has no call


class ActorPool:
    """Actors that host the same stages; each takes as many calls at once as its stages allow.

    When nodes are gone and a new actor fits nowhere, the remaining ones go on.
    """

    def __init__(self, pool: Pool, make: Callable[[], Any], memory_mb: int | None) -> None:
        self.name = pool.name
        self._memory_mb = memory_mb
        self._calls = pool.calls
        self._make = make
        self._slots: list[_Slot] = []
        self._waiting: list[tuple[str, int, asyncio.Future[None]]] = []
        self._turns = itertools.count()
        self._numbers = itertools.count()
        self._failure: Exception | None = None
        self._starting: set[asyncio.Task[None]] = set()
        for _ in range(pool.size):
            self._add()

    def late(self, patience_s: float) -> int:
        """Return how many actors have not been there for longer than `patience_s`."""
        now_s = time.monotonic()
        return sum(not one.is_there and now_s - one.since_s > patience_s for one in self._slots)

    async def call(
        self, call: Call, names: Sequence[str], *, priority: str, exclusive: bool = False
    ) -> Any:
        """Make a call on an idle actor that has loaded these stages, the oldest shard first.

        With `exclusive`, nothing else runs on the actor meanwhile: when it dies, this call did it.
        """
        slot = await (self._empty_slot(priority) if exclusive else self._free_slot(priority))
        room = self._calls if exclusive else 1
        slot.idle -= room
        try:
            await self._load(slot, names)
            return await self._on(slot, call)
        finally:
            slot.idle += room
            slot.is_alone = slot.is_alone and not exclusive
            self._settle(slot)

    async def _free_slot(self, priority: str) -> _Slot:
        """Wait for a slot that can take a call; return the one with the most free calls."""
        while True:
            slot = max(self._open_slots(), key=lambda one: one.idle, default=None)
            if slot and slot.idle:
                return slot
            await self._wake_up(priority)

    async def _empty_slot(self, priority: str) -> _Slot:
        """Keep everything new off a slot, and return it when all that ran there is over."""
        while True:
            while not (slots := self._open_slots()):
                await self._wake_up(priority)
            slot = min(slots, key=lambda one: (one.beside - one.idle, one.number))
            slot.is_alone = True
            try:
                while slot in self._slots:
                    if self._is_unused(slot):
                        return slot
                    await self._wake_up(priority)
            except BaseException:
                slot.is_alone = False
                self._wake_all()
                raise
            # its actor died: another slot may be free

    def _open_slots(self) -> list[_Slot]:
        """Return the slots that may take something new, in a fixed order."""
        return [one for one in self._slots if one.is_there and not one.is_alone]

    def _is_unused(self, slot: _Slot) -> bool:
        return slot.idle == self._calls and not slot.beside

    def retire(self, actor: Any) -> None:
        """Replace an actor as soon as it has no call."""
        for slot in self._slots:
            slot.is_spent = slot.is_spent or slot.actor is actor

    async def beside(self, call: Call, *, attempts: int = ATTEMPTS) -> Any:
        """Make a call beside the running ones, on the actors in turn, but not beside an exclusive
        one; try again when the actor dies."""
        for attempt in range(1, attempts + 1):
            while not (slots := self._open_slots()):
                await self._wake_up("")
            slot = slots[next(self._turns) % len(slots)]
            slot.beside += 1
            try:
                return await self._on(slot, call)
            except WorkerDied:
                if attempt == attempts:
                    raise
            finally:
                slot.beside -= 1
                self._wake_all()
        raise AssertionError("unreachable")

    def close(self) -> None:
        """Kill the actors."""
        import ray

        for task in self._starting:
            task.cancel()
        for slot in self._slots:
            if slot.is_there:
                ray.kill(slot.actor)

    def _add(self) -> None:
        slot = _Slot(number=next(self._numbers))
        self._slots.append(slot)
        self._starting.add(asyncio.create_task(self._start(slot)))

    async def _start(self, slot: _Slot) -> None:
        """Make an actor, wait until it is there, and offer its slot to calls."""
        try:
            slot.actor = self._make()
            (await slot.actor.load.remote([])).checked()
        except Exception as error:  # an actor that cannot be made ends the run
            reason = explained(error, self.name)
            self._failure = RunError(f"a worker of pool {self.name!r} cannot start: {reason}")
        else:
            slot.is_there = True
            slot.idle = self._calls
        self._wake_all()

    async def _load(self, slot: _Slot, names: Sequence[str]) -> None:
        """Have an actor load stages before a call: a death while loading blames no image."""
        missing = frozenset(names) - slot.loaded
        if not missing:
            return

        async def load(actor: Any) -> Reply:
            reply: Reply = await actor.load.remote(sorted(missing))
            return reply.checked()

        with while_loading(sorted(missing)):
            reply = await self._on(slot, load)
        slot.loaded |= missing
        if reply.is_spent:
            raise too_small(sorted(slot.loaded), self._memory_mb)

    async def _on(self, slot: _Slot, call: Call) -> Any:
        from ray.exceptions import RayError

        try:
            return await call(slot.actor)
        except (RayError, WorkerDied) as error:
            ours = explained(error, self.name)
            if isinstance(ours, WorkerDied) and slot in self._slots:
                self._replace(slot)
            raise ours from (None if ours is error else error)

    def _replace(self, slot: _Slot) -> None:
        """End an actor, which may hang, and start another."""
        import ray

        self._slots.remove(slot)
        ray.kill(slot.actor)
        self._add()

    def _settle(self, slot: _Slot) -> None:
        """Replace a slot that is spent after its last call, and wake who waits for one."""
        if slot in self._slots and slot.is_spent and slot.idle == self._calls:
            self._replace(slot)
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

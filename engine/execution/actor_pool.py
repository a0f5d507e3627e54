"""Actors of Ray that host the same stages.

Calls go to idle actors, oldest shard first. An actor that dies, hangs or keeps too much memory is
replaced; a call whose node is gone is made again, and blames no image. A pool grows and shrinks
with the cluster. Knows nothing of what the calls do.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

from florilegium.engine.core.errors import RunError, WorkerDied
from florilegium.engine.execution.ray_errors import NodeLost, explained
from florilegium.engine.execution.reply import Reply
from florilegium.engine.execution.runner import ATTEMPTS, DiedLoading, too_small, while_loading
from florilegium.engine.planning.pools import Pool

Call = Callable[[Any], Awaitable[Any]]
"""What is done with an actor."""
NODES = 8
"""Nodes that may go one after the other under the same call before the run is given up."""


@dataclass(eq=False)
class _Slot:
    """An actor of a pool and what runs on it; one that is not there yet takes no calls."""

    number: int
    actor: Any = None
    died: Counter[type[Exception]] = field(default_factory=Counter)  # before, while they started
    is_there: bool = False
    since_s: float = field(default_factory=time.monotonic)  # when its actor was asked for
    node: str = ""  # where its actor is
    loaded: frozenset[str] = frozenset()
    idle: int = 0  # calls that it could take
    beside: int = 0  # what runs beside the calls
    is_alone: bool = False  # it has an exclusive call
    is_spent: bool = False  # it takes nothing new, and is replaced when nothing runs on it
    is_leaving: bool = False  # it takes nothing new, and goes when nothing runs on it
    loading_ahead: asyncio.Task[None] | None = None


class ActorPool:
    """Actors that host the same stages; each takes as many calls at once as its stages allow.

    When nodes are gone and a new actor fits nowhere, the remaining ones go on. Actors load the
    stages `ahead` as soon as they are there, while nobody calls them.
    """

    def __init__(
        self,
        pool: Pool,
        make: Callable[[], Any],
        memory_mb: int | None,
        *,
        ahead: Sequence[str] = (),
    ) -> None:
        self.name = pool.name
        self._ahead = ahead
        self._memory_mb = memory_mb
        self._calls = pool.calls
        self._make = make
        self._size = pool.size
        self._slots: list[_Slot] = []
        self._waiting: list[tuple[str, int, asyncio.Future[None]]] = []
        self._turns = itertools.count()
        self._numbers = itertools.count()
        self._failure: Exception | None = None
        self._starting: dict[_Slot, asyncio.Task[None]] = {}
        self._fill()

    @property
    def there(self) -> int:
        """Actors that are there and stay."""
        return sum(one.is_there for one in self._staying())

    def late(self, patience_s: float) -> int:
        """Return how many actors have not been there for longer than `patience_s`."""
        now_s = time.monotonic()
        return sum(not one.is_there and now_s - one.since_s > patience_s for one in self._slots)

    def resize(self, size: int, *, leaving: Collection[str] = ()) -> None:
        """Grow or shrink to so many actors, at least one.

        Those that are too many, and those on nodes that are `leaving`, finish what runs on them
        and take nothing new; actors that are not there yet go first.
        """
        self._size = max(1, size)
        for slot in self._slots:
            slot.is_leaving = slot.node in leaving
        staying = sorted(self._staying(), key=lambda one: (not one.is_there, one.number))
        for slot in staying[self._size :]:
            slot.is_leaving = True
        for slot in [*self._slots]:
            self._settle(slot)
        self._fill()

    def fail(self, error: Exception) -> None:
        """End the calls that wait for an actor, and those to come, with an error."""
        self._failure = error
        self._wake_all()

    async def call(
        self, call: Call, names: Sequence[str], *, priority: str, exclusive: bool = False
    ) -> Any:
        """Make a call on an idle actor that has loaded these stages, the oldest shard first.

        With `exclusive`, nothing else runs on the actor meanwhile: when it dies, this call did it.
        """
        losses: Counter[type[RunError]] = Counter()
        while True:
            slot = await (self._empty_slot(priority) if exclusive else self._free_slot(priority))
            room = self._calls if exclusive else 1
            slot.idle -= room
            try:
                await self._load(slot, names)
                return await self._on(slot, call)
            except (NodeLost, DiedLoading) as error:
                losses[type(error)] += 1
                if losses[NodeLost] == NODES or losses[DiedLoading] == ATTEMPTS:
                    raise
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
                while slot in self._slots and not slot.is_leaving:
                    if self._is_unused(slot):
                        return slot
                    await self._wake_up(priority)
            except BaseException:
                slot.is_alone = False
                self._wake_all()
                raise
            slot.is_alone = False  # its actor died or leaves: another slot may be free

    def _open_slots(self) -> list[_Slot]:
        """Return the slots that may take something new, in a fixed order."""
        return [
            one
            for one in self._slots
            if one.is_there and not (one.is_alone or one.is_spent or one.is_leaving)
        ]

    def _staying(self) -> list[_Slot]:
        return [one for one in self._slots if not one.is_leaving]

    def _is_unused(self, slot: _Slot) -> bool:
        return slot.idle == self._calls and not slot.beside

    def retire(self, actor: Any) -> None:
        """Replace an actor as soon as nothing runs on it."""
        for slot in self._slots:
            slot.is_spent = slot.is_spent or slot.actor is actor

    async def beside(self, call: Call, *, attempts: int = ATTEMPTS) -> Any:
        """Make a call beside the running ones, on the actors in turn, but not beside an exclusive
        one; try again when the actor dies."""
        deaths: Counter[bool] = Counter()
        while True:
            while not (slots := self._open_slots()):
                await self._wake_up("")
            slot = slots[next(self._turns) % len(slots)]
            slot.beside += 1
            try:
                return await self._on(slot, call)
            except (NodeLost, WorkerDied) as error:
                deaths[isinstance(error, NodeLost)] += 1
                if deaths[True] == NODES or deaths[False] == attempts:
                    raise
            finally:
                slot.beside -= 1
                self._settle(slot)

    def close(self) -> None:
        """Kill the actors."""
        self._size = 0
        for slot in [*self._slots]:
            self._end(slot)

    def _fill(self) -> None:
        """Ask for the actors that are missing."""
        for _ in range(len(self._staying()), self._size):
            self._add(_Slot(number=next(self._numbers)))

    def _add(self, slot: _Slot) -> None:
        self._slots.append(slot)
        self._starting[slot] = asyncio.create_task(self._start(slot))

    async def _start(self, slot: _Slot) -> None:
        """Make an actor, wait until it is there, and offer its slot to calls."""
        try:
            slot.actor = self._make()
            (await slot.actor.load.remote([])).checked()
            slot.node = await slot.actor.node.remote()
        except Exception as error:
            self._not_started(slot, explained(error, self.name))
            return
        del self._starting[slot]
        slot.is_there = True
        slot.idle = self._calls
        if self._ahead:
            slot.loading_ahead = asyncio.create_task(self._load_ahead(slot))
        self._wake_all()

    async def _load_ahead(self, slot: _Slot) -> None:
        """Have an actor load stages that it will be asked for. Where that fails, no actor does so
        again: the next call loads them itself, and reports what is wrong."""
        try:
            await self._load(slot, self._ahead)
        except Exception:  # of the stage, of the actor or of its node
            self._ahead = ()

    def _not_started(self, slot: _Slot, error: Exception) -> None:
        """Start another actor for one that died; one that cannot be made ends the run."""
        del self._starting[slot]
        slot.died[type(error)] += 1
        most = {NodeLost: NODES, WorkerDied: ATTEMPTS}.get(type(error), 1)
        if slot.died[type(error)] < most:
            self._end(slot)
            if len(self._staying()) < self._size:
                self._add(_Slot(number=next(self._numbers), died=slot.died))
        else:
            self.fail(RunError(f"a worker of pool {self.name!r} cannot start: {error}"))

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
            if isinstance(ours, WorkerDied | NodeLost):
                self._replace(slot)
            raise ours from (None if ours is error else error)

    def _settle(self, slot: _Slot) -> None:
        """Let a slot go that has nothing left to do, and wake who waits for one."""
        is_over = slot.is_leaving or (slot.is_spent and slot in self._slots)
        if is_over and (self._is_unused(slot) or not slot.is_there):
            self._replace(slot)
        self._wake_all()

    def _replace(self, slot: _Slot) -> None:
        """End an actor, which may hang, and start another where the pool has too few."""
        self._end(slot)
        self._fill()

    def _end(self, slot: _Slot) -> None:
        import ray

        if slot not in self._slots:
            return  # of several calls on an actor that died, one was first
        self._slots.remove(slot)
        for task in (self._starting.pop(slot, None), slot.loading_ahead):
            if task:
                task.cancel()
        if slot.actor is not None:
            ray.kill(slot.actor)

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

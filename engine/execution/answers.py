"""The answers of finished calls about a shard, on their way to a layer.

They are stored a while after they came, for when the driver is killed: the layers then are of some
samples only, and the next run asks about the others. Parts of layers are opaque here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Sequence
from contextlib import suppress
from typing import Any

Store = Callable[[Collection[int], Sequence[Any]], Awaitable[None]]
"""Stores all parts so far, which are about these samples."""


class Answers:
    """The parts that the calls of a visit have answered, and the samples that they are about.

    `after_s` are the seconds after which a part is stored, at most, and the time that this takes.
    """

    def __init__(self, store: Store, *, after_s: float) -> None:
        self.parts: list[Any] = []
        self._samples: set[int] = set()
        self._store = store
        self._after_s = after_s
        self._stored = 0  # of the parts
        self._is_over = asyncio.Event()
        self._storing: asyncio.Task[None] | None = None

    def add(self, samples: Collection[int], part: Any) -> None:
        """Take the answers of a call."""
        self._samples.update(samples)
        self.parts.append(part)
        if self._storing and self._storing.done():
            self._storing.result()
            self._storing = None
        if not self._storing:
            self._storing = asyncio.create_task(self._store_in_time())

    def stop(self) -> None:
        """Begin to store nothing more."""
        self._is_over.set()

    async def end(self) -> None:
        """Store nothing more: a late partial write would overwrite the full layer."""
        self.stop()
        if self._storing:
            await self._storing

    async def flush(self) -> None:
        """Store what is not stored yet, and nothing more."""
        await self.end()
        if self._stored < len(self.parts):
            await self._store_now()

    async def _store_in_time(self) -> None:
        while self._stored < len(self.parts):
            with suppress(TimeoutError):
                await asyncio.wait_for(self._is_over.wait(), self._after_s)
            if self._is_over.is_set():
                return
            await self._store_now()

    async def _store_now(self) -> None:
        samples, parts = frozenset(self._samples), tuple(self.parts)
        await self._store(samples, parts)
        self._stored = len(parts)


async def for_each(
    answers: Sequence[Answers],
    end: Callable[[Answers], Awaitable[None]],
    *,
    lost: tuple[type[Exception], ...],
) -> None:
    """End or flush all answers of a shard, after none of them stores anything by itself. What
    cannot be stored for one of the errors `lost` hinders no other, and is asked for again."""
    for one in answers:
        one.stop()
    for one in answers:
        with suppress(*lost):
            await end(one)

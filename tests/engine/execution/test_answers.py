"""Answers that are stored while their shard is under way."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from typing import Any

from florilegium.engine.core.errors import DataLost
from florilegium.engine.execution.answers import Answers, for_each


def test_an_answer_that_cannot_be_stored_hinders_no_other_and_nothing_is_stored_afterwards() -> (
    None
):
    stored: list[list[int]] = []

    async def store(samples: Collection[int], _: Sequence[Any]) -> None:
        stored.append(sorted(samples))

    async def fail(*_: object) -> None:
        raise DataLost("a node is gone")

    async def run() -> list[list[int]]:
        first, second = Answers(fail, after_s=0), Answers(store, after_s=0.02)
        first.add([0], "part")
        second.add([1], "part")
        await asyncio.sleep(0)
        await for_each([first, second], Answers.flush, lost=(DataLost,))
        before = list(stored)
        await asyncio.sleep(0.05)
        return before

    assert asyncio.run(run()) == [[1]]
    assert stored == [[1]]

"""The work of a shard on its way between processes."""

from __future__ import annotations

import pytest

from florilegium.engine.execution import packed_work
from florilegium.engine.execution.packed_work import (
    KEPT,
    PackedWork,
    Unpacked,
    packed_part,
    unpacked_part,
)
from florilegium.engine.execution.worker import ShardWork
from florilegium.engine.results.shard import Shard


def _work(number: int, todo: int = 0) -> ShardWork:
    shard = Shard(number=number, records=(), labels=(), dead_letters=())
    return ShardWork(shard=shard, todo={"tag": (todo,)}, previous_digest="", retry=False)


def test_unpacking_gives_the_work_that_was_packed() -> None:
    work = _work(3)
    assert Unpacked().of(PackedWork.of(work)) == work


def test_a_process_unpacks_the_work_of_many_calls_once(monkeypatch: pytest.MonkeyPatch) -> None:
    loads, unpacked, packed = [], Unpacked(), PackedWork.of(_work(3))
    monkeypatch.setattr(packed_work.pickle, "loads", lambda data: loads.append(data) or _work(3))
    first = unpacked.of(packed)
    assert all(unpacked.of(packed) is first for _ in range(9))
    assert len(loads) == 1


def test_a_shard_that_is_read_again_is_another_work() -> None:
    """After a loss of bytes the same shard may have other samples, and other questions."""
    unpacked = Unpacked()
    before, after = PackedWork.of(_work(3, todo=1)), PackedWork.of(_work(3, todo=2))
    assert unpacked.of(before).todo == {"tag": (1,)}
    assert unpacked.of(after).todo == {"tag": (2,)}


def test_a_process_drops_the_work_that_was_not_asked_for_longest() -> None:
    unpacked, packed = Unpacked(), [PackedWork.of(_work(number)) for number in range(KEPT + 1)]
    works = [unpacked.of(one) for one in packed[:KEPT]]
    assert unpacked.of(packed[0]) is works[0]
    unpacked.of(packed[KEPT])
    assert unpacked.of(packed[0]) is works[0]
    assert unpacked.of(packed[1]) is not works[1]


def test_of_the_arguments_of_a_call_works_and_parts_are_unpacked_and_no_others() -> None:
    images, unpacked, work = object(), Unpacked(), PackedWork.of(_work(3))
    parts = [packed_part({}), {"tag": "put together by the scheduler"}]
    arguments = unpacked.all_of([work, images, ["tag"], *parts])
    assert arguments == [unpacked.of(work), images, ["tag"], {}, parts[1]]
    assert unpacked_part(parts[0]) == {}

"""A worker in this process: it loads once, asks once, and stores the same twice."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from engine.partition import partition
from engine.run import prepare
from engine.shard import ShardBytes
from engine.worker import Task, Worker
from tests.building import BRIGHTEST, DESCRIBED, configure

Made = Callable[..., tuple[Worker, Task, ShardBytes]]


@pytest.fixture
def opened(album: Path, tmp_path: Path) -> Made:
    """Make a worker and let it open the first shard of the album, five samples."""

    def make(**keys: Any) -> tuple[Worker, Task, ShardBytes]:
        run = prepare(configure(album, tmp_path / "out", **{"shard_size": 5, **keys}))
        worker = Worker(run.config, run.graph, layers=run.layers, output=run.output)
        task, images = worker.open(partition(run.sources, [])[0], earlier="", retry=False)
        return worker, task, images

    return make


def layer_files(tmp_path: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in tmp_path.rglob("layers/*/*.parquet")}


def test_layers_that_are_stored_twice_are_the_same(opened: Made, tmp_path: Path) -> None:
    """The call is made again when its worker died between writing and answering."""
    worker, task, images = opened(specialists=DESCRIBED)
    part = worker.run(task, images, ["bright", "describe"], range(5))
    first = worker.store(task, ["bright", "describe"], part)
    before = layer_files(tmp_path)
    assert [layer.table.num_rows for layer in first.values()] == [5, 5]
    assert len(before) == 2
    again = worker.store(task, ["bright", "describe"], part)
    assert layer_files(tmp_path) == before
    assert [layer.table.num_rows for layer in again.values()] == [5, 5]


def test_a_stage_is_loaded_once_by_two_calls_at_once(
    opened: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker, _, _ = opened(specialists=BRIGHTEST)
    both, loads = threading.Barrier(2), []

    def load() -> None:
        loads.append(threading.get_ident())
        with suppress(threading.BrokenBarrierError):
            both.wait(0.2)  # where nothing keeps the other call out, it is here by then

    monkeypatch.setattr(worker._nodes["bright"].stage, "load", load)
    with ThreadPoolExecutor(2) as calls:
        list(calls.map(worker.load, [["bright"]] * 2))
    assert len(loads) == 1

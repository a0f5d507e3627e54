"""A worker in this process: it loads once, asks once, and stores the same twice."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from florilegium.engine.core.errors import DataLost
from florilegium.engine.execution.preparation import prepare
from florilegium.engine.execution.worker import ShardWork, Worker, _windows
from florilegium.engine.planning.partition import partition
from florilegium.engine.results.layer import StageError, make_layer
from florilegium.engine.results.shard import Shard, ShardBytes
from tests.building import BRIGHTEST, DESCRIBED, configure
from tests.engine.by_hand import shard_of

Made = Callable[..., tuple[Worker, ShardWork, ShardBytes]]


@pytest.fixture
def opened(album: Path, tmp_path: Path) -> Made:
    """Make a worker and let it open the first shard of the album, five samples."""

    def make(**keys: Any) -> tuple[Worker, ShardWork, ShardBytes]:
        run = prepare(configure(album, tmp_path / "out", **{"shard_size": 5, **keys}))
        worker = Worker(run.config, run.graph, layers=run.layers, output=run.output)
        work, images = worker.open(
            next(iter(partition(run.sources))), previous_digest="", retry=False
        )
        return worker, work, images

    return make


def layer_files(tmp_path: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in tmp_path.rglob("layers/*/*.parquet")}


def test_layers_that_are_stored_twice_are_the_same(opened: Made, tmp_path: Path) -> None:
    """The call is made again when its worker died between writing and answering."""
    worker, work, images = opened(specialists=DESCRIBED)
    part = worker.run(work, images, ["bright", "describe"], range(5)).part
    first = worker.store(work, ["bright", "describe"], part)
    before = layer_files(tmp_path)
    assert [layer.table.num_rows for layer in first.values()] == [5, 5]
    assert len(before) == 2
    again = worker.store(work, ["bright", "describe"], part)
    assert layer_files(tmp_path) == before
    assert [layer.table.num_rows for layer in again.values()] == [5, 5]


def test_a_stage_that_finds_nothing_sends_nothing_and_has_a_layer_all_the_same(
    opened: Made, tmp_path: Path
) -> None:
    silent = {"silent": {"use": "tests.stages:Silent"}}
    worker, work, images = opened(specialists=silent)
    part = worker.run(work, images, ["silent"], range(5)).part
    assert part == {}
    worker.store(work, ["silent"], part)
    assert len(layer_files(tmp_path)) == 1
    _, again, _ = opened(specialists=silent)
    assert (work.todo, again.todo) == ({"silent": (0, 1, 2, 3, 4)}, {})


def test_answers_of_a_shard_under_way_are_taken_over_by_the_next_run(
    opened: Made, tmp_path: Path
) -> None:
    """Failures, too: the last layer has the bytes of one that was never interrupted."""
    names = ["bright", "describe"]
    ugly = {"use": "tests.stages:Trouble", "key": "cat", "how": "refuse"}
    stages = {**DESCRIBED, "bright": ugly}
    worker, work, images = opened(specialists=stages)
    worker.store(work, names, worker.run(work, images, names, range(5)).part)
    whole = layer_files(tmp_path)
    for path in whole:
        Path(path).unlink()
    assert work.shard.records[2].key == "cat"
    first, second = (worker.run(work, images, names, some).part for some in ([0], [1, 2]))
    worker.keep(work, names, [0], first)
    worker.keep(work, names, [0, 1, 2], first, second)
    worker, work, images = opened(specialists=stages)
    assert work.todo == dict.fromkeys(names, (3, 4))
    worker.store(work, names, worker.run(work, images, names, [3, 4]).part)
    assert layer_files(tmp_path) == whole


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


def shard_with(*sizes: tuple[int, int]) -> Shard:
    shard = shard_of(len(sizes))
    records = tuple(
        replace(one, width=width, height=height)
        for one, (width, height) in zip(shard.records, sizes, strict=True)
    )
    return replace(shard, records=records)


@pytest.mark.parametrize(
    ("sizes", "size", "windows"),
    [
        ([(10, 10)] * 5, 2, [(0, 1), (2, 3), (4,)]),
        # 48 million pixels just fit, and one image may have more.
        ([(6000, 4000), (3000, 8000), (1, 1)], 16, [(0, 1), (2,)]),
        ([(6000, 4000), (3000, 8001), (1, 1)], 16, [(0,), (1, 2)]),
        ([(100, 100), (9000, 9000), (100, 100), (100, 100)], 16, [(0,), (1,), (2, 3)]),
        ([(6000, 4000)] * 5, 16, [(0, 1), (2, 3), (4,)]),
        ([], 16, []),
    ],
)
def test_images_are_held_as_many_at_once_as_their_pixels_allow(
    sizes: list[tuple[int, int]], size: int, windows: list[tuple[int, ...]]
) -> None:
    assert list(_windows(shard_with(*sizes), range(len(sizes)), size)) == windows


def test_a_window_has_the_samples_that_are_asked_for_in_their_order() -> None:
    shard = shard_with(*[(10, 10)] * 9)
    assert list(_windows(shard, [7, 2, 5], 2)) == [(7, 2), (5,)]


def test_each_stage_is_asked_about_what_it_has_left_in_batches_of_its_own(
    opened: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A window is as long as the largest batch, so that none is cut at its end."""
    monkeypatch.setattr("florilegium.engine.execution.worker.WINDOW", 4)
    stages = {"small": {"use": "tests.stages:Brightest", "batch_size": 5},
              "large": {"use": "tests.stages:Brightest", "batch_size": 50}}  # fmt: skip
    worker, work, images = opened(specialists=stages, shard_size=12)
    batches: dict[str, list[list[str]]] = {"small": [], "large": []}
    for name, seen in batches.items():
        stage = worker._nodes[name].stage
        predict = stage.predict
        monkeypatch.setattr(
            stage, "predict",
            lambda samples, seen=seen, predict=predict: (
                seen.append([one.key for one in samples]), predict(samples))[1],
        )  # fmt: skip
    keys = [record.key for record in work.shard.records]
    work.todo["small"] = (0, 2, 4, 6, 8, 10)
    part = worker.run(work, images, ["small", "large"], range(12)).part
    assert batches["large"] == [keys]
    assert batches["small"] == [keys[0:10:2], keys[10:11]]
    answered = {name: layer.table.column("sample").to_pylist() for name, layer in part.items()}
    assert answered == {"small": [0, 2, 4, 6, 8, 10], "large": list(range(12))}


def errors_of(worker: Worker, work: ShardWork, reason: str) -> None:
    """Store that the first stage failed on the second sample."""
    failed = StageError(sample=1, reason=reason, message="no")
    answered = {number: [] for number in (0, 2, 3, 4)}
    part = {"bright": make_layer(worker._nodes["bright"], answered, [failed])}
    worker.store(work, ["bright"], part)


@pytest.mark.parametrize(
    ("reason", "retry", "todo"),
    [
        ("broken", False, ()),
        ("broken", True, (1,)),
        ("budget_exhausted", False, (1,)),
        ("budget_exhausted", True, (1,)),
    ],
)
def test_a_failure_is_asked_again_when_retried_and_what_was_not_paid_always(
    opened: Made, reason: str, retry: bool, todo: tuple[int, ...]
) -> None:
    worker, work, _ = opened(specialists=BRIGHTEST)
    errors_of(worker, work, reason)
    first = next(iter(partition(worker._sources)))
    again, _ = worker.open(first, previous_digest="", retry=retry)
    assert again.todo.get("bright", ()) == todo


@pytest.mark.parametrize("reason", ["broken", "budget_exhausted"])
def test_who_reads_a_stage_that_failed_earlier_fails_for_it(opened: Made, reason: str) -> None:
    worker, work, images = opened(specialists=DESCRIBED)
    errors_of(worker, work, reason)
    part = worker.run(work, images, ["describe"], range(5)).part
    (error,) = part["describe"].errors
    wanted = {"broken": "input_failed"}.get(reason, reason)
    assert (error.sample, error.reason) == (1, wanted)


def test_a_stage_that_is_asked_again_is_not_held_against_who_reads_it(opened: Made) -> None:
    worker, work, images = opened(specialists=DESCRIBED)
    errors_of(worker, work, "broken")
    work = replace(work, retry=True, todo={"bright": (1,), "describe": (0, 1, 2, 3, 4)})
    part = worker.run(work, images, ["bright", "describe"], range(5)).part
    assert part["describe"].errors == ()
    assert part["describe"].table.column("sample").to_pylist() == [1]
    stored = worker.store(work, ["bright", "describe"], part)
    assert stored["bright"].errors == ()
    assert stored["bright"].table.column("sample").to_pylist() == [1]


@pytest.mark.attack("faults")
@pytest.mark.parametrize("damage", [Path.unlink, lambda path: path.write_bytes(b"PAR1")])
def test_a_layer_that_is_gone_is_not_taken_for_a_stage_that_says_nothing(
    opened: Made, tmp_path: Path, damage: Callable[[Path], object]
) -> None:
    worker, work, images = opened(specialists=DESCRIBED)
    worker.store(work, ["bright"], worker.run(work, images, ["bright"], range(5)).part)
    (layer,) = layer_files(tmp_path)
    damage(Path(layer))
    with pytest.raises(DataLost, match=r"'bright' was deleted .* 5 samples are gone: run the same"):
        worker.run(work, images, ["describe"], range(5))
    part = {"describe": make_layer(worker._nodes["describe"], {}, [])}
    with pytest.raises(DataLost):
        worker.publish(work, images, ["describe"], part)
    partial = replace(work, todo={**work.todo, "bright": (1,)})
    with pytest.raises(DataLost, match="the answers for 4 samples are gone"):
        worker.store(partial, ["bright"], worker.run(partial, images, ["bright"], [1]).part)

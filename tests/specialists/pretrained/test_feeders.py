from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from PIL import Image

from florilegium.engine.core.errors import ConfigError, SampleError
from florilegium.engine.core.sample import Picture
from florilegium.engine.untrusted.traces import traceback_of
from florilegium.specialists.pretrained import feeders as feeders_module
from florilegium.specialists.pretrained.feeders import Feeders, feeders_of
from tests.specialists.pretrained import fed

PATIENCE_S = 120.0


@pytest.fixture(scope="module", autouse=True)
def light() -> Iterator[None]:
    """Have feeders import only what the functions of these tests need."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(feeders_module, "_MODULES", ())
        yield


@pytest.fixture(scope="module")
def feeders(light: None) -> Iterator[Feeders]:
    two = Feeders(2)
    yield two
    two.close()


def prepared(feeders: Feeders, items: Sequence[Any], one: Callable[[Any], Any]) -> list[Any]:
    found, cpu_s = feeders.prepare(items, one)
    assert cpu_s >= 0
    return found


def drawing(tone: int) -> Picture:
    file = io.BytesIO()
    Image.fromarray(np.full((5, 4, 3), tone, np.uint8)).save(file, format="PNG")
    return Picture(file.getvalue())


def until(is_so: Callable[[], bool]) -> bool:
    """Wait until something is so, and tell whether it became so."""
    end_s = time.monotonic() + PATIENCE_S
    while not is_so() and time.monotonic() < end_s:
        time.sleep(0.05)
    return is_so()


def test_results_are_in_order_and_made_in_other_processes(feeders: Feeders) -> None:
    found = prepared(feeders, [drawing(tone) for tone in range(9)], fed.decoded)
    assert [int(one[0, 0, 0]) for one in found] == list(range(9))
    processes = set(prepared(feeders, range(8), fed.process_of))
    assert os.getpid() not in processes
    assert prepared(feeders, [], fed.process_of) == []


def test_parts_of_one_picture_go_to_one_process_which_gets_the_picture_once(
    feeders: Feeders,
) -> None:
    first, second = drawing(1), drawing(2)
    pictures = [first, second, second, first, first, second, second, first]
    parts = [fed.Part(picture, number) for number, picture in enumerate(pictures)]
    found = prepared(feeders, parts, fed.place_of)
    assert [number for number, *_ in found] == list(range(8))
    places = {id(part.picture): set() for part in parts}  # type: ignore[var-annotated]
    for part, (_, *place) in zip(parts, found, strict=True):
        places[id(part.picture)].add(tuple(place))
    # Four parts to a picture, in pieces of two: at most two processes decode it, once each.
    assert all(len(of_picture) <= 2 for of_picture in places.values())


def test_an_error_of_a_sample_comes_back_as_itself(feeders: Feeders) -> None:
    with pytest.raises(SampleError, match="number 1") as caught:
        prepared(feeders, range(4), fed.refuse)
    assert caught.value.reason == "too_thin"
    assert "pretrained/fed.py" in traceback_of(caught.value), "it says where it was raised"
    with pytest.raises(SampleError) as caught:
        prepared(feeders, [Picture(b"no image")], fed.decoded)
    assert caught.value.reason == "not_an_image"
    assert prepared(feeders, [0], fed.refuse) == [0]


@pytest.mark.parametrize(
    ("data", "error", "message"),
    [
        (b"no memory", MemoryError, "^$"),
        (b"cannot be pickled", Exception, "pickle"),
        (b"odd error", RuntimeError, "OddError: 1 and 2"),
    ],
)
def test_other_errors_come_back_and_the_feeder_goes_on(
    feeders: Feeders, data: bytes, error: type[Exception], message: str
) -> None:
    before = set(prepared(feeders, range(8), fed.process_of))
    with pytest.raises(error, match=message):
        prepared(feeders, [Picture(data)], fed.decoded)
    assert set(prepared(feeders, range(8), fed.process_of)) & before


def test_a_function_that_cannot_be_pickled_is_an_error_with_its_cure(feeders: Feeders) -> None:
    with pytest.raises(ConfigError, match=r"lambda.*function of a module.*`feeders: 0`"):
        prepared(feeders, [1], lambda number: number)
    assert prepared(feeders, [0], fed.refuse) == [0]


def test_a_feeder_that_dies_is_an_error_of_its_part_and_is_replaced(feeders: Feeders) -> None:
    with pytest.raises(SampleError, match="ended by SIGSEGV") as caught:
        prepared(feeders, [drawing(1), Picture(b"segfault"), drawing(2)], fed.decoded)
    assert caught.value.reason == "process_died"
    found = prepared(feeders, [drawing(tone) for tone in range(6)], fed.decoded)
    assert [int(one[0, 0, 0]) for one in found] == list(range(6))


def test_a_feeder_that_died_idle_blames_no_image(feeders: Feeders) -> None:
    killed = set(prepared(feeders, range(8), fed.process_of))
    for pid in killed:
        os.kill(pid, signal.SIGKILL)
    assert until(lambda: not any(map(is_running, killed)))
    assert not set(prepared(feeders, range(8), fed.process_of)) & killed


def test_calls_from_several_threads_share_the_feeders(feeders: Feeders) -> None:
    def call(start: int) -> list[int]:
        found = prepared(feeders, [drawing(start + tone) for tone in range(6)], fed.decoded)
        return [int(one[0, 0, 0]) for one in found]

    with ThreadPoolExecutor(3) as calls:
        found = list(calls.map(call, (0, 100, 200)))
    assert found == [list(range(start, start + 6)) for start in (0, 100, 200)]


def test_nothing_is_left_when_they_are_closed() -> None:
    some = Feeders(2)
    pids = set(prepared(some, range(8), fed.process_of))
    some.close()
    assert not any(map(is_running, pids))


def test_a_feeder_ends_with_its_owner_while_it_gives_python_no_turn(tmp_path: Path) -> None:
    path, names = tmp_path / "pid", os.listdir("/dev/shm")
    program = f"from {fed.__name__} import own_one_that_hangs as own; own({str(path)!r})"
    owner = subprocess.Popen([sys.executable, "-c", program])
    try:
        assert until(lambda: path.is_file() and path.read_text() != "")
        family = [one.pid for one in psutil.Process(owner.pid).children(recursive=True)]
        assert int(path.read_text()) in family
    finally:
        owner.kill()
        owner.wait()
    assert until(lambda: not any(map(is_running, family)))
    assert set(os.listdir("/dev/shm")) <= set(names)


def is_running(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.mark.parametrize(
    ("given", "device", "num_gpus", "expected"),
    [
        (3, "cpu", 0, 3),
        (0, "cuda", 1, 0),
        ("auto", "cpu", 0, 0),
        ("auto", "cuda", 1, 8),
        ("auto", "cuda", 0.25, 3),
        ("auto", "cuda", 0.05, 1),
    ],
)
def test_a_worker_has_as_many_feeders_as_its_share_of_the_cpus(
    monkeypatch: pytest.MonkeyPatch, given: Any, device: str, num_gpus: float, expected: int
) -> None:
    monkeypatch.setattr(feeders_module, "usable_cpus", lambda: 12)
    monkeypatch.setattr(feeders_module, "_gpus", lambda: 1)
    assert feeders_of(given, device, num_gpus) == expected

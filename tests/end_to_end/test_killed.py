"""A build that is killed at any moment is completed by the next one, byte for byte."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from florilegium.engine.results.layer import parse_layer
from florilegium.engine.storage.folder import Folder
from florilegium.pipelines.verify.verify import verify_dataset
from tests.building import BRIGHT_ENOUGH, DESCRIBED, build, contents
from tests.end_to_end.dying import build_and_die, count_operations
from tests.processes import wait_for

pytestmark = pytest.mark.attack("faults")

Start = Callable[..., subprocess.Popen[str]]
KEYS: dict[str, Any] = {"specialists": DESCRIBED, "filters": BRIGHT_ENOUGH, "shard_size": 3}
MARK = "FLORILEGIUM_TEST_RUN"


@pytest.fixture(scope="module")
def reference(album: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The dataset of a build that nobody disturbed."""
    output = tmp_path_factory.mktemp("reference") / "out"
    build(album, output, **KEYS)
    return output


@pytest.fixture(scope="module")
def operations(album: Path, tmp_path_factory: pytest.TempPathFactory) -> int:
    """How many file operations such a build makes."""
    return count_operations(album, tmp_path_factory.mktemp("counted") / "out", KEYS)


def test_a_build_makes_enough_operations_to_be_killed_at(operations: int) -> None:
    assert operations > 60


@pytest.mark.parametrize("seed", range(4))
def test_a_build_that_is_killed_once_is_completed(
    album: Path, tmp_path: Path, reference: Path, operations: int, seed: int
) -> None:
    at = random.Random(seed).randrange(operations)
    assert build_and_die(album, tmp_path / "out", KEYS, at)
    build(album, tmp_path / "out", **KEYS)
    assert contents(tmp_path / "out") == contents(reference)
    assert list(verify_dataset(Folder(str(tmp_path / "out")))) == []


def test_a_build_that_is_killed_again_and_again_is_completed(
    album: Path, tmp_path: Path, reference: Path
) -> None:
    chance = random.Random(99)
    deaths = sum(
        build_and_die(album, tmp_path / "out", KEYS, chance.randrange(5, 40)) for _ in range(4)
    )
    assert deaths > 1
    build(album, tmp_path / "out", **KEYS)
    assert contents(tmp_path / "out") == contents(reference)


@pytest.mark.parametrize("seed", range(2))
def test_a_refresh_that_is_killed_is_completed(
    album: Path, tmp_path: Path, operations: int, seed: int
) -> None:
    """New images, a changed one, one less, another threshold: all at once, and killed."""
    folder, out = tmp_path / "album", tmp_path / "out"
    shutil.copytree(album, folder)
    build(folder, out, **KEYS)
    shutil.copy(album / "cat.jpg", folder / "cup.jpg")
    shutil.copy(album / "cat.jpg", folder / "zebra.jpg")
    (folder / "flower.jpg").unlink()
    changed = {**KEYS, "filters": {"enough": {**BRIGHT_ENOUGH["enough"], "minimum": 0.2}}}
    shutil.copytree(out, tmp_path / "undisturbed")
    build(folder, tmp_path / "undisturbed", **changed)
    at = random.Random(seed).randrange(operations // 2)
    assert build_and_die(folder, out, changed, at)
    build(folder, out, **changed)
    assert contents(out) == contents(tmp_path / "undisturbed")
    assert list(verify_dataset(Folder(str(out)))) == []


def lines(log: Path) -> int:
    return log.read_bytes().count(b"\n") if log.exists() else 0


WORKERS = {"local": b"", "ray": b"ray::Actor"}
"""How the command lines of a runner's processes begin that must not outlive the driver."""


def workers_with(mark: str, runner: str) -> list[int]:
    """Return the worker processes that carry a mark in their environment."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            is_worker = (folder / "cmdline").read_bytes().startswith(WORKERS[runner])
            if is_worker and mark.encode() in (folder / "environ").read_bytes():
                found.append(int(folder.name))
        except OSError:
            continue  # it ended meanwhile, or is not ours
    return found


def kept(layers: Path) -> int:
    """Return how many samples the layer of the one shard is of, which is under way."""
    return sum(
        len(parse_layer(path.read_bytes())[1]) for path in layers.glob("waiting-*/*.parquet")
    )


def test_what_was_answered_in_a_shard_under_way_is_not_asked_again(
    album: Path, tmp_path: Path, started: Start, written: Callable[..., Path]
) -> None:
    folder, log, allowed = tmp_path / "photos", tmp_path / "log", tmp_path / "allowed"
    folder.mkdir()
    images = [f"{number:03d}" for number in range(100)]
    for image in images:
        shutil.copy(album / "cat.jpg", folder / f"{image}.jpg")
    waiting = {
        "use": "tests.stages:Waiting", "log": str(log), "key": images[-1], "allowed": str(allowed)
    }  # fmt: skip
    keys = {"specialists": {"waiting": waiting}, "shard_size": 100}
    config = written(folder, tmp_path / "out", runner={"kind": "local", "keep_s": 0}, **keys)
    process = started("build", config)
    # Calls are of 32 images. During the fourth, the answer of the third waits to be stored.
    layers = tmp_path / "out" / "layers"
    assert wait_for(lambda: lines(log) == 100 and kept(layers) == 64, seconds=60)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    allowed.touch()
    build(folder, tmp_path / "out", **keys)
    assert log.read_text().split() == [*images, *images[64:]]
    build(folder, tmp_path / "reference", **keys)
    assert contents(tmp_path / "out") == contents(tmp_path / "reference")


@pytest.fixture
def runner() -> str:
    """Local workers; `make chaos` kills a driver of Ray."""
    return "local"


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="needs /proc")
def test_a_driver_that_is_killed_stops_its_workers_and_the_next_one_completes(
    album: Path, tmp_path: Path, started: Start, written: Callable[..., Path], runner: str
) -> None:
    folder, log = tmp_path / "photos", tmp_path / "log"
    folder.mkdir()
    count, size = 80, 4
    for number in range(count):
        shutil.copy(album / "cat.jpg", folder / f"{number:03d}.jpg")
    counting = {"use": "tests.stages:Counting", "log": str(log), "batch_size": 2}
    keys = {"specialists": {"counting": counting, **DESCRIBED}, "shard_size": size}
    config = written(folder, tmp_path / "out", **keys)
    shards, mark = tmp_path / "out" / "shards", f"{MARK}={tmp_path}"
    process = started("build", config, "--runner", runner, "--set", "runner.workers=2",
                      **{MARK: str(tmp_path)})  # fmt: skip
    assert wait_for(lambda: any(shards.glob("*_stats.json")), seconds=60)
    assert workers_with(mark, runner)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "out" / "manifest.json").exists()
    assert wait_for(lambda: not workers_with(mark, runner), seconds=30)
    before, finished = lines(log), len(list(shards.glob("*_stats.json")))
    assert finished > 0
    assert before > 0
    build(folder, tmp_path / "out", **keys)
    assert lines(log) - before <= count - finished * size  # what is published is not done again
    build(folder, tmp_path / "reference", **keys)
    assert contents(tmp_path / "out") == contents(tmp_path / "reference")
    assert list(verify_dataset(Folder(str(tmp_path / "out")))) == []

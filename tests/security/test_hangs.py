"""What never ends costs one image, and one Ctrl-C ends a command whatever it waits for."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from florilegium.engine.results.manifest import Manifest
from tests.building import DESCRIBED, build, contents
from tests.processes import wait_for

pytestmark = [pytest.mark.attack("hangs"), pytest.mark.timeout(300)]
IMAGES = 12
SECONDS = 2.0


def letters(manifest: Manifest) -> dict[str, tuple[str, str]]:
    return {letter.key: (letter.stage, letter.reason) for _, letter in manifest.dead_letters}


@pytest.mark.parametrize("how", ["sleep", "loop", "wait", "compute"])
def test_a_stage_that_never_comes_back_costs_one_image(
    album: Path, tmp_path: Path, runner: dict[str, Any], how: str
) -> None:
    guilty = {"use": "tests.security.stages:Guilty", "key": "cup", "how": how, "batch_size": 4}
    manifest = build(
        album, tmp_path / "out", runner=runner, limits={"stage_seconds": SECONDS},
        specialists={"guilty": guilty, **DESCRIBED},
    )  # fmt: skip
    assert letters(manifest) == {"cup": ("guilty", "stage_timeout")}
    kept = {task: count["kept"] for task, count in manifest.totals.tasks.items()}
    assert kept == dict.fromkeys(("tag", "object_detection", "caption"), IMAGES - 1)


@pytest.mark.parametrize("how", ["stop", "leave"])
def test_a_worker_that_neither_ends_nor_answers_costs_one_image(
    album: Path, tmp_path: Path, how: str
) -> None:
    """It is stopped, or a child of its own holds its end of the pipe."""
    guilty = {"use": "tests.security.stages:Guilty", "key": "cup", "how": how, "batch_size": 4}
    manifest = build(
        album, tmp_path / "out", runner={"kind": "local"}, specialists={"guilty": guilty},
    )  # fmt: skip
    assert letters(manifest) == {"cup": ("guilty", "process_died")}
    assert manifest.totals.samples == IMAGES - 1


def test_an_answer_without_end_costs_one_image(
    album: Path, tmp_path: Path, runner: dict[str, Any]
) -> None:
    use = "tests.security.stages:Rambling"
    rambling = {"use": use, "key": "cup", "how": "none", "batch_size": 4}
    manifest = build(
        album, tmp_path / "out", runner=runner, limits={"stage_seconds": SECONDS},
        specialists={"rambling": rambling},
    )  # fmt: skip
    assert letters(manifest) == {"cup": ("rambling", "stage_timeout")}
    assert manifest.totals.samples == IMAGES - 1


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("SleepingSource", "file_timeout"),
        ("ComputingSource", "file_timeout"),
        ("DyingSource", "process_died"),
    ],
)
def test_a_file_that_is_never_read_costs_itself(
    album: Path, tmp_path: Path, runner: dict[str, Any], source: str, reason: str
) -> None:
    where = [{"url": str(album), "kind": f"tests.security.stages:{source}"}]
    manifest = build(where, tmp_path / "out", runner=runner, limits={"file_seconds": SECONDS})
    assert letters(manifest) == {"cup": ("source", reason)}
    assert manifest.totals.samples == IMAGES - 1


Start = Callable[[str, str], subprocess.Popen[str]]


@pytest.fixture
def attacked(started: Callable[..., subprocess.Popen[str]], album: Path, tmp_path: Path) -> Start:
    """Start a build at whose image `cup` something happens."""

    def start(kind: str, how: str) -> subprocess.Popen[str]:
        stage = {"use": "tests.security.stages:Guilty", "key": "cup", "how": how,
                 "batch_size": 1, "log": str(tmp_path / "log")}  # fmt: skip
        document = {
            "source": str(album), "output": str(tmp_path / "out"), "shard_size": 2,
            "runner": {"kind": kind, "workers": 1}, "specialists": {"guilty": stage},
        }  # fmt: skip
        config = tmp_path / "run.yaml"
        config.write_text(yaml.safe_dump(document), encoding="utf-8")
        return started("build", config, MARK=str(tmp_path))

    return start


def has_reached(log: Path) -> bool:
    return log.exists() and "cup\n" in log.read_text(encoding="utf-8")


def marked(mark: str) -> list[int]:
    """Return the processes that carry a mark in their environment."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            is_alive = "\nState:\tZ" not in (folder / "status").read_text()
            if is_alive and f"MARK={mark}\0" in (folder / "environ").read_text(errors="replace"):
                found.append(int(folder.name))
        except OSError:
            continue  # it ended meanwhile, or is not ours
    return found


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="needs /proc")
@pytest.mark.parametrize(
    ("kind", "how", "number"),
    [
        ("local", "sleep", signal.SIGINT),
        ("local", "compute", signal.SIGINT),
        ("local", "wait", signal.SIGTERM),
        ("in_process", "sleep", signal.SIGINT),
        ("ray", "sleep", signal.SIGINT),
        ("ray", "compute", signal.SIGTERM),
    ],
)
def test_one_signal_stops_a_build_whose_stage_never_comes_back(
    album: Path, tmp_path: Path, attacked: Start, kind: str, how: str, number: int
) -> None:
    process = attacked(kind, how)
    assert wait_for(lambda: has_reached(tmp_path / "log"), seconds=120)
    os.killpg(process.pid, number)  # as a terminal does
    _, err = process.communicate(timeout=30)
    assert process.returncode == 128 + number
    assert err.count("run the same command again to resume") == 1
    assert "Traceback" not in err
    assert wait_for(lambda: not marked(str(tmp_path)), seconds=30), "no worker is left behind"
    unharmed = {"use": "tests.security.stages:Guilty", "key": "nobody", "how": how}
    keys: dict[str, Any] = {"specialists": {"guilty": unharmed}, "shard_size": 2}
    build(album, tmp_path / "out", **keys)
    build(album, tmp_path / "reference", **keys)
    assert contents(tmp_path / "out") == contents(tmp_path / "reference")


@pytest.mark.parametrize("moment", [0.5, 3.0, 6.0, 9.0])
def test_one_signal_stops_a_build_while_ray_starts(
    tmp_path: Path, attacked: Start, moment: float
) -> None:
    process = attacked("ray", "sleep")
    assert wait_for(lambda: (tmp_path / "out").exists(), seconds=60)
    time.sleep(moment)
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130, err
    assert "run the same command again to resume" in err
    assert wait_for(lambda: not marked(str(tmp_path)), seconds=30)


def test_a_second_signal_ends_a_build_that_tidies_up_for_too_long(
    tmp_path: Path, attacked: Start
) -> None:
    process = attacked("local", "sleep")
    assert wait_for(lambda: has_reached(tmp_path / "log"), seconds=60)
    os.kill(process.pid, signal.SIGINT)
    os.kill(process.pid, signal.SIGINT)
    begin = time.monotonic()
    _, err = process.communicate(timeout=10)
    assert time.monotonic() - begin < 5
    assert process.returncode == 130
    assert "run the same command again to resume" in err
    assert wait_for(lambda: not marked(str(tmp_path)), seconds=10)

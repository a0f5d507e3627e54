from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from florilegium.engine.core.errors import RunError
from florilegium.engine.results.manifest import Manifest
from tests.building import BRIGHTEST, build, contents

LOCAL = {"kind": "local"}


def letters(manifest: Manifest) -> dict[str, tuple[str, str, str]]:
    return {one.key: (one.stage, one.reason, one.message) for _, one in manifest.dead_letters}


@pytest.mark.attack("hangs")
@pytest.mark.parametrize(
    ("how", "reason", "message"),
    [
        (
            "sleep", "stage_timeout",
            "stage 'guilty', asked about cup, took longer than call_seconds = 1 seconds allows",
        ),
        (
            "die", "process_died",
            "the worker process died on this image: it ended with exit code 7",
        ),
    ],
)  # fmt: skip
def test_an_image_of_which_the_worker_is_lost_is_named_and_the_others_are_kept(
    album: Path, tmp_path: Path, how: str, reason: str, message: str
) -> None:
    guilty = {"use": "tests.security.stages:Guilty", "key": "cup", "how": how, "call_seconds": 1}
    manifest = build(
        album, tmp_path / "out", runner=LOCAL, specialists={"guilty": guilty, **BRIGHTEST}
    )
    assert letters(manifest) == {"cup": ("guilty", reason, message)}
    assert manifest.totals.tasks["object_detection"]["kept"] == 11


@pytest.mark.attack("hangs")
def test_a_file_that_never_comes_is_named_and_the_others_are_read(
    album: Path, tmp_path: Path
) -> None:
    where = [{"url": str(album), "kind": "tests.security.stages:SleepingSource"}]
    manifest = build(where, tmp_path / "out", runner=LOCAL, limits={"file_seconds": 1})
    message = "reading cup.jpg took longer than limits.file_seconds = 1 seconds allows"
    assert letters(manifest) == {"cup": ("source", "file_timeout", message)}
    assert manifest.totals.samples == 11


@pytest.mark.attack("hangs")
@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("sleep", "loading stage 'slow' took longer than limits.load_seconds = 0.3 seconds"),
        ("die", "a worker died while loading slow: it ended with exit code 7"),
    ],
)
def test_a_model_that_is_never_loaded_ends_the_run_with_its_name(
    album: Path, tmp_path: Path, how: str, message: str
) -> None:
    slow = {"use": "tests.security.stages:NeverLoaded", "key": "", "how": how}
    keys: dict[str, Any] = {"specialists": {"slow": slow}, "limits": {"load_seconds": 0.3}}
    with pytest.raises(RunError, match=message):
        build(album, tmp_path / "out", runner=LOCAL, **keys)


@pytest.mark.attack("memory")
def test_a_limit_of_memory_below_what_the_stages_take_is_an_error_and_not_a_circle(
    album: Path, tmp_path: Path
) -> None:
    heavy = {"heavy": {"use": "tests.security.stages:Heavy"}}
    with pytest.raises(
        RunError, match=r"heavy.* more memory than limits.worker_memory_mb = 640 allows"
    ):
        build(
            album, tmp_path / "out", runner=LOCAL, specialists=heavy,
            limits={"worker_memory_mb": 640},
        )  # fmt: skip


def test_an_error_that_is_not_ours_names_itself(album: Path, tmp_path: Path) -> None:
    keys = {"filters": {"broken": {"use": "tests.security.stages:Unjudging"}}}
    with pytest.raises(RunError, match="a worker failed: ZeroDivisionError: "):
        build(album, tmp_path / "out", runner=LOCAL, **keys)
    log = (tmp_path / "out" / "run.log").read_text(encoding="utf-8")
    assert "in judge" in log, "where it came from is in the log"


def test_a_worker_sees_the_environment_of_its_owner(
    album: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for gpus in ("3", "5"):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", gpus)
        log = tmp_path / gpus
        sighted = {"sighted": {"use": "tests.stages:Sighted", "log": str(log)}}
        build(album, tmp_path / f"out{gpus}", runner=LOCAL, specialists=sighted)
        assert set(log.read_text().split()) == {f"'{gpus}'"}


def test_stages_that_no_other_process_can_have_are_told_the_cure(
    album: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.stages import Brightest

    monkeypatch.setattr(Brightest, "__init__", _with_a_lock)
    with pytest.raises(RunError, match=r"cannot pickle .* runner.kind=in_process"):
        build(album, tmp_path / "out", runner=LOCAL)


def _with_a_lock(self: Any, config: Any) -> None:
    import threading

    self.config, self.lock = config, threading.Lock()


def test_a_local_worker_makes_the_bytes_of_one_in_this_process(album: Path, tmp_path: Path) -> None:
    build(album, tmp_path / "child", runner=LOCAL, shard_size=5)
    build(album, tmp_path / "here", shard_size=5)
    assert contents(tmp_path / "child") == contents(tmp_path / "here")


@pytest.mark.attack("configs")
def test_the_folder_that_somebody_stands_in_is_not_searched_for_modules(
    album: Path, tmp_path: Path
) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    (here / "engine").mkdir(parents=True)
    there.mkdir()
    ran = f"open({str(tmp_path / 'ran')!r}, 'w').close()"
    for name in ("multiprocessing.py", "psutil.py", "engine/__init__.py"):
        (here / name).write_text(ran, encoding="utf-8")
    program = there / "program.py"
    program.write_text(
        "from pathlib import Path\n"
        "from tests.building import build\n"
        "if __name__ == '__main__':\n"
        f"    build(Path({str(album)!r}), Path({str(tmp_path / 'out')!r}),"
        " runner={'kind': 'local'})\n",
        encoding="utf-8",
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    command = [sys.executable, str(program)]
    subprocess.run(command, cwd=here, env=environment, check=True, capture_output=True)
    assert (tmp_path / "out" / "manifest.json").exists()
    assert not (tmp_path / "ran").exists()

"""Real disks that are small, without inodes or read-only, and the command as a user has it.

They need the right to mount; where that is missing, `test_disks` shows the same by injection.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from florilegium.pipelines.commands.main import main
from tests.building import BRIGHT_ENOUGH, DESCRIBED
from tests.security.points import files_of

pytestmark = pytest.mark.attack("faults")

Mounted = Callable[..., Path]
Command = Callable[[Path], tuple[int, str]]


@pytest.fixture
def mounted(tmp_path: Path) -> Iterator[Mounted]:
    """Mount a small disk with options, where the system lets us."""
    where = tmp_path / "disk"
    where.mkdir()

    def mount(*options: str) -> Path:
        command = ["mount", "-t", "tmpfs", "-o", ",".join(options), "tmpfs", str(where)]
        if not shutil.which("mount") or subprocess.run(command, capture_output=True).returncode:
            pytest.skip("tmpfs cannot be mounted here")
        return where

    yield mount
    subprocess.run(["umount", "--lazy", str(where)], check=False, capture_output=True)


@pytest.fixture
def build(
    album: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Command:
    """Call `florilegium build` into a folder; returns the exit code and what it printed."""

    def call(out: Path) -> tuple[int, str]:
        config: dict[str, Any] = {
            "source": str(album), "output": str(out), "runner": {"kind": "local"},
            "specialists": DESCRIBED, "filters": BRIGHT_ENOUGH, "shard_size": 4,
        }  # fmt: skip
        path = tmp_path / "run.yaml"
        path.write_text(yaml.safe_dump(config), encoding="utf-8")
        monkeypatch.setattr(sys, "argv", ["florilegium", "build", str(path)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        return int(ended.value.code or 0), capsys.readouterr().err

    return call


def errors(printed: str) -> list[str]:
    return [line for line in printed.splitlines() if line.startswith("error ")]


def assert_completes(build: Command, out: Path, reference: Path) -> None:
    """Run the same command again, and hold what it makes against an undisturbed build."""
    assert build(out) == (0, build(reference)[1])
    assert files_of(out) == files_of(reference)


@pytest.mark.parametrize("free", [0, 4, 8, 16, 24, 32, 48, 64, 96, 128, 192, 256])
def test_a_disk_that_fills_up_ends_the_command_with_1_and_the_next_one_completes(
    mounted: Mounted, build: Command, tmp_path: Path, free: int
) -> None:
    disk = mounted("size=2m")
    out, ballast = disk / "out", disk / "ballast"
    ballast.write_bytes(bytes((2048 - free) * 1024))
    code, printed = build(out)
    (line,) = errors(printed)
    assert code == 1
    assert f" {out}" in line
    assert "No space left on device; the disk is full: free some space" in line
    assert "Traceback" not in printed
    assert not (out / "manifest.json").exists()
    assert not list(out.rglob(".*.tmp"))
    ballast.unlink()
    assert build(out)[0] == 0
    assert build(tmp_path / "reference")[0] == 0
    assert files_of(out) == files_of(tmp_path / "reference")


@pytest.mark.parametrize("inodes", [4, 10, 20])
def test_a_disk_without_inodes_says_so(
    mounted: Mounted, build: Command, tmp_path: Path, inodes: int
) -> None:
    disk = mounted("size=8m", f"nr_inodes={inodes}")
    code, printed = build(disk / "out")
    assert (code, len(errors(printed))) == (1, 1)
    assert "or inodes" in errors(printed)[0]
    subprocess.run(["mount", "-o", "remount,nr_inodes=1000", str(disk)], check=True)
    assert build(disk / "out")[0] == 0
    assert build(tmp_path / "reference")[0] == 0
    assert files_of(disk / "out") == files_of(tmp_path / "reference")


def test_a_read_only_output_is_told_before_anything_is_read_and_a_finished_one_stays(
    mounted: Mounted, build: Command
) -> None:
    disk = mounted("size=8m")
    assert build(disk / "out")[0] == 0
    before = files_of(disk / "out")
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    for out in (disk / "out", disk / "another"):
        code, printed = build(out)
        assert (code, len(errors(printed))) == (1, 1)
        assert f" {out}" in errors(printed)[0]
        assert "read-only: choose another `output`" in errors(printed)[0]
    assert files_of(disk / "out") == before


def test_an_output_whose_name_is_too_long_is_told(build: Command, tmp_path: Path) -> None:
    out = tmp_path / ("x" * 300)
    code, printed = build(out)
    assert (code, len(errors(printed))) == (1, 1)
    assert "the path is too long for this file system: choose a shorter `output`" in printed

"""The scheduled refresh publishes, finds nothing new, and holds a version back that lost images."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import fsspec
import pytest

from florilegium import open_dataset
from tests.conftest import ROOT
from tests.docs.examples.conftest import EXAMPLES
from tests.object_storage import upload

SCRIPT = EXAMPLES / "s3_refresh" / "refresh.sh"


def test_a_dataset_on_s3_follows_its_source(
    bucket: str, small_photographs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "bin" / "florilegium"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m florilegium "$@"\n', "utf-8")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(paths))
    monkeypatch.setenv("BUCKET", bucket.removeprefix("s3://"))
    upload(small_photographs, f"{bucket}/photographs")
    first = refresh()
    assert first.returncode == 0, first.stderr
    assert f"up to date: {bucket}/datasets/photographs" in first.stdout
    files, path = fsspec.url_to_fs(f"{bucket}/photographs", use_listings_cache=False)
    files.rm([f"{path}/{name}.jpg" for name in ("cat", "page", "motorcycle")])
    held = refresh()
    assert held.returncode == 4, held.stderr
    assert "held_back.html" in held.stdout
    dataset = f"{bucket}/datasets/photographs"
    assert len(open_dataset(dataset)) == 4
    assert refresh("--accept").returncode == 0
    assert [sample.key for sample in open_dataset(dataset)] == ["astronaut"]


def refresh(*options: str) -> subprocess.CompletedProcess[str]:
    """Run the script as cron does, but with one process and a detector that loads no network."""
    quick = ["--runner", "in_process", "--set", "specialists.imagenet_cam.use=shapes_colour"]
    command = [str(SCRIPT), *quick, *options]
    return subprocess.run(command, capture_output=True, text=True)


def test_the_bucket_must_be_named() -> None:
    done = subprocess.run(
        [str(SCRIPT)], capture_output=True, text=True, env={"PATH": "/bin:/usr/bin"}
    )
    assert done.returncode != 0
    assert "set it to the name of the bucket" in done.stderr

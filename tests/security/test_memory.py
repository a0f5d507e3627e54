"""What takes all memory costs its worker, and one image at most."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from tests.building import DESCRIBED, build, contents
from tests.security.test_hangs import IMAGES, letters

pytestmark = [pytest.mark.attack("memory"), pytest.mark.timeout(300)]
LIMIT_MB = 500


@pytest.mark.parametrize("how", ["grow", "feed"])
def test_an_image_that_takes_too_much_memory_is_found(
    album: Path, tmp_path: Path, runner: dict[str, Any], how: str
) -> None:
    """Whether the worker takes it, or a process that its stage started."""
    guilty = {"use": "tests.security.stages:Guilty", "key": "cup", "how": how, "batch_size": 4}
    manifest = build(
        album, tmp_path / "out", runner=runner, limits={"worker_memory_mb": LIMIT_MB},
        specialists={"guilty": guilty, **DESCRIBED},
    )  # fmt: skip
    assert letters(manifest) == {"cup": ("guilty", "out_of_memory")}
    assert manifest.totals.tasks["caption"]["kept"] == IMAGES - 1


def test_a_stage_that_leaks_costs_no_image(
    album: Path, tmp_path: Path, runner: dict[str, Any]
) -> None:
    log = tmp_path / "log"
    leaking = {"use": "tests.security.stages:Leaking", "log": str(log), "batch_size": 1}
    manifest = build(
        album, tmp_path / "out", runner=runner, limits={"worker_memory_mb": LIMIT_MB},
        specialists={"leaking": leaking}, shard_size=3,
    )  # fmt: skip
    assert letters(manifest) == {}
    assert manifest.totals.samples == IMAGES
    assert len(set(log.read_text().split())) > 1, "its worker was replaced"


def test_an_object_store_that_is_too_small_is_survived(tmp_path: Path) -> None:
    """Four shards of 60 MB of noise in a store of 80 MB, in a Ray of their own."""
    folder = tmp_path / "noise"
    folder.mkdir()
    random = np.random.default_rng(0)
    for number in range(16):
        pixels = random.integers(0, 256, (2200, 2300, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number:02d}.bmp")
    keys: dict[str, Any] = {"shard_size": 4, "images": "original", "specialists": DESCRIBED}
    runner = {"kind": "ray", "workers": 2, "object_store_mb": 80}
    document = {"source": str(folder), "output": str(tmp_path / "out"), "runner": runner, **keys}
    config = tmp_path / "run.yaml"
    config.write_text(yaml.safe_dump(document), encoding="utf-8")
    command = [
        sys.executable,
        "-m",
        "florilegium",
        "build",
    ]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(
        [*command, str(config)], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "16 images = 16 samples + 0 dead letters" in done.stdout
    build(folder, tmp_path / "reference", **keys)
    assert contents(tmp_path / "out") == contents(tmp_path / "reference")

"""The build that is disturbed: a folder of images and a config with every kind of stage."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tests.chaos.stages import BATCH

SHARDS = 24
SHARD_SIZE = 8
_NO_IMAGE = 1
_BUILT = ("manifest.json", "README.md", "dead_letters.parquet", "index.parquet", "statistics.json")


def draw_images(folder: Path) -> Path:
    """Fill a folder with images of coloured blocks and noise, and one file that is no image."""
    random = np.random.default_rng(0)
    folder.mkdir(parents=True)
    for number in range(SHARDS * SHARD_SIZE):
        blocks = random.integers(0, 226, (6, 8, 3), np.uint8).repeat(40, 0).repeat(40, 1)
        pixels = blocks + random.integers(0, 30, blocks.shape, np.uint8)
        Image.fromarray(pixels).save(folder / f"{number:04d}.jpg", quality=95)
    (folder / "0100.jpg").write_bytes(b"no image")
    return folder


def write_config(path: Path, source: Path, output: Path, log: Path, *, seconds: float) -> Path:
    """Write the config of a build: two voters, their merge, a filter that measures, and boxes that
    are described one by one on a GPU."""
    slow = {"log": str(log), "seconds": seconds}
    document: dict[str, Any] = {
        "source": str(source),
        "output": str(output),
        "shard_size": SHARD_SIZE,
        "specialists": {
            "red": {"use": "tests.chaos.stages:Patches", **slow},
            "blue": {"use": "tests.chaos.stages:BluePatches", **slow},
            "boxes": {
                "use": "merge",
                "rule": "agreement",
                "tasks": ["object_detection"],
                "reads": ["red", "blue"],
                "batch_size": BATCH,
            },
            "colours": {
                "use": "tests.chaos.stages:Colours",
                "reads": ["boxes"],
                "num_gpus": 1,
                **slow,
            },
        },
        "filters": {
            "bright": {"use": "tests.chaos.stages:Bright", **slow},
            "superseded": {"by": {"boxes": ["object_detection"]}},
        },
    }
    path.write_text(json.dumps(document, indent=2))
    return path


def unaccounted(output: Path) -> Iterator[str]:
    """Yield what is wrong with the totals: each input is a sample or a dead letter."""
    totals = json.loads((output / "manifest.json").read_text())["totals"]
    samples, lost = totals["samples"], totals["dead_letters"]
    if (samples, lost) != (SHARDS * SHARD_SIZE - _NO_IMAGE, _NO_IMAGE):
        yield f"{samples} samples and {lost} dead letters of {SHARDS * SHARD_SIZE} inputs"


def contents(output: Path) -> Mapping[str, bytes]:
    """Return the bytes of all files that a build promises to repeat, by relative path."""
    promised = [*sorted((output / "shards").iterdir()), *(output / name for name in _BUILT)]
    return {str(path.relative_to(output)): path.read_bytes() for path in promised}

"""Photographs of the sizes that photographs have: of a few, as in COCO, and not each of its own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from tests.benchmarks.photographs import take_photographs

_SIZES_WH = ((640, 480), (640, 427), (480, 640), (640, 426), (500, 375), (427, 640))
_SHARES = (0.35, 0.25, 0.15, 0.1, 0.1, 0.05)
"""The commonest sizes of COCO's photographs, roughly as common as there."""
_QUALITY = 95


def make_album(folder: Path, count: int) -> list[Path]:
    """Fill a folder with photographs and return their paths, sorted."""
    random = np.random.default_rng(0)
    paths = sorted(take_photographs(folder, count).iterdir())
    for path, number in zip(paths, random.choice(len(_SIZES_WH), count, p=_SHARES), strict=True):
        with Image.open(path) as photograph:
            ImageOps.fit(photograph, _SIZES_WH[number]).save(path, quality=_QUALITY)
    return paths

"""Many distinct photographs from a few real ones: seeded crops, flips and sizes, saved as JPEG."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

_ORIGINALS = (
    ("skimage.data", "astronaut.png"),
    ("skimage.data", "chelsea.png"),
    ("skimage.data", "coffee.png"),
    ("skimage.data", "motorcycle_left.png"),
    ("skimage.data", "rocket.jpg"),
    ("sklearn.datasets", "images/flower.jpg"),
    ("sklearn.datasets", "images/china.jpg"),
)
_LEAST_CROP = 0.6
_QUALITY = 95


def take_photographs(folder: Path, count: int, *, side: int = 640, seed: int = 0) -> Path:
    """Fill a folder with photographs and return it.

    `side` is the long side, pixels, give or take a tenth; the default gives about 100 KB a file.
    Another `seed` gives other photographs.
    """
    random = np.random.default_rng(seed)
    originals = [_original(package, path) for package, path in _ORIGINALS]
    folder.mkdir(parents=True)
    for number in range(count):
        original = originals[number % len(originals)]
        photograph = _variation(original, side, random)
        photograph.save(folder / f"{number:05d}.jpg", quality=_QUALITY)
    return folder


def print_copies(album: Path, folder: Path, count: int) -> Path:
    """Fill a folder with hard links to the photographs of an album, over and over."""
    photographs = sorted(album.iterdir())
    folder.mkdir(parents=True)
    for number in range(count):
        photograph = photographs[number % len(photographs)]
        (folder / f"{number:05d}.jpg").hardlink_to(photograph)
    return folder


def _original(package: str, path: str) -> Image.Image:
    with Image.open(str(files(package) / path)) as image:
        return image.convert("RGB")


def _variation(original: Image.Image, side: int, random: np.random.Generator) -> Image.Image:
    width, height = original.size
    share = random.uniform(_LEAST_CROP, 1)
    left, top = (random.uniform(0, (1 - share) * length) for length in (width, height))
    crop = original.crop((left, top, left + share * width, top + share * height))
    scale = side * random.uniform(0.9, 1.1) / max(crop.size)
    crop = crop.resize(
        (round(crop.width * scale), round(crop.height * scale)), Image.Resampling.LANCZOS
    )
    return ImageOps.mirror(crop) if random.random() < 0.5 else crop

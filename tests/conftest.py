"""Fixtures shared by all tests: real photographs, from installed packages."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import pytest

_PHOTOGRAPHS = {
    "astronaut": ("skimage.data", "astronaut.png"),
    "cat": ("skimage.data", "chelsea.png"),
    "cup": ("skimage.data", "coffee.png"),
    "motorcycle": ("skimage.data", "motorcycle_left.png"),
    "rocket": ("skimage.data", "rocket.jpg"),
    "page": ("skimage.data", "page.png"),
    "text": ("skimage.data", "text.png"),
    "flower": ("sklearn.datasets", "images/flower.jpg"),
    "pagoda": ("sklearn.datasets", "images/china.jpg"),
}


@pytest.fixture(scope="session")
def photographs() -> dict[str, Path]:
    """Paths of real photographs by what they show."""
    return {
        name: Path(str(files(package))) / path for name, (package, path) in _PHOTOGRAPHS.items()
    }

"""Tiny checkpoints, made from the config classes of `transformers`, one module per stage.

A module is called as its stage is, and its `options(folder)` returns what the stage needs to run.
`NEEDS_TORCHVISION = True` says that it runs only where torchvision prepares its images;
`given(samples)` adds to samples what the stage reads.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest


def needs_torchvision(name: str) -> bool:
    """Tell whether a stage can be asked only in the process of `tests.torchvision`."""
    if find_spec(f"{__name__}.{name}") is None:
        return False
    return getattr(import_module(f"{__name__}.{name}"), "NEEDS_TORCHVISION", False)


def written_once(
    write: Callable[[str, Path], Path], folders: pytest.TempPathFactory
) -> Callable[[str], Path]:
    """Return a function that gives the tiny checkpoint of a family, written when first wanted."""
    return cache(lambda name: write(name, folders.mktemp(name.replace(" ", "-"))))

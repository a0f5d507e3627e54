"""An untrained student of the smallest size, built once, and a few easy scenes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch

from florilegium.pipelines.shape_world.pretrain.architecture import TINIEST, build_tiny
from florilegium.pipelines.shape_world.pretrain.scenes import Drawing, drawings
from florilegium.pipelines.shape_world.scene import COLOURS, NAMES, PATTERNS, WorldConfig

KNOWN = (*NAMES, *COLOURS, *PATTERNS)


@pytest.fixture(scope="package", autouse=True)
def _one_thread() -> Iterator[None]:
    """So small a model only loses by a second thread."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="package")
def tiniest() -> tuple[Any, Any]:
    """Model and processor."""
    return build_tiny(KNOWN, size=TINIEST, seed=3)


@pytest.fixture(scope="package")
def easy() -> list[Drawing]:
    """Forty scenes of 32 px."""
    return list(drawings(WorldConfig(count=40, seed=5, px=32, difficulty="easy")))

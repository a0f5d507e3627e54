"""An untrained student of the smallest size, built once, and a few easy scenes."""

from __future__ import annotations

from typing import Any

import pytest

from pipelines.pretrain.architecture import TINIEST, build_tiny
from pipelines.pretrain.scenes import Drawing, drawings
from pipelines.world.scene import COLOURS, NAMES, PATTERNS, WorldConfig


@pytest.fixture(scope="package")
def tiniest() -> tuple[Any, Any]:
    """Model and processor."""
    return build_tiny([*NAMES, *COLOURS, *PATTERNS], size=TINIEST, seed=3)


@pytest.fixture(scope="package")
def easy() -> list[Drawing]:
    """Forty scenes of 32 px."""
    return list(drawings(WorldConfig(count=40, seed=5, px=32, difficulty="easy")))

"""A finished run of drawn scenes with annotations of all kinds, for imports."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.building import build

WORLD = "shape_world://3?seed=5&px=64"
STAGES = {"truth": {"use": "tests.pipelines.training.truth:Truth", "url": WORLD}}


@pytest.fixture(scope="session")
def truths(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three scenes with all that is true about them."""
    output = tmp_path_factory.mktemp("truths") / "out"
    build(WORLD, output, specialists=STAGES)
    return output

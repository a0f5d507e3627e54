"""A small dataset whose labels are true."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.building import build

WORLD = "shape_world://14?seed=5&px=32"


@pytest.fixture(scope="session")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished dataset of fourteen scenes in five shards with all that is true about them."""
    output = tmp_path_factory.mktemp("scenes")
    truth = {"use": "tests.pipelines.training.truth:Truth", "url": WORLD}
    build(WORLD, output, shard_size=3, specialists={"truth": truth})
    return output

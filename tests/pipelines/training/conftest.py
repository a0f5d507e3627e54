"""A small dataset whose labels are true, and an untrained Florence-2, for all tests here."""

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


@pytest.fixture(scope="session")
def untrained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the tiniest Florence-2."""
    from pipelines.pretrain.architecture import TINIEST, build_tiny, save_tiny

    folder = tmp_path_factory.mktemp("untrained")
    model, processor = build_tiny(["circle", "square"], size=TINIEST)
    save_tiny(folder, model, processor)
    return folder

"""A reader of the scenes, and an untrained Florence-2, for all tests here."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from engine.results.dataset import open_dataset
from pipelines.training.config import TrainConfig
from pipelines.training.examples import ExampleMaker
from pipelines.training.reader import Part, Reader
from tests.pipelines.training.labels import encode


@pytest.fixture
def reader(scenes: Path) -> Callable[..., Reader]:
    """Make a reader of the scenes, or of another dataset; no model is needed."""

    def make(
        part: Part = Part(),  # noqa: B008
        dataset: Path = scenes,
        encode: Callable[[Any], Any] = encode,
        **options: Any,
    ) -> Reader:
        config = TrainConfig(model="here", **{"batch_size": 2, **options})
        draw = ExampleMaker(config).draw
        return Reader(
            dataset=open_dataset(str(dataset)), config=config, part=part, draw=draw, encode=encode
        )

    return make

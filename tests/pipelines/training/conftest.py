"""A reader of the scenes, and an untrained Florence-2, for all tests here."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from florilegium.engine.results.dataset import open_dataset
from florilegium.pipelines.training.config import TrainConfig
from florilegium.pipelines.training.examples import ExampleMaker
from florilegium.pipelines.training.reader import Part, Reader
from florilegium.pipelines.training.trainer import TrainResult, train
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


ALL = ("object_detection", "caption", "phrase_grounding", "segmentation")


@pytest.fixture(scope="session")
def configure(untrained: Path) -> Callable[..., TrainConfig]:
    """Return a config of a training of six steps in this process."""

    def make(**options: Any) -> TrainConfig:
        defaults = {
            "model": str(untrained),
            "tasks": dict.fromkeys(ALL, 1.0),
            "steps": 6,
            "batch_size": 4,
            "learning_rate": 5e-3,
            "warmup": 0,
            "log_every": 2,
            "checkpoint_every": 2,
            "length_pool": 2,
            "workers": 0,
        }
        return TrainConfig(**{**defaults, **options})

    return make


@pytest.fixture(scope="session")
def undisturbed_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the training that was not interrupted."""
    return tmp_path_factory.mktemp("undisturbed")


@pytest.fixture(scope="session")
def undisturbed(
    scenes: Path, configure: Callable[..., TrainConfig], undisturbed_folder: Path
) -> TrainResult:
    """A training of six steps that was not interrupted."""
    return train(str(scenes), configure(), undisturbed_folder)

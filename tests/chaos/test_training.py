"""A training by two workers of Ray Train."""

from __future__ import annotations

import pytest

from florilegium.pipelines.training.trainer import train
from tests.building import build
from tests.pipelines.conftest import WORLD
from tests.pipelines.training.conftest import configure
from tests.pipelines.training.weights import share_of_weights_apart

__all__ = ["configure"]

pytestmark = [
    # Ray Data, which Ray Train imports, warns of its own defaults, and peft asks for old names.
    pytest.mark.filterwarnings("ignore::DeprecationWarning:ray.data.context"),
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning"),
]


def test_two_workers_train_one_model_and_report_all_examples(configure, tmp_path, ray_cluster):
    """One step over two shards, a worker each, is a step of one worker over both."""
    scenes, reported = tmp_path / "scenes", []
    truth = {"use": "tests.pipelines.training.truth:Truth", "url": WORLD}
    build(WORLD.replace("14", "6"), scenes, shard_size=3, specialists={"truth": truth})
    result = train(
        str(scenes),
        configure(workers=2, steps=1, batch_size=3, length_pool=1),
        tmp_path / "both",
        on_progress=lambda *now: reported.append(now),
    )
    assert sum(result.examples.values()) == 6
    assert reported[-1][0] == 1
    assert not (tmp_path / "both" / ".ray").exists()
    one = train(str(scenes), configure(steps=1, batch_size=6, length_pool=1), tmp_path / "one")
    assert result.examples == one.examples
    assert result.losses == pytest.approx(one.losses, rel=1e-5)
    assert share_of_weights_apart(tmp_path / "both", tmp_path / "one") < 0.01

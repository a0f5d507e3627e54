"""Training by workers of Ray Train."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from florilegium.engine.core.errors import RunError
from florilegium.pipelines.training import launch
from florilegium.pipelines.training.trainer import train
from florilegium.pipelines.training.worker import Outcome, work
from tests.building import build
from tests.pipelines.conftest import WORLD
from tests.pipelines.training.weights import share_of_weights_apart

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


def trains_and_diverges(loop: dict[str, Any]) -> Outcome:
    """Train as a worker does; a second training of the same worker ends with an error."""
    work(loop)
    job = loop["job"]
    diverging = job.config.model_copy(update={"learning_rate": 1e30, "max_gradient": 0})
    return work({"job": replace(job, config=diverging, output=job.output / "diverging")})


def test_one_ray_worker_trains_the_same_as_this_process_and_its_error_is_raised_unchanged(
    scenes, configure, tmp_path, ray_cluster, undisturbed_folder, undisturbed, monkeypatch
):
    monkeypatch.setattr(launch, "work", trains_and_diverges)
    with pytest.raises(RunError, match="lower learning_rate"):
        train(str(scenes), configure(workers=1), tmp_path)
    assert (tmp_path / "model.safetensors").read_bytes() == (
        undisturbed_folder / "model.safetensors"
    ).read_bytes()


def test_more_workers_than_the_cluster_has_are_refused(scenes, configure, tmp_path, ray_cluster):
    with pytest.raises(RunError, match="3 training workers need a CPU"):
        train(str(scenes), configure(workers=3), tmp_path)

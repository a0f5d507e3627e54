"""Training by a worker of Ray. `make chaos` has two of them."""

from __future__ import annotations

import sys
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from florilegium.engine.core.errors import RunError
from florilegium.pipelines.training import launch
from florilegium.pipelines.training.trainer import train
from florilegium.pipelines.training.worker import Outcome, work

pytestmark = [
    # Ray Data, which Ray Train imports, warns of its own defaults, and peft asks for old names.
    pytest.mark.filterwarnings("ignore::DeprecationWarning:ray.data.context"),
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning"),
]


def trains_and_diverges(loop: dict[str, Any]) -> Outcome:
    """Train as a worker does; a second training of the same worker ends with an error."""
    work(loop)
    assert "ray.train" not in sys.modules, "one worker needs no controller, and no import of it"
    job = loop["job"]
    diverging = job.config.model_copy(update={"learning_rate": 1e30, "max_gradient": 0})
    return work({"job": replace(job, config=diverging, output=job.output / "diverging")})


def test_one_ray_worker_trains_the_same_as_this_process_and_its_error_is_raised_unchanged(
    scenes, configure, tmp_path, ray_cluster, undisturbed_folder, undisturbed, monkeypatch
):
    monkeypatch.setattr(launch, "work", trains_and_diverges)
    with pytest.raises(RunError, match="lower learning_rate"):
        train(str(scenes), configure(workers=1, num_gpus=1), tmp_path)
    assert (tmp_path / "model.safetensors").read_bytes() == (
        undisturbed_folder / "model.safetensors"
    ).read_bytes()


def test_more_workers_than_the_cluster_has_are_refused(scenes, configure, tmp_path, ray_cluster):
    with pytest.raises(RunError, match="3 training workers need a CPU"):
        train(str(scenes), configure(workers=3), tmp_path)


@pytest.mark.parametrize("is_there", [True, False])
def test_a_training_that_outlives_its_ray_starts_no_other(
    configure, tmp_path, monkeypatch, is_there
):
    """Another student failed, so Ray was shut down while this one waited for its worker."""
    import ray

    def ended(_):
        raise SystemExit(0)

    asked, task = [], SimpleNamespace(remote=lambda _: "reply")
    monkeypatch.setattr(ray.util, "placement_group", lambda bundles: "group")
    monkeypatch.setattr(ray.util, "remove_placement_group", asked.append)
    monkeypatch.setattr(ray.util, "placement_group_table", lambda: asked.append("table") or {})
    monkeypatch.setattr(ray, "remote", lambda **_: lambda _: task)
    monkeypatch.setattr(ray, "get", ended)
    monkeypatch.setattr(ray, "is_initialized", lambda: is_there)
    config = configure(workers=1)
    with pytest.raises(SystemExit):
        launch.run_workers(SimpleNamespace(config=config))
    assert launch.waiting_workers(config) == ""
    assert asked == (["group", "table"] if is_there else [])


def test_the_error_of_a_worker_has_a_cause_and_no_hint_at_files_of_ray():
    from ray.exceptions import WorkerCrashedError

    killed = str(launch._cause([WorkerCrashedError()]))
    assert killed.startswith("a training worker failed: its process crashed or was killed")
    assert "*.log" not in killed
    assert "failed: AssertionError;" in str(launch._cause([AssertionError()]))

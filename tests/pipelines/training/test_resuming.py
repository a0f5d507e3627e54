"""A training that was stopped or killed goes on from its last checkpoint, to the same weights."""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap
import time

import pytest

from florilegium.pipelines.training import trainer as trainer_module
from florilegium.pipelines.training.checkpoints import complete
from florilegium.pipelines.training.trainer import FINISHED, train

pytestmark = [
    # Ray Data, which Ray Train imports, warns of its own defaults, and peft asks for old names.
    pytest.mark.filterwarnings("ignore::DeprecationWarning:ray.data.context"),
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning"),
]


def test_a_stopped_training_resumes_to_the_same_weights(
    scenes, configure, tmp_path, undisturbed, monkeypatch
):
    from florilegium.pipelines.training.steps import Florence2Trainer

    count = Florence2Trainer._count

    def stops_at_step_five(self, *arguments):
        if self.state.global_step == 4:
            raise KeyError("the power went")
        count(self, *arguments)

    monkeypatch.setattr(Florence2Trainer, "_count", stops_at_step_five)
    with pytest.raises(KeyError, match="power"):
        train(str(scenes), configure(), tmp_path)
    assert not (tmp_path / FINISHED).exists()
    steps = []

    def counts(self, *arguments):
        steps.append(self.state.global_step)
        count(self, *arguments)

    monkeypatch.setattr(Florence2Trainer, "_count", counts)
    assert train(str(scenes), configure(), tmp_path) == undisturbed
    assert steps == [4, 5]


def test_a_killed_training_resumes_to_the_same_weights(scenes, configure, tmp_path, undisturbed):
    """Killed for good, in the middle of writing a checkpoint."""
    script = textwrap.dedent("""
        import sys, time
        from pathlib import Path
        from florilegium.pipelines.training import steps
        from florilegium.pipelines.training.config import TrainConfig
        from florilegium.pipelines.training.trainer import train
        config = TrainConfig.model_validate_json(sys.argv[1])
        complete = steps.complete
        def waits_at_step_four(output, step, *rest, **options):
            if step == 4:
                (output / "waiting").touch()
                time.sleep(600)
            complete(output, step, *rest, **options)
        steps.complete = waits_at_step_four
        train(sys.argv[2], config, Path(sys.argv[3]))
    """)
    command = [sys.executable, "-c", script, configure().model_dump_json(), str(scenes)]
    process = subprocess.Popen([*command, str(tmp_path)], stderr=subprocess.DEVNULL)
    while not (tmp_path / "waiting").exists() and process.poll() is None:
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    torn = tmp_path / "checkpoints" / "checkpoint-4"
    assert torn.exists()
    assert train(str(scenes), configure(), tmp_path) == undisturbed
    assert not torn.exists()


@pytest.mark.attack("models")
def test_a_pickle_that_was_put_into_a_checkpoint_is_not_run(
    scenes, configure, tmp_path, monkeypatch
):
    """Not even by one who can write the digests too: what torch stored is read as tensors."""
    from florilegium.pipelines.training import steps
    from tests.specialists.pretrained.test_inspection import bomb

    complete = steps.complete

    def stops(output, step, *rest, **given):
        folder = output / "checkpoints" / f"checkpoint-{step}"
        assert (folder / "optimizer.pt").exists()
        for name in ("optimizer.pt", "scheduler.pt", "rng_state.pth", "training_args.bin",
                     "scaler.pt", "pytorch_model.bin"):  # fmt: skip
            (folder / name).write_bytes(bomb(tmp_path / "exploded"))
        complete(output, step, *rest, **given)
        raise KeyError("the power went")

    monkeypatch.setattr(steps, "complete", stops)
    with pytest.raises(KeyError):
        train(str(scenes), configure(steps=4), tmp_path / "out")
    monkeypatch.setattr(steps, "complete", complete)
    with pytest.raises(Exception, match=r"[Ww]eights.only"):
        train(str(scenes), configure(steps=4), tmp_path / "out")
    assert not (tmp_path / "exploded").exists()


@pytest.mark.attack("models")
def test_a_checkpoint_that_was_changed_is_reported_and_removed(
    scenes, configure, tmp_path, monkeypatch
):
    def stops(job):
        raise KeyError("the power went")

    monkeypatch.setattr(trainer_module, "run_workers", stops)
    with pytest.raises(KeyError):
        train(str(scenes), configure(), tmp_path / "out")
    folder = tmp_path / "out" / "checkpoints" / "checkpoint-2"
    folder.mkdir(parents=True)
    complete(tmp_path / "out", 2, {}, keep=2)
    (folder / "pytorch_model.bin").write_bytes(b"of somebody else")
    notes = []
    with pytest.raises(KeyError):
        train(str(scenes), configure(), tmp_path / "out", on_note=notes.append)
    assert not folder.exists()
    assert [note.split(",")[0] for note in notes] == [
        "checkpoint-2 of out has other files than were written there"
    ]


@pytest.mark.parametrize(
    "options",
    [
        {"lora": {"r": 2, "dropout": 0.5}},
        {"freeze_vision": True},
        {"gradient_accumulation": 2},
        {"loader_workers": 2, "checkpoint_every": 1},
    ],
    ids=["lora", "frozen", "accumulated", "loaders"],
)
def test_the_same_is_true_with(scenes, configure, tmp_path, monkeypatch, options):
    from florilegium.pipelines.training import steps

    whole = train(str(scenes), configure(steps=4, **options), tmp_path / "whole")
    run = steps.Florence2Trainer.create_optimizer

    def stops(output, step, *rest, **given):
        complete(output, step, *rest, **given)
        raise KeyError("the power went")

    complete = steps.complete
    monkeypatch.setattr(steps, "complete", stops)
    with pytest.raises(KeyError):
        train(str(scenes), configure(steps=4, **options), tmp_path / "stopped")
    monkeypatch.setattr(steps, "complete", complete)
    assert run is steps.Florence2Trainer.create_optimizer
    assert train(str(scenes), configure(steps=4, **options), tmp_path / "stopped") == whole

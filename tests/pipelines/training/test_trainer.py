"""Training: its results, resuming after a kill, and its errors."""

from __future__ import annotations

import io
import json
import signal
import subprocess
import sys
import textwrap
import time
from collections import Counter
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest
from PIL import Image

from engine.core.errors import RunError, UsageError
from engine.results.dataset import open_dataset
from engine.storage.folder import Folder
from pipelines.training import trainer as trainer_module
from pipelines.training.checkpoints import complete
from pipelines.training.config import TrainConfig
from pipelines.training.examples import Example, ExampleMaker
from pipelines.training.reader import Part
from pipelines.training.student import open_student
from pipelines.training.trainer import FINISHED, TrainResult, train
from pipelines.training.worker import OutOfMemory
from specialists.florence2.checkpoint import resolve_florence2
from tests.building import build
from tests.pipelines.conftest import WORLD

pytestmark = [
    # Ray Data, which Ray Train imports, warns of its own defaults, and peft asks for old names.
    pytest.mark.filterwarnings("ignore::DeprecationWarning:ray.data.context"),
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning"),
]
ALL = ("object_detection", "caption", "phrase_grounding", "segmentation")


@pytest.fixture
def configure(untrained):
    def make(**options) -> TrainConfig:
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


@pytest.fixture(scope="module")
def undisturbed_folder(tmp_path_factory) -> Path:
    """Where the training lies that nobody interrupted."""
    return tmp_path_factory.mktemp("undisturbed")


@pytest.fixture(scope="module")
def undisturbed(scenes, untrained, undisturbed_folder) -> TrainResult:
    """A training of six steps that nobody interrupted."""
    config = TrainConfig(
        model=str(untrained),
        tasks=dict.fromkeys(ALL, 1.0),
        steps=6,
        batch_size=4,
        learning_rate=5e-3,
        warmup=0,
        log_every=2,
        checkpoint_every=2,
        length_pool=2,
        workers=0,
    )
    return train(str(scenes), config, undisturbed_folder)


def test_the_loss_falls_and_is_reported_by_task(scenes, configure, tmp_path):
    told = []
    first = train(str(scenes), configure(steps=2, tasks={"caption": 1}), tmp_path / "short")
    config = configure(steps=60, tasks={"caption": 1}, checkpoint_every=1000)
    last = train(str(scenes), config, tmp_path / "long", on_progress=lambda *now: told.append(now))
    assert last.losses["caption"] < 0.6 * first.losses["caption"]
    assert last.examples == {"caption": 240}
    assert told[-1][:2] == (60, 60)
    assert list((tmp_path / "long" / "logs").glob("events.*"))


def test_the_last_step_is_always_reported(scenes, configure, tmp_path):
    told = []
    config = configure(steps=3, log_every=10)
    train(str(scenes), config, tmp_path, on_progress=lambda *now: told.append(now))
    assert told[-1][:2] == (3, 3)


def test_the_survey_is_reported_before_training(scenes, configure, tmp_path):
    told = []
    config = configure(steps=1, tasks={"caption": 1, "region_description": 1})
    result = train(str(scenes), config, tmp_path, on_survey=told.append)
    assert [found.without_data for found in told] == [("region_description",)]
    assert set(result.examples) == {"caption"}


def test_a_trained_model_can_be_loaded_and_has_the_recorded_digest(
    undisturbed, undisturbed_folder, untrained
):
    from safetensors.torch import load_file

    assert sum(undisturbed.examples.values()) == 24
    assert set(undisturbed.examples) <= set(ALL)
    assert undisturbed.inputs["fold"] is None
    assert undisturbed.steps == 6
    weights = undisturbed_folder / "model.safetensors"
    assert undisturbed.digest == sha256(weights.read_bytes()).hexdigest()
    model, processor = open_student(resolve_florence2(str(undisturbed_folder)))
    start = load_file(untrained / "model.safetensors")
    opened = dict(model.named_parameters())
    assert any(not opened[name].equal(start[name]) for name in opened.keys() & start.keys())
    stored = load_file(weights)
    assert all(opened[name].equal(stored[name]) for name in opened.keys() & stored.keys())
    before, _ = open_student(resolve_florence2(str(untrained)))
    assert model.state_dict().keys() == before.state_dict().keys()
    assert processor.tokenizer.get_vocab()["<loc_999>"]
    assert {path.name for path in untrained.iterdir()} <= {
        path.name for path in undisturbed_folder.iterdir()
    }


def test_a_finished_training_with_the_same_inputs_is_not_repeated(
    scenes, configure, tmp_path, monkeypatch
):
    made = train(str(scenes), configure(steps=2), tmp_path, fold=0, folds=3)
    monkeypatch.setattr(trainer_module, "run_workers", None)
    again = train(str(scenes), configure(steps=2, checkpoint_every=9), tmp_path, fold=0, folds=3)
    assert again == made
    assert json.loads((tmp_path / FINISHED).read_text("utf-8"))["digest"] == made.digest


@pytest.mark.parametrize("other", [{"fold": 1, "folds": 3}, {"seed": 1}])
def test_other_inputs_start_a_new_training(scenes, configure, tmp_path, other):
    made = train(str(scenes), configure(steps=2), tmp_path, fold=0, folds=3)
    place = {"fold": 0, "folds": 3, **{key: other[key] for key in other if key != "seed"}}
    config = configure(steps=2, seed=other.get("seed", 0))
    assert train(str(scenes), config, tmp_path, **place).digest != made.digest


def test_a_stopped_training_resumes_to_the_same_weights(
    scenes, configure, tmp_path, undisturbed, monkeypatch
):
    from pipelines.training.steps import Florence2Trainer

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
        from pipelines.training import steps
        from pipelines.training.config import TrainConfig
        from pipelines.training.trainer import train
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
    from pipelines.training import steps
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
    told = []
    with pytest.raises(KeyError):
        train(str(scenes), configure(), tmp_path / "out", on_note=told.append)
    assert not folder.exists()
    assert [note.split(",")[0] for note in told] == [
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
    from pipelines.training import steps

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


def test_a_frozen_tower_is_unchanged_and_the_rest_is_trained(
    scenes, configure, untrained, tmp_path
):
    from safetensors.torch import load_file

    train(str(scenes), configure(steps=2, freeze_vision=True), tmp_path)
    before = load_file(untrained / "model.safetensors")
    after = load_file(tmp_path / "model.safetensors")
    same = {name for name in before if before[name].equal(after[name])}
    assert {name for name in before if "vision_tower" in name} <= same
    assert len(same) < len(before)


def test_gradient_accumulation_gives_the_same_step(scenes, configure, tmp_path):
    whole = configure(steps=1, batch_size=4, length_pool=1)
    halves = configure(steps=1, batch_size=2, gradient_accumulation=2, length_pool=2)
    train(str(scenes), whole, tmp_path / "whole")
    train(str(scenes), halves, tmp_path / "halves")
    assert share_of_weights_apart(tmp_path / "whole", tmp_path / "halves") < 0.01


def share_of_weights_apart(first: Path, second: Path) -> float:
    """Return the share of the weights that are not alike after one step of two trainings.

    AdamW's first step is the sign of the gradient, which rounding turns where it is about 0.
    """
    import torch
    from safetensors.torch import load_file

    one, two = (load_file(folder / "model.safetensors") for folder in (first, second))
    return float(
        torch.cat([((one[name] - two[name]).abs() > 1e-4).flatten() for name in one]).float().mean()
    )


def test_loss_is_measured_on_samples_that_were_not_trained_on(
    scenes, configure, tmp_path, monkeypatch
):
    seen = set()
    draw = ExampleMaker.draw

    def watched(maker, sample, epoch):
        seen.add((epoch, sample.key))
        return draw(maker, sample, epoch)

    monkeypatch.setattr(ExampleMaker, "draw", watched)
    config = configure(steps=4, validation_share=0.4, tasks={"caption": 1, "object_detection": 2})
    result = train(str(scenes), config, tmp_path, fold=1, folds=3)
    samples = {one.key: one for one in open_dataset(str(scenes))}
    part = Part(fold=1, folds=3, validation_share=0.4)
    measured = [one for one in samples.values() if part.validates(one.sha256)]
    unseen = {one.key for one in measured}
    trained = {key for key, one in samples.items() if part.trains(one.sha256)}
    assert {key for _, key in seen} == unseen | trained
    assert {epoch for epoch, key in seen if key in unseen} == {0}
    expected = losses_of_stock_model(tmp_path, [draw(ExampleMaker(config), one, 0)
                                                for one in measured])  # fmt: skip
    assert result.validation_losses == pytest.approx(expected, rel=1e-4)


def losses_of_stock_model(folder: Path, examples: list[Example]) -> dict[str, float]:
    """Return the mean loss per token by task: model and processor as their documentation has it,
    one example at a time."""
    import torch

    model, processor = open_student(resolve_florence2(str(folder)))
    losses, tokens = Counter(), Counter()
    for one in examples:
        image = Image.open(io.BytesIO(one.image))
        inputs = processor(images=image, text=one.prompt, return_tensors="pt")
        labels = processor.tokenizer(f"<s>{one.target}</s>", add_special_tokens=False,
                                     return_tensors="pt").input_ids  # fmt: skip
        with torch.inference_mode():
            loss = model(**inputs, labels=labels).loss
        losses[one.task] += float(loss) * labels.numel()
        tokens[one.task] += labels.numel()
    return {task: losses[task] / tokens[task] for task in losses}


def test_a_loss_that_is_not_finite_stops_with_the_task_and_the_cure(scenes, configure, tmp_path):
    config = configure(learning_rate=1e30, max_gradient=0, steps=6)
    with pytest.raises(RunError, match=r"the loss of a \w+ example is nan .*lower learning_rate"):
        train(str(scenes), config, tmp_path)
    assert not (tmp_path / FINISHED).exists()


def test_out_of_memory_halves_the_batch_once(scenes, configure, tmp_path, monkeypatch):
    seen = []
    run = trainer_module.run_workers

    def full_above_two(job):
        seen.append((job.config.batch_size, job.config.gradient_accumulation))
        if job.config.batch_size > 2:
            raise OutOfMemory("CUDA out of memory")
        return run(job)

    monkeypatch.setattr(trainer_module, "run_workers", full_above_two)
    result = train(str(scenes), configure(steps=2), tmp_path / "four")
    assert seen == [(4, 1), (2, 2)]
    assert (result.batch_size, result.gradient_accumulation) == (2, 2)
    with pytest.raises(RunError, match="neither a batch of 8 nor one of 4"):
        train(str(scenes), configure(steps=2, batch_size=8), tmp_path / "eight")


def test_out_of_memory_in_a_step_is_recognised(scenes, configure, tmp_path, monkeypatch):
    from pipelines.training import steps

    def full(*arguments, **options):
        raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: 9 bytes")

    monkeypatch.setattr(steps, "example_losses", full)
    with pytest.raises(RunError, match="neither a batch of 4 nor one of 2 fits"):
        train(str(scenes), configure(), tmp_path)


def test_a_missing_dataset_and_a_wrong_model_are_refused(scenes, configure, tmp_path):
    with pytest.raises(UsageError, match="build the dataset first"):
        train(str(tmp_path / "nothing"), configure(), tmp_path / "out")
    with pytest.raises(UsageError, match=r"no config\.json"):
        train(str(scenes), configure(model=str(tmp_path)), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_two_workers_train_one_model_and_report_all_examples(configure, tmp_path, ray_cluster):
    """One step over two shards, a worker each, is a step of one worker over both."""
    scenes, told = tmp_path / "scenes", []
    truth = {"use": "tests.pipelines.training.truth:Truth", "url": WORLD}
    build(WORLD.replace("14", "6"), scenes, shard_size=3, specialists={"truth": truth})
    result = train(
        str(scenes),
        configure(workers=2, steps=1, batch_size=3, length_pool=1),
        tmp_path / "both",
        on_progress=lambda *now: told.append(now),
    )
    assert sum(result.examples.values()) == 6
    assert told[-1][0] == 1
    assert not (tmp_path / "both" / ".ray").exists()
    one = train(str(scenes), configure(steps=1, batch_size=6, length_pool=1), tmp_path / "one")
    assert result.examples == one.examples
    assert result.losses == pytest.approx(one.losses, rel=1e-5)
    assert share_of_weights_apart(tmp_path / "both", tmp_path / "one") < 0.01


def test_one_ray_worker_trains_the_same_as_this_process(
    scenes, configure, tmp_path, ray_cluster, undisturbed
):
    result = train(str(scenes), configure(workers=1), tmp_path)
    assert result.digest == undisturbed.digest


def test_errors_of_a_worker_are_raised_unchanged(scenes, configure, tmp_path, ray_cluster):
    config = configure(workers=1, steps=3, learning_rate=1e30, max_gradient=0)
    with pytest.raises(RunError, match="lower learning_rate"):
        train(str(scenes), config, tmp_path)


def test_more_workers_than_the_cluster_has_are_refused(scenes, configure, tmp_path, ray_cluster):
    with pytest.raises(RunError, match="3 training workers need a CPU"):
        train(str(scenes), configure(workers=3), tmp_path)


def test_paths_may_be_relative(scenes, configure, tmp_path, monkeypatch):
    monkeypatch.chdir(scenes.parent)
    result = train(scenes.name, configure(steps=1), Path("..") / tmp_path.name / "out")
    assert replace(result, losses={}).steps == 1


def test_workers_get_an_absolute_path_of_the_dataset(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    whole = str(tmp_path / "my photos")
    for url in ("my photos", "~/my photos", f"file://{whole}", f"{whole}/"):
        assert trainer_module.absolute_url(Folder(url)) == whole
    assert trainer_module.absolute_url(Folder("memory://photos")) == "memory://photos"

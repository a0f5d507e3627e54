"""Training: its results and its errors."""

from __future__ import annotations

import io
import json
import shutil
from collections import Counter
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest
from PIL import Image

from florilegium.engine.core.errors import RunError, UsageError
from florilegium.engine.results.dataset import open_dataset
from florilegium.engine.storage.folder import Folder
from florilegium.pipelines.training import steps as steps_module
from florilegium.pipelines.training import trainer as trainer_module
from florilegium.pipelines.training import worker as worker_module
from florilegium.pipelines.training.examples import Example, ExampleMaker
from florilegium.pipelines.training.files import write_json
from florilegium.pipelines.training.reader import Part
from florilegium.pipelines.training.student import open_student
from florilegium.pipelines.training.trainer import FINISHED, TrainResult, train
from florilegium.pipelines.training.worker import OutOfMemory
from florilegium.specialists.florence2.checkpoint import resolve_florence2
from tests.pipelines.training.conftest import ALL
from tests.pipelines.training.weights import share_of_weights_apart

pytestmark = [
    # Ray Data, which Ray Train imports, warns of its own defaults, and peft asks for old names.
    pytest.mark.filterwarnings("ignore::DeprecationWarning:ray.data.context"),
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning"),
]


def test_the_loss_falls_and_is_reported_by_task(scenes, configure, tmp_path):
    reported = []
    first = train(str(scenes), configure(steps=2, tasks={"caption": 1}), tmp_path / "short")
    config = configure(steps=32, tasks={"caption": 1}, checkpoint_every=1000, learning_rate=1e-2)
    last = train(
        str(scenes), config, tmp_path / "long", on_progress=lambda *now: reported.append(now)
    )
    assert last.losses["caption"] < 0.6 * first.losses["caption"]
    assert last.examples == {"caption": 128}
    assert reported[-1][:2] == (32, 32)
    assert list((tmp_path / "long" / "logs").glob("events.*"))


def test_the_last_step_is_always_reported(scenes, configure, tmp_path):
    reported = []
    config = configure(steps=3, log_every=10)
    train(str(scenes), config, tmp_path, on_progress=lambda *now: reported.append(now))
    assert reported[-1][:2] == (3, 3)


def test_the_survey_is_reported_before_training(scenes, configure, tmp_path):
    reported = []
    config = configure(steps=1, tasks={"caption": 1, "region_description": 1})
    result = train(str(scenes), config, tmp_path, on_survey=reported.append)
    assert [found.without_data for found in reported] == [("region_description",)]
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


@pytest.fixture(scope="module")
def finished_folder(tmp_path_factory) -> Path:
    """The folder of a finished training of two steps on a fold."""
    return tmp_path_factory.mktemp("finished")


@pytest.fixture(scope="module")
def finished(scenes, configure, finished_folder) -> TrainResult:
    return train(str(scenes), configure(steps=2), finished_folder, fold=0, folds=3)


def test_a_finished_training_with_the_same_inputs_is_not_repeated(
    scenes, configure, finished, finished_folder, monkeypatch
):
    monkeypatch.setattr(trainer_module, "run_workers", None)
    same = configure(steps=2, checkpoint_every=9)
    assert train(str(scenes), same, finished_folder, fold=0, folds=3) == finished
    assert json.loads((finished_folder / FINISHED).read_text("utf-8"))["digest"] == finished.digest


@pytest.mark.parametrize("other", [{"fold": 1, "folds": 3}, {"seed": 1}])
def test_other_inputs_start_a_new_training(
    scenes, configure, tmp_path, finished, finished_folder, other
):
    output = shutil.copytree(finished_folder, tmp_path / "out")
    place = {"fold": 0, "folds": 3, **{key: other[key] for key in other if key != "seed"}}
    config = configure(steps=2, seed=other.get("seed", 0))
    assert train(str(scenes), config, output, **place).digest != finished.digest


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
    from florilegium.pipelines.training import steps

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


def test_what_is_done_before_the_first_losses_is_shown(scenes, configure, tmp_path, monkeypatch):
    shown: list[str] = []
    for module in (trainer_module, worker_module, steps_module):
        monkeypatch.setattr(module, "write_doing", lambda _, doing: shown.append(doing))
    train(str(scenes), configure(steps=2), tmp_path, on_start=shown.append)
    assert shown == [
        "counting annotations",
        "starting",
        "importing torch and transformers",
        "loading the model",
        "reading the first examples",
        "computing the first step",
        "step 1 of 2",
    ]


def test_the_progress_file_is_shown_once_until_it_changes(tmp_path):
    started: list[str] = []
    steps: list[tuple[int, int, float]] = []
    last = None
    written = ({"doing": "starting"}, {"doing": "starting"}, {"step": 1, "steps": 2, "loss": 0.5})
    for values in written:
        write_json(tmp_path, "progress.json", values)
        last = trainer_module._poll_progress(
            tmp_path, started.append, last, lambda *step: steps.append(step)
        )
    assert (started, steps) == (["starting"], [(1, 2, 0.5)])


def test_what_is_done_is_shown_without_a_display_of_losses(
    scenes, configure, tmp_path, monkeypatch
):
    def stops(job):
        write_json(job.output, "progress.json", {"doing": "loading the model"})
        raise KeyError("the power went")

    monkeypatch.setattr(trainer_module, "run_workers", stops)
    shown: list[str] = []
    with pytest.raises(KeyError):
        train(str(scenes), configure(), tmp_path, on_start=shown.append)
    assert shown[-1] == "loading the model"

"""Bad input to the refinement: a clear word, what to do, and nothing that was finished is lost."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from florilegium.engine.results.dataset import open_dataset
from florilegium.engine.results.state import STATE
from florilegium.pipelines.training import steps, trainer
from tests.building import build
from tests.end_to_end.conftest import Command
from tests.end_to_end.refinement import write_refinement

pytestmark = [
    # Ray Data, which Ray Train imports, warns of its own defaults, and peft asks for old names.
    pytest.mark.filterwarnings("ignore::DeprecationWarning:ray.data.context"),
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning"),
]

Write = Callable[..., Path]
Spoil = Callable[[Path], object]


@pytest.fixture
def output(tmp_path: Path) -> Path:
    return tmp_path / "out"


@pytest.fixture
def write(tmp_path: Path, untrained: Path, output: Path) -> Write:
    """Write a config for this output with the untrained student."""

    def make(*, train: dict[str, Any] | None = None, **options: Any) -> Path:
        options["train"] = {"model": str(untrained), **(train or {})}
        return write_refinement(tmp_path / "refine.yaml", output, **options)

    return make


@pytest.fixture(scope="module")
def begun(untrained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output of a refinement whose round 0 is finished. Read only."""
    from florilegium.engine.core.errors import UsageError
    from florilegium.pipelines.refine.config import RefineConfig
    from florilegium.pipelines.refine.loop import refine
    from tests.configs import load_config

    folder = tmp_path_factory.mktemp("begun")
    nowhere = {"model": str(untrained), "tasks": {"ocr": 1}}
    config = write_refinement(folder / "refine.yaml", folder / "out", train=nowhere)
    with pytest.raises(UsageError, match="no kept labels"):
        refine(load_config(config, model=RefineConfig))
    return folder / "out"


@pytest.fixture
def round_zero(begun: Path, output: Path) -> dict[str, bytes]:
    """The files of a round 0 that lies in the output."""
    shutil.copytree(begun, output)
    return files_of(output / "rounds" / "0")


def files_of(folder: Path) -> dict[str, bytes]:
    """The bytes of the files in a folder without those that have the output's path or times in
    them."""
    others = ("run.yaml", STATE)
    found = [path for path in folder.rglob("*") if path.is_file() and path.name not in others]
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}


def words(text: str) -> str:
    """A text without the line breaks of a narrow terminal."""
    return " ".join(text.split())


def goes_on(florilegium: Command, config: Path, output: Path, before: dict[str, bytes]) -> None:
    """The command completes after the cure, and round 0 is what it was."""
    done = florilegium("refine", config)
    assert done.code == 0, done.err
    assert "round 1" in done.out
    assert before.items() <= files_of(output / "rounds" / "0").items()
    assert florilegium("verify", output).code == 0


# -- labels -----------------------------------------------------------------------------------


def test_when_no_label_is_kept_there_is_nothing_to_train_on(
    florilegium: Command, write: Write, output: Path
) -> None:
    superseded = {"by": {"boxes": ["object_detection"]}}
    strict = {"superseded": superseded, "region_score": {"specialists": {"boxes": 1.0}}}
    done = florilegium("refine", write(keys={"filters": strict}))
    assert done.code == 2
    assert "has no kept labels to train object_detection on (kept: none at all)" in done.err
    assert "lower the thresholds of its filters" in done.err
    assert "round 0" in done.out
    before = files_of(output / "layers")
    assert florilegium("refine", write()).code == 0
    assert before.items() <= files_of(output / "layers").items()


def test_labels_of_one_class_are_refused_unless_they_are_meant(
    florilegium: Command, write: Write, output: Path
) -> None:
    brightest = {"use": "tests.stages:Brightest"}
    boxes = {"use": "merge", "tasks": ["object_detection"], "reads": ["one", "other"]}
    keys = {"specialists": {"one": brightest, "other": brightest, "boxes": boxes}}
    done = florilegium("refine", write(keys=keys, audit=""))
    assert done.code == 2
    assert "the same label 'bright corner'" in done.err
    assert "`allow_one_class: true`" in done.err
    before = files_of(output / "rounds" / "0")
    meant = write(keys=keys, audit="", train={"allow_one_class": True})
    goes_on(florilegium, meant, output, before)


# -- checkpoints ------------------------------------------------------------------------------


def cut_off(folder: Path) -> None:
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])


def of_another_model(folder: Path) -> None:
    (folder / "config.json").write_text(json.dumps({"model_type": "blip-2"}))


def pickled(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


SPOILT: dict[str, tuple[Spoil, str]] = {
    "corrupt": (cut_off, "model.safetensors is damaged: .* fetch or save it again"),
    "foreign": (of_another_model, "is of type 'blip-2'; a Florence-2 is needed"),
    "pickled": (pickled, "pickled weights only .* convert them to safetensors"),
}


@pytest.fixture
def spoilt(untrained: Path, tmp_path: Path) -> Path:
    """A checkpoint that a test may spoil."""
    return Path(shutil.copytree(untrained, tmp_path / "spoilt"))


@pytest.mark.parametrize(("spoil", "message"), SPOILT.values(), ids=SPOILT)
def test_a_checkpoint_that_cannot_be_one_is_refused_before_anything_starts(
    florilegium: Command, write: Write, spoilt: Path, output: Path, spoil: Spoil, message: str
) -> None:
    spoil(spoilt)
    config = write(train={"model": str(spoilt)})
    for arguments in (("refine", config), ("refine", config, "--dry-run")):
        done = florilegium(*arguments)
        assert done.code == 2
        assert str(spoilt) in done.err
        assert re.search(message, done.err)
        assert not output.exists()


def test_a_checkpoint_that_went_bad_between_rounds_costs_no_round(
    florilegium: Command, write: Write, round_zero: dict[str, bytes], spoilt: Path, output: Path
) -> None:
    cut_off(spoilt)
    done = florilegium("refine", write(train={"model": str(spoilt)}))
    assert done.code == 2
    assert files_of(output / "rounds" / "0") == round_zero
    goes_on(florilegium, write(), output, round_zero)


def test_a_tokenizer_without_location_tokens_is_refused_with_the_cure(
    florilegium: Command, write: Write, round_zero: dict[str, bytes], spoilt: Path, output: Path
) -> None:
    tokenizer = spoilt / "tokenizer.json"
    tokenizer.write_text(tokenizer.read_text().replace("<loc_", "<place_"))
    done = florilegium("refine", write(train={"model": str(spoilt)}))
    assert done.code == 2
    assert "its tokenizer lacks 1000 of 1000 location tokens, <loc_0> first" in done.err
    assert "use the tokenizer that came with the weights" in done.err
    assert files_of(output / "rounds" / "0") == round_zero
    goes_on(florilegium, write(), output, round_zero)


def test_a_student_that_was_damaged_on_disk_is_trained_again(
    florilegium: Command, write: Write, round_zero: dict[str, bytes], output: Path
) -> None:
    assert florilegium("refine", write()).code == 0
    student = output / "rounds" / "1" / "students" / "fold_0"
    whole = files_of(student)
    cut_off(student)
    goes_on(florilegium, write(), output, round_zero)
    assert files_of(student)["model.safetensors"] == whole["model.safetensors"]


# -- training ---------------------------------------------------------------------------------


def test_a_loss_that_is_no_number_stops_the_run_with_the_cure(
    florilegium: Command, write: Write, round_zero: dict[str, bytes], output: Path
) -> None:
    diverging = {"learning_rate": 1e30, "max_gradient": 0, "warmup": 0, "steps": 6}
    done = florilegium("refine", write(train=diverging))
    assert done.code == 1
    assert re.search("the loss of a object_detection example is nan at step .: lower", done.err)
    assert files_of(output / "rounds" / "0") == round_zero
    goes_on(florilegium, write(), output, round_zero)


@pytest.fixture
def room_for(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], list[int]]:
    """Let memory hold so many examples at once; returns the batches that were tried."""

    def limit(most: int) -> list[int]:
        real, tried = steps.example_losses, []

        def losses(model: Any, inputs: Any, labels: Any, **options: Any) -> Any:
            tried.append(len(labels))
            if len(labels) > most:
                raise RuntimeError("CUDA out of memory. Tried to allocate 20.00 MiB")
            return real(model, inputs, labels, **options)

        monkeypatch.setattr(steps, "example_losses", losses)
        return tried

    return limit


def test_out_of_memory_halves_the_batch_once(
    florilegium: Command,
    write: Write,
    round_zero: dict[str, bytes],
    output: Path,
    room_for: Callable[[int], list[int]],
) -> None:
    tried = room_for(2)
    goes_on(florilegium, write(), output, round_zero)
    assert tried == [4, 2, 2, 2, 2]
    training = output / "rounds" / "1" / "students" / "fold_0" / trainer.FINISHED
    used = json.loads(training.read_text())
    assert (used["batch_size"], used["gradient_accumulation"]) == (2, 2)


def test_out_of_memory_after_that_stops_with_a_clear_word(
    florilegium: Command,
    write: Write,
    round_zero: dict[str, bytes],
    output: Path,
    room_for: Callable[[int], list[int]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with monkeypatch.context():
        assert room_for(1) == []
        done = florilegium("refine", write())
    assert done.code == 1
    assert "neither a batch of 4 nor one of 2 fits into memory" in done.err
    assert "set a smaller batch_size" in done.err
    assert files_of(output / "rounds" / "0") == round_zero
    goes_on(florilegium, write(train={"batch_size": 1}), output, round_zero)


# -- audits -----------------------------------------------------------------------------------

AUDITS = {
    "malformed": (['{"id": "a", "right": true}', "a,true"], "line 2: 'a,true' is not of the form"),
    "wrong types": (['{"id": "a", "right": "yes"}'], "line 1: .* is not of the form"),
    "contradicting": (
        ['{"id": "a", "right": true}', '{"id": "a", "right": false}'],
        "line 2: 'a' was found otherwise before",
    ),
}


@pytest.mark.parametrize(("lines", "message"), AUDITS.values(), ids=AUDITS)
def test_an_audit_that_makes_no_sense_is_refused_before_anything_starts(
    florilegium: Command,
    write: Write,
    output: Path,
    tmp_path: Path,
    lines: list[str],
    message: str,
) -> None:
    audit = tmp_path / "audit.jsonl"
    audit.write_text("\n".join(lines))
    done = florilegium("refine", write(audit=str(audit)))
    assert done.code == 2
    assert str(audit) in done.err
    assert re.search(message, done.err)
    assert not output.exists()


def test_an_audit_of_unknown_annotations_is_refused_and_can_be_mended(
    florilegium: Command, write: Write, round_zero: dict[str, bytes], output: Path, tmp_path: Path
) -> None:
    candidates = open_dataset(str(output / "rounds" / "0" / "candidates" / "0"))
    found = [{"id": one.id, "right": True} for sample in candidates for one in sample.annotations]
    audit = tmp_path / "audit.jsonl"
    audit.write_text("\n".join(map(json.dumps, [*found, {"id": "beef", "right": True}])))
    layers = files_of(output / "layers")
    done = florilegium("refine", write(audit=str(audit)))
    assert done.code == 2
    assert f"names 1 of {len(found) + 1} annotations that do not exist here: beef" in done.err
    assert "or remove these lines" in done.err
    assert layers.items() <= files_of(output / "layers").items()
    audit.write_text("\n".join(map(json.dumps, found)))
    done = florilegium("refine", write(audit=str(audit)))
    assert done.code == 0, done.err
    assert "by audit" in words(done.out)


def test_an_audit_of_everything_leaves_nothing_to_measure(
    florilegium: Command, write: Write, round_zero: dict[str, bytes], output: Path
) -> None:
    done = florilegium("refine", write(audit_samples=12))
    assert done.code == 2
    assert "all 12 samples are audited" in done.err
    assert "set refine.audit_samples below that" in done.err
    goes_on(florilegium, write(), output, round_zero)


# -- the other commands -----------------------------------------------------------------------


@pytest.fixture
def trainable(tmp_path: Path, untrained: Path) -> Callable[..., Path]:
    """Write the config of a training."""

    def make(**options: Any) -> Path:
        document = {"model": str(untrained), "tasks": {"object_detection": 1}, "steps": 1}
        path = tmp_path / "train.yaml"
        path.write_text(yaml.safe_dump({**document, "workers": 0, **options}))
        return path

    return make


@pytest.mark.parametrize("command", ["train", "export"])
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tasks": {"ocr": 1}}, "has no kept labels to train ocr on"),
        ({"tasks": {"orc": 1}}, "train.yaml: unknown task 'orc', did you mean 'ocr'?"),
        ({"stepz": 1}, "unknown key 'stepz', did you mean 'steps'?"),
    ],
)
def test_a_config_that_nothing_can_be_learned_by_is_refused(
    florilegium: Command,
    trainable: Callable[..., Path],
    begun: Path,
    tmp_path: Path,
    command: str,
    options: dict[str, Any],
    message: str,
) -> None:
    made = tmp_path / "made"
    config = trainable(**options)
    given = (config,) if command == "train" else ("--format", "florence2", "--config", config)
    done = florilegium(command, begun / "rounds" / "0", *given, "--output", made)
    assert done.code == 2
    assert message in done.err
    assert not made.exists()


def test_a_training_that_fails_ends_with_1_and_goes_on_after_the_cure(
    florilegium: Command, trainable: Callable[..., Path], begun: Path, tmp_path: Path
) -> None:
    made, labels = tmp_path / "made", begun / "rounds" / "0"
    wrong = trainable(learning_rate=1e30, max_gradient=0, warmup=0, steps=4)
    done = florilegium("train", labels, wrong, "--output", made)
    assert done.code == 1
    assert "lower learning_rate" in done.err
    done = florilegium("train", labels, trainable(), "--output", made)
    assert done.code == 0
    assert str(made) in words(done.out)


def test_a_folder_that_exists_is_not_exported_into(
    florilegium: Command, begun: Path, tmp_path: Path
) -> None:
    made = tmp_path / "made"
    made.mkdir()
    (made / "mine.txt").touch()
    labels = begun / "rounds" / "0"
    done = florilegium("export", labels, "--format", "coco", "--output", made)
    assert done.code == 2
    assert "exists: choose another folder" in done.err
    assert [path.name for path in made.iterdir()] == ["mine.txt"]


def test_what_is_no_refined_dataset_of_a_known_world_is_told_so(
    florilegium: Command, album: Path, trainable: Callable[..., Path], tmp_path: Path
) -> None:
    build(album, tmp_path / "photographs")
    nothing, photographs = tmp_path / "nothing", tmp_path / "photographs"
    made = ("--output", tmp_path / "made")
    for arguments, message in (
        (("score", nothing), "build the dataset first"),
        (("score", photographs), "is not known"),
        (("diff", nothing, 0, 1), "it was never refined"),
        (("diff", photographs, 0, 1), "it was never refined"),
        (("train", nothing, trainable(), *made), "build the dataset first"),
        (("export", nothing, "--format", "florence2", *made), "build the dataset first"),
        (("export", nothing, "--format", "coco", *made), "build the dataset first"),
        (("export", nothing, "--format", "cocoa", *made), "did you mean 'coco'?"),
    ):
        done = florilegium(*arguments)
        assert done.code == 2
        assert message in done.err
    assert not (tmp_path / "made").exists()


def test_the_status_of_a_refinement_under_way_says_where_to_look(
    florilegium: Command, begun: Path
) -> None:
    done = florilegium("status", begun)
    assert done.code == 2
    assert "its refinement is not finished" in done.err
    assert str(begun / "rounds" / "0") in done.err
    assert florilegium("status", begun / "rounds" / "0").code == 0


def test_a_damaged_lineage_is_named_and_written_again(
    florilegium: Command, write: Write, round_zero: dict[str, bytes], output: Path
) -> None:
    goes_on(florilegium, write(), output, round_zero)
    whole = (output / "refine.json").read_bytes()
    (output / "refine.json").write_bytes(whole[:100])
    for arguments in (("diff", output, 0, 1), ("score", output), ("status", output)):
        done = florilegium(*arguments)
        assert done.code == 1
        assert "refine.json is damaged" in done.err
    goes_on(florilegium, write(), output, round_zero)
    assert (output / "refine.json").read_bytes() == whole


def test_a_build_of_a_refinement_names_the_command_that_goes_on(
    florilegium: Command, write: Write
) -> None:
    done = florilegium("build", write())
    assert done.code == 0, done.err
    assert "`florilegium refine" in done.out


def test_the_config_of_another_command_is_refused_by_what_it_lacks(
    florilegium: Command, trainable: Callable[..., Path]
) -> None:
    done = florilegium("refine", trainable())
    assert done.code == 2
    assert "the key 'refine' is missing" in done.err

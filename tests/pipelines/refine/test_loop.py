"""The loop as a whole: its files, when it ends, and that it can be stopped."""

from __future__ import annotations

import itertools
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from florilegium.engine.core.errors import ConfigError, OutputInUse, UsageError
from florilegium.engine.core.sample import is_in_share
from florilegium.engine.execution.preparation import Run
from florilegium.engine.execution.progress import Progress
from florilegium.engine.results.dataset import Dataset, open_dataset
from florilegium.engine.results.manifest import Manifest
from florilegium.engine.storage.folder import Folder
from florilegium.engine.storage.lease import writing
from florilegium.pipelines import build
from florilegium.pipelines.dataset.lineage import read_lineage, round_dataset, round_folder
from florilegium.pipelines.refine import labelling, loop
from florilegium.pipelines.refine.loop import refine
from florilegium.pipelines.refine.quality import Quality
from florilegium.pipelines.refine.scores import score_rounds, score_rules
from florilegium.pipelines.verify.verify import verify_dataset
from florilegium.specialists.florence2.checkpoint import resolve_florence2
from tests.pipelines.refine.conftest import Configure, left


def test_every_round_is_a_dataset_and_the_promoted_one_is_the_output(undisturbed: Path) -> None:
    rounds = read_lineage(Folder(str(undisturbed)))
    assert [one.number for one in rounds] == [0, 1]
    for folder in (round_folder(Folder(str(undisturbed)), 0), Folder(str(undisturbed))):
        assert list(verify_dataset(folder)) == []
    best = max(one.number for one in rounds if one.is_promoted)
    promoted = round_dataset(Folder(str(undisturbed)), best)
    assert list(Dataset.of(promoted)) == list(open_dataset(str(undisturbed)))


def test_the_lineage_names_students_by_digest_and_the_audited_samples(undisturbed: Path) -> None:
    first, second = read_lineage(Folder(str(undisturbed)))
    assert first.parent == -1
    assert not first.students
    assert second.parent == 0
    assert [student.fold for student in second.students] == [0, 1]
    assert second.students[0].digest != second.students[1].digest
    assert len(second.audited) == 12
    assert second.measured_by == "truth"
    assert set(second.quality) == {"boxes"}


def test_labels_name_all_their_voters_and_carry_a_probability(undisturbed: Path) -> None:
    boxes = [one for sample in open_dataset(str(undisturbed)) for one in sample.annotations]
    assert boxes
    assert {one.specialist for one in boxes} == {"boxes"}
    assert all(one.merged_from and one.confidence is not None for one in boxes)


def test_a_student_labels_samples_it_was_not_trained_on_and_stamps_its_round(
    undisturbed: Path,
) -> None:
    manifest = json.loads((undisturbed / "rounds/1/manifest.json").read_text())
    student = next(stage for stage in manifest["stages"].values() if stage["name"] == "student")
    assert student["config"]["round"] == 1
    assert student["model"] == "fold_0, fold_1"
    for fold in (0, 1):
        training = json.loads(
            (undisturbed / f"rounds/1/students/fold_{fold}/training.json").read_text()
        )
        assert training["examples"]["object_detection"] < 24


def test_a_student_is_fine_tuned_on_a_share_and_labels_everything(
    configure: Configure, tmp_path: Path
) -> None:
    student = {"tasks": ["object_detection"], "max_new_tokens": 16}
    tuning = {"tasks": {"object_detection": 1}, "sample_share": 0.5, "steps": 1}
    output = tmp_path / "out"
    config = configure(
        output,
        folds=1,
        students={"student": student, "tuned": student},
        fine_tune={"tuned": tuning},
    )
    own, tuned = refine(config)[1].students
    assert [(one.name, one.steps) for one in (own, tuned)] == [("", 2), ("tuned", 1)]
    assert own.digest != tuned.digest
    trainings = {
        name: json.loads((output / f"rounds/1/students/{name}/training.json").read_text())
        for name in ("fold_0", "fold_0_tuned")
    }
    start = resolve_florence2(str(output / "rounds/1/students/fold_0"), "")
    assert trainings["fold_0_tuned"]["inputs"]["model"] == start.digest
    samples = list(open_dataset(str(output / "rounds/1")))
    share = [one for one in samples if is_in_share(one.sha256, 0.5)]
    assert 0 < len(share) < len(samples)
    assert trainings["fold_0_tuned"]["inputs"]["config"]["sample_share"] == 0.5
    manifest = json.loads((output / "rounds/1/manifest.json").read_text())
    models = {stage["name"]: stage.get("model") for stage in manifest["stages"].values()}
    assert (models["student"], models["tuned"]) == ("fold_0", "fold_0_tuned")
    assert read_lineage(Folder(str(output)))[1].students == (own, tuned)
    assert list(verify_dataset(Folder(str(output)))) == []
    (output / "rounds/1/students/fold_0_tuned/model.safetensors").write_bytes(b"other")
    assert any("fold_0_tuned" in problem for problem in verify_dataset(Folder(str(output))))


class Stopped(BaseException):
    """The process is taken away."""


STOPS: tuple[tuple[Any, str, int], ...] = (
    (labelling, "_build", 1),  # after the specialists have predicted
    (loop, "train", 2),  # between two students
    (loop, "measure", 2),  # before the gate
    (loop, "put_in_place", 1),  # before the promotion
)
"""Where a loop is stopped, as it comes there: at which call of a function of a module."""


def test_a_loop_that_is_killed_at_every_step_gives_the_same_result(
    configure: Configure, undisturbed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "out"
    for module, name, calls in STOPS:
        with monkeypatch.context() as patch:
            patch.setattr(module, name, stopping(getattr(module, name), calls))
            with pytest.raises(Stopped):
                refine(configure(output))
    refine(configure(output))
    assert left(output) == left(undisturbed)


def stopping(real: Callable[..., Any], at: int) -> Callable[..., Any]:
    """Return a function that takes the process away at its `at`-th call."""
    calls = itertools.count(1)

    def call(*args: Any, **kwargs: Any) -> Any:
        if next(calls) == at:
            raise Stopped
        return real(*args, **kwargs)

    return call


def test_finished_work_is_not_repeated(
    configure: Configure, undisturbed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from florilegium.pipelines.shape_world.specialists.detectors import ShapesColour
    from florilegium.specialists.florence2.specialist import Florence2

    def forbidden(*_: Any) -> Any:
        raise AssertionError("asked again")

    before = left(undisturbed)
    monkeypatch.setattr(Florence2, "predict", forbidden)
    monkeypatch.setattr(ShapesColour, "predict", forbidden)
    refine(configure(undisturbed))
    assert left(undisturbed) == before


@pytest.fixture
def undecided(undisturbed: Path, tmp_path: Path) -> Path:
    """An output whose students are trained and whose samples are labelled: what was decided about
    the rounds, and the dataset that was promoted, are gone."""
    output = Path(shutil.copytree(undisturbed, tmp_path / "out"))
    for path in (*output.glob("rounds/*/round.json"), output / "refine.json",
                 output / "manifest.json"):  # fmt: skip
        path.unlink()
    shutil.rmtree(output / "shards")
    return output


def test_a_round_that_lowers_quality_stays_on_record_and_is_not_promoted(
    configure: Configure, undecided: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = iter((0.8, 0.7, 0.9))
    monkeypatch.setattr(
        loop, "measure", lambda *_: Quality(measured_by="truth", by_kind={"boxes": next(values)})
    )
    rounds = refine(configure(undecided, rounds=2))
    assert [(one.number, one.is_promoted) for one in rounds] == [(0, True), (1, False)]
    assert rounds[1].reason == ("the mean quality changes by -0.1000, so round 0 stays promoted")
    kept = open_dataset(str(undecided))
    assert list(kept) == list(Dataset.of(round_folder(Folder(str(undecided)), 0)))


def test_a_small_gain_is_promoted_and_ends_the_loop(
    configure: Configure, undecided: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = iter((0.8, 0.801, 0.9))
    monkeypatch.setattr(
        loop, "measure", lambda *_: Quality(measured_by="truth", by_kind={"boxes": next(values)})
    )
    rounds = refine(configure(undecided, rounds=2, margin=0.01))
    assert [(one.number, one.is_promoted) for one in rounds] == [(0, True), (1, True)]


def test_a_build_into_the_folder_of_a_round_locks_it_against_the_loop(
    configure: Configure, tmp_path: Path
) -> None:
    config = configure(tmp_path, rounds=0)
    with (
        writing(round_folder(Folder(str(tmp_path)), 0)),
        pytest.raises(OutputInUse, match="rounds/0"),
    ):
        refine(config)


def test_a_loop_locks_the_round_that_it_labels_against_a_build(
    configure: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused: list[str] = []
    execute = build.execute

    def beside(run: Run, progress: Progress, **options: Any) -> Manifest:
        try:
            with writing(Folder(run.config.output)):
                pytest.fail(f"{run.config.output} has two writers")
        except OutputInUse:
            refused.append(run.config.output)
        return execute(run, progress, **options)

    monkeypatch.setattr(build, "execute", beside)
    refine(configure(tmp_path, rounds=0))
    zero = f"{tmp_path}/rounds/0"
    assert refused == [f"{zero}/candidates/0", zero]


def test_without_an_audit_the_lineage_records_agreement(
    configure: Configure, tmp_path: Path
) -> None:
    rounds = refine(configure(tmp_path / "out", audit="", folds=1))
    assert [one.measured_by for one in rounds] == ["agreement", "agreement"]
    assert all(one.merges["boxes"]["rule"] == "agreement" for one in rounds)
    assert all(0 < one.quality["boxes"] < 1 for one in rounds)


def test_an_audit_file_is_written_once_and_serves_every_round(
    configure: Configure, undisturbed: Path, tmp_path: Path
) -> None:
    candidates = list(open_dataset(f"{undisturbed}/rounds/0/candidates/0"))
    rows = [
        {"id": one.id, "right": (one.score or 0) > 0.6}
        for sample in candidates[:20]
        for one in sample.annotations
    ]
    audit = tmp_path / "audit.jsonl"
    audit.write_text("\n".join(json.dumps(row) for row in rows))
    rounds = refine(configure(tmp_path / "out", audit=str(audit)))
    assert [one.measured_by for one in rounds] == ["audit", "audit"]
    assert all(one.merges["boxes"]["rule"] == "calibrated_fusion" for one in rounds)


def test_an_audit_of_unknown_annotations_is_refused_by_name(
    configure: Configure, tmp_path: Path
) -> None:
    audit = tmp_path / "audit.jsonl"
    audit.write_text('{"id": "beef", "right": true}\n')
    with pytest.raises(ConfigError, match="beef"):
        refine(configure(tmp_path / "out", audit=str(audit)))


def test_photographs_have_no_known_truth(configure: Configure, album: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="truth"):
        refine(configure(tmp_path / "out", keys={"source": str(album)}))


def test_a_checkpoint_that_is_not_there_is_refused_before_anything_starts(
    configure: Configure, tmp_path: Path
) -> None:
    config = configure(tmp_path / "out", train={"model": str(tmp_path / "nothing")})
    with pytest.raises(UsageError, match="nothing"):
        refine(config)
    assert not (tmp_path / "out").exists()


def test_merge_rules_are_scored_beside_each_other(undisturbed: Path) -> None:
    scores = score_rules(Folder(str(undisturbed)))
    assert list(scores) == ["agreement", "calibrated_fusion", "replace", "union"]
    assert scores["union"].boxes.predicted > scores["agreement"].boxes.predicted
    assert scores["replace"].samples == 12
    in_place = score_rounds(Folder(str(undisturbed)))["round 1"].boxes
    assert scores["calibrated_fusion"].boxes == in_place


def test_rules_cannot_be_compared_without_a_student(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="refine it first"):
        score_rules(Folder(str(tmp_path)))

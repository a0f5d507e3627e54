"""How good a round is, in one number for each kind of label."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from florilegium.engine.core.annotation import Annotation
from florilegium.engine.core.errors import ConfigError
from florilegium.engine.results.dataset_sample import DatasetSample
from florilegium.engine.storage.folder import Folder
from florilegium.pipelines.dataset.lineage import round_folder
from florilegium.pipelines.refine import quality
from florilegium.pipelines.refine.audits import FileAuditor, TruthAuditor
from florilegium.pipelines.refine.quality import by_kind, measure
from florilegium.pipelines.shape_world.score.captions import FactScore
from florilegium.pipelines.shape_world.score.measure import score_labels
from florilegium.pipelines.shape_world.score.score import Score
from tests.pipelines.refine.conftest import Configure
from tests.pipelines.refine.rounds import box, refined, text
from tests.pipelines.shape_world.score.labels import labelled, perfect, scene, scored

NOTHING = FactScore(precision=None, recall=None, f1=None)


def test_perfect_labels_have_quality_one() -> None:
    found = by_kind(scored(perfect(scene())))
    assert found == pytest.approx({"boxes": 1, "captions": 1, "masks": 1, "ocr": 1, "phrases": 1})


def test_facts_that_no_caption_could_state_are_not_counted() -> None:
    score = scored(perfect(scene()))
    silent = {task: replace(one, relations=NOTHING) for task, one in score.captions.items()}
    assert by_kind(replace(score, captions=silent))["captions"] == pytest.approx(1)


def test_ocr_on_images_without_text_has_quality_zero() -> None:
    score = scored(perfect(scene()))
    invented = replace(score.ocr, predicted=3, true=0, cer=None)
    assert by_kind(replace(score, ocr=invented))["ocr"] == 0


def test_captions_without_true_facts_are_not_measured() -> None:
    score = scored(perfect(scene()))
    silent = {
        task: replace(one, objects=NOTHING, attributes=NOTHING, relations=NOTHING)
        for task, one in score.captions.items()
    }
    assert by_kind(replace(score, captions=silent))["captions"] is None


def audited(
    monkeypatch: pytest.MonkeyPatch, configure: Configure, tmp_path: Path, *predicted: Annotation
) -> dict[str, float | None]:
    """Measure the labels of one sample by a file that knows of the annotations with an id."""
    path = tmp_path / "audit.jsonl"
    right = {one.id: one.id.startswith("right") for one in predicted if one.id}
    lines = [json.dumps({"id": name, "right": is_right}) for name, is_right in right.items()]
    path.write_text("\n".join(lines))
    auditor = FileAuditor(str(path))
    sample = DatasetSample(
        key="a", sha256="0" * 64, width=64, height=64, annotations=predicted, image=b""
    )
    auditor.review([sample])
    monkeypatch.setattr(quality.Dataset, "of", lambda _: iter([sample]))
    config = configure("out", audit=str(path), measure="audit")
    return measure(config, Folder("nowhere"), auditor).by_kind


def test_a_kind_that_was_not_audited_is_not_measured(
    monkeypatch: pytest.MonkeyPatch, configure: Configure, tmp_path: Path
) -> None:
    star = box("star", 0, 0, 9, 9, id="right-star")
    ring = box("ring", 40, 40, 60, 60, id="wrong-ring")
    caption = text("A star.")
    found = audited(monkeypatch, configure, tmp_path, star, ring, caption)
    assert found == {"boxes": pytest.approx(2 / 3), "captions": None}


def test_a_kind_with_only_wrong_labels_has_quality_zero(
    monkeypatch: pytest.MonkeyPatch, configure: Configure, tmp_path: Path
) -> None:
    ring = box("ring", 40, 40, 60, 60, id="wrong-ring")
    assert audited(monkeypatch, configure, tmp_path, ring) == {"boxes": 0.0}


def agreement(
    monkeypatch: pytest.MonkeyPatch,
    configure: Configure,
    kept: list[Annotation],
    dropped: list[Annotation],
) -> dict[str, float | None]:
    """Measure one sample by the agreement of its voters."""
    monkeypatch.setattr(quality, "_rows", lambda _: iter([(kept, dropped)]))
    config = configure("out", audit="", measure="agreement")
    return measure(config, Folder("nowhere"), None).by_kind


def test_extra_votes_lower_agreement(monkeypatch: pytest.MonkeyPatch, configure: Configure) -> None:
    kept = [box("star", 0, 0, 9, 9, id="m", specialist="boxes", merged_from=("a",))]
    right = box("star", 0, 0, 9, 9, id="a", specialist="one")
    more = box("ring", 40, 40, 60, 60, id="b", specialist="one")
    assert agreement(monkeypatch, configure, kept, [right]) == {"boxes": 1.0}
    assert agreement(monkeypatch, configure, kept, [right, more])["boxes"] == pytest.approx(2 / 3)


def test_merged_annotations_are_not_votes(
    monkeypatch: pytest.MonkeyPatch, configure: Configure
) -> None:
    kept = [box("star", 0, 0, 9, 9, id="m", specialist="boxes", merged_from=("a", "b"))]
    vote = box("ring", 0, 0, 9, 9, id="a", specialist="one")
    echo = box("star", 0, 0, 9, 9, id="u", specialist="unsure", merged_from=("a", "b"))
    assert agreement(monkeypatch, configure, kept, [vote, echo]) == {"boxes": 0.0}


def test_truth_is_measured_on_all_samples_that_were_not_audited(
    monkeypatch: pytest.MonkeyPatch, configure: Configure
) -> None:
    """Of four samples two were audited: their labels are perfect, of the others one in two is."""
    samples = [
        replace(labelled(scene(), perfect(scene()) if key in "abc" else []), key=key)
        for key in "abcd"
    ]
    counted: list[int] = []

    def noted(*args: Any, **options: Any) -> Score:
        score = score_labels(*args, **options)
        counted.append(score.samples)
        return score

    monkeypatch.setattr(quality.Dataset, "of", lambda _: iter(samples))
    monkeypatch.setattr(quality, "truth_of", lambda _: lambda key: scene())
    monkeypatch.setattr(quality, "score_labels", noted)
    auditor = TruthAuditor(lambda _: scene(), 2)
    auditor.review(samples[:2])
    found = measure(configure("out"), Folder("nowhere"), auditor)
    # Of c 4 boxes of 4, of d none of 4: precision 1, recall 1/2.
    assert (found.measured_by, found.by_kind["boxes"]) == ("truth", pytest.approx(2 / 3))
    everything = measure(configure("out"), Folder("nowhere"), TruthAuditor(lambda _: scene(), 2))
    assert everything.by_kind["boxes"] == pytest.approx(6 / 7)
    assert counted == [2, 4]


def test_auditing_all_samples_is_refused(
    monkeypatch: pytest.MonkeyPatch, configure: Configure
) -> None:
    samples = [replace(labelled(scene(), []), key=key) for key in "ab"]
    monkeypatch.setattr(quality.Dataset, "of", lambda _: iter(samples))
    monkeypatch.setattr(quality, "truth_of", lambda _: lambda key: scene())
    auditor = TruthAuditor(lambda _: scene(), 2)
    auditor.review(samples)
    with pytest.raises(ConfigError, match="all 2 samples are audited, and none is left"):
        measure(configure("out"), Folder("nowhere"), auditor)


def test_an_audited_thing_counts_once_and_lowers_recall_if_unlabelled(
    monkeypatch: pytest.MonkeyPatch, configure: Configure, tmp_path: Path
) -> None:
    """Found right: two stars. Kept: one of them twice, a wrong ring, and one that nobody knows."""
    audited = [
        box("star", 0, 0, 20, 10, id="right-1"),
        box("star", 40, 0, 60, 10, id="right-2"),
        box("ring", 0, 40, 20, 50, id="wrong-1"),
    ]
    kept = [
        box("star", 0, 0, 20, 11), box("star", 1, 0, 21, 10), box("ring", 0, 41, 20, 51),
        box("cross", 40, 40, 60, 50),
    ]  # fmt: skip
    path = tmp_path / "audit.jsonl"
    lines = [{"id": one.id, "right": one.id.startswith("right")} for one in audited]
    path.write_text("\n".join(json.dumps(line) for line in lines))
    auditor = FileAuditor(str(path))
    before = DatasetSample(key="a", sha256="0" * 64, width=64, height=64,
                      annotations=tuple(audited), image=b"")  # fmt: skip
    auditor.review([before])
    strange = replace(text("EXIT"), task="ocr", kind="region", box_xyxy=(0.0, 0.0, 9.0, 9.0))
    others = replace(before, key="b", annotations=(strange,))
    samples = [replace(before, annotations=tuple(kept)), others]
    monkeypatch.setattr(quality.Dataset, "of", lambda _: iter(samples))
    found = measure(configure("out", audit=str(path)), Folder("nowhere"), auditor)
    # Right 1 of 3 that are known, and 1 of 2 true: 2 x 1/3 x 1/2 / (1/3 + 1/2).
    assert found.measured_by == "audit"
    assert found.by_kind == {"boxes": pytest.approx(0.4), "ocr": None}, "nobody audited a line"


def test_agreement_compares_each_voter_on_its_own_tasks(
    monkeypatch: pytest.MonkeyPatch, configure: Configure
) -> None:
    kept = [
        box("star", 0, 0, 20, 10, id="m", specialist="boxes", merged_from=("a", "b")),
        box("ring", 40, 0, 60, 10, id="n", specialist="boxes", merged_from=("c",)),
        replace(text("A star."), id="t", specialist="captions"),
    ]
    one = [box("star", 0, 0, 20, 10, id="a", specialist="one")]
    two = [
        box("star", 0, 0, 20, 10, id="b", specialist="two"),
        box("star", 0, 1, 20, 11, id="d", specialist="two"),
        box("cross", 0, 40, 20, 50, id="e", specialist="two"),
    ]
    # Voter one: 1 right of 1 predicted, 2 true; two: 1 of 3 (of one thing once), 2 true.
    # Together 2 of 4 and 2 of 4; no captions.
    found = agreement(monkeypatch, configure, kept, [*one, *two])
    assert found == {"boxes": pytest.approx(0.5)}


def test_captions_of_a_few_images_are_worth_less_than_of_all(
    monkeypatch: pytest.MonkeyPatch, configure: Configure
) -> None:
    vote = replace(text("A star.", "detailed_caption"), id="v", specialist="writer")
    kept = replace(vote, id="m", specialist="captions", merged_from=("v",))
    ring = box("ring", 0, 0, 9, 9, id="r", specialist="boxes")
    config = configure("out", audit="", measure="agreement")
    found = []
    for captioned in (1, 4):
        rows = [([kept, ring], [vote])] * captioned + [([ring], [])] * (4 - captioned)
        monkeypatch.setattr(quality, "_rows", lambda _, rows=rows: iter(rows))
        found.append(measure(config, Folder("nowhere"), None).by_kind["captions"])
    # 1 of 1 predicted and 1 of 4 images, then 4 of 4.
    assert found == [pytest.approx(0.4), 1.0]


def test_kept_and_dropped_labels_are_separated_for_each_sample(tmp_path: Path) -> None:
    labels = {
        "a": [box("bright", 0, 0, 9, 9, score=0.1), box("dark", 0, 0, 9, 9, score=0.9)],
        "c": [box("weak", 0, 0, 9, 9, score=0.2)],
    }
    enough = {"enough": {"use": "tests.stages:BrightEnough", "minimum": 0.5}}
    output = refined(tmp_path, labels, filters=enough)
    rows = [
        tuple([one.label for one in side] for side in sides)
        for sides in quality._rows(round_folder(output, 0))
    ]
    assert rows == [(["dark"], ["bright"]), ([], ["weak"])]


@pytest.mark.parametrize(("cer", "worth"), [(0.25, 0.75), (1.0, 0.0), (3.0, 0.0)])
def test_ocr_quality_is_one_minus_the_character_error_rate(cer: float, worth: float) -> None:
    score = scored(perfect(scene()))
    assert by_kind(replace(score, ocr=replace(score.ocr, cer=cer)))["ocr"] == worth


def test_caption_quality_is_the_mean_f1_of_all_measured_facts() -> None:
    score = scored(perfect(scene()))
    half = FactScore(precision=0.5, recall=0.5, f1=0.5)
    task, first = next(iter(score.captions.items()))
    one = replace(first, objects=half, attributes=NOTHING, relations=replace(half, f1=0.2))
    unsaid = {other: replace(each, predicted=0) for other, each in score.captions.items()}
    assert by_kind(replace(score, captions={**unsaid, task: one}))["captions"] == pytest.approx(
        0.35
    )
    assert "captions" not in by_kind(replace(score, captions=unsaid))

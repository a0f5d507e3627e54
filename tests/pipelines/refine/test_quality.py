"""How good a round is, in one number for each kind of label."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from engine.annotation import Annotation
from engine.storage import Folder
from pipelines.dataset import Labelled
from pipelines.refine import quality
from pipelines.refine.audits import FileAuditor
from pipelines.refine.quality import by_kind, measure
from pipelines.score.captions import FactScore
from tests.pipelines.refine.conftest import Configure
from tests.pipelines.refine.rounds import box, text
from tests.pipelines.score.labels import perfect, scene, scored

NOTHING = FactScore(precision=None, recall=None, f1=None)


def test_labels_without_fault_are_worth_one_each() -> None:
    found = by_kind(scored(perfect(scene())))
    assert found == pytest.approx({"boxes": 1, "captions": 1, "masks": 1, "ocr": 1, "phrases": 1})


def test_what_no_caption_could_tell_costs_nothing() -> None:
    score = scored(perfect(scene()))
    silent = {task: replace(one, relations=NOTHING) for task, one in score.captions.items()}
    assert by_kind(replace(score, captions=silent))["captions"] == pytest.approx(1)


def test_lines_read_where_there_is_no_text_are_worth_nothing() -> None:
    score = scored(perfect(scene()))
    invented = replace(score.ocr, said=3, true=0, cer=None)
    assert by_kind(replace(score, ocr=invented))["ocr"] == 0


def test_captions_without_a_fact_to_tell_are_not_measured() -> None:
    score = scored(perfect(scene()))
    silent = {
        task: replace(one, objects=NOTHING, attributes=NOTHING, relations=NOTHING)
        for task, one in score.captions.items()
    }
    assert by_kind(replace(score, captions=silent))["captions"] is None


def audited(
    monkeypatch: pytest.MonkeyPatch, configure: Configure, tmp_path: Path, *said: Annotation
) -> dict[str, float | None]:
    """Measure the labels of one sample by a file that knows of the annotations with an id."""
    path = tmp_path / "audit.jsonl"
    right = {one.id: one.id.startswith("right") for one in said if one.id}
    lines = [json.dumps({"id": name, "right": is_right}) for name, is_right in right.items()]
    path.write_text("\n".join(lines))
    auditor = FileAuditor(str(path))
    sample = Labelled(key="a", sha256="0" * 64, width=64, height=64, annotations=said, image=b"")
    auditor.look_at([sample])
    monkeypatch.setattr(quality, "read_dataset", lambda _: iter([sample]))
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


def test_a_kind_of_which_all_is_wrong_is_worth_nothing(
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


def test_voters_that_say_more_than_is_kept_agree_less(
    monkeypatch: pytest.MonkeyPatch, configure: Configure
) -> None:
    kept = [box("star", 0, 0, 9, 9, id="m", specialist="boxes", merged_from=("a",))]
    right = box("star", 0, 0, 9, 9, id="a", specialist="one")
    more = box("ring", 40, 40, 60, 60, id="b", specialist="one")
    assert agreement(monkeypatch, configure, kept, [right]) == {"boxes": 1.0}
    assert agreement(monkeypatch, configure, kept, [right, more])["boxes"] == pytest.approx(2 / 3)


def test_who_merges_is_no_voter(monkeypatch: pytest.MonkeyPatch, configure: Configure) -> None:
    kept = [box("star", 0, 0, 9, 9, id="m", specialist="boxes", merged_from=("a", "b"))]
    vote = box("ring", 0, 0, 9, 9, id="a", specialist="one")
    echo = box("star", 0, 0, 9, 9, id="u", specialist="unsure", merged_from=("a", "b"))
    assert agreement(monkeypatch, configure, kept, [vote, echo]) == {"boxes": 0.0}

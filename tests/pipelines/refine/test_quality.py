"""How good a round is, in one number for each kind of label."""

from __future__ import annotations

from dataclasses import replace

import pytest

from engine.annotation import Annotation
from engine.storage import Folder
from pipelines.refine import quality
from pipelines.refine.quality import by_kind, measure
from pipelines.score.captions import FactScore
from tests.pipelines.refine.conftest import Configure
from tests.pipelines.refine.rounds import box
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


def agreement(
    monkeypatch: pytest.MonkeyPatch,
    configure: Configure,
    kept: list[Annotation],
    dropped: list[Annotation],
) -> dict[str, float]:
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

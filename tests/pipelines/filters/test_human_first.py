"""What people say outranks: reasons, and what later filters may not drop."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from florilegium.engine.core.annotation import Annotation
from florilegium.engine.core.errors import PlanError
from florilegium.engine.core.sample import Picture, Sample
from florilegium.engine.storage.folder import Folder
from florilegium.pipelines.corrections.in_force import in_force
from florilegium.pipelines.corrections.store import add_corrections
from florilegium.pipelines.filters.human_first import (
    CORRECTED,
    REJECTED,
    SUPERSEDED,
    HumanFirst,
    HumanFirstConfig,
)
from tests.engine.by_hand import planned
from tests.pipelines.corrections.said import SHA256, said, seen
from tests.pipelines.filters.statements import box, caption, reasons, statements

CHANGE = said("changed", seen("a", 0, 0, 20, 20), seen("n", 30, 30, 50, 50))
REJECTION = said("rejected", seen("b", 60, 60, 80, 80, label="dog"))
OWN = tuple(replace(one, specialist="human") for one in in_force([CHANGE]).made)


def judged(tmp_path: Path, said_so: list[Any], rows: list[Annotation], **options: Any) -> Any:
    """Measure and judge rows of the image, as the engine does."""
    add_corrections(Folder(str(tmp_path)), said_so)
    where = str(tmp_path / "corrections")
    judge = HumanFirst(HumanFirstConfig(corrections=where, **options))
    named = [one if one.id else replace(one, id=f"a{row}") for row, one in enumerate(rows)]
    others = tuple(one for one in named if one.specialist != "human")
    sample = Sample(key="cat", width=100, height=100, picture=Picture(b""), sha256=SHA256)
    (found,) = judge.measure([replace(sample, annotations=others)])
    values = {one.annotation_id: one.values for one in found}
    numbers = {
        name: [values.get(one.id, {}).get(name, np.nan) for one in named] for name in judge.measured
    }
    return judge.judge(statements(named, measurements=numbers))


def test_what_people_found_wrong_is_dropped_with_its_reason(tmp_path: Path) -> None:
    rows = [
        seen("a", 0, 0, 20, 20),
        seen("b", 60, 60, 80, 80, label="dog"),
        box(60, 60, 81, 80, label="Dog "),
        box(60, 60, 80, 80),
        *OWN,
        box(31, 30, 50, 50, label="something else"),
        box(0, 0, 19, 20),
        caption("A cat."),
    ]
    verdicts = judged(tmp_path, [CHANGE, REJECTION], rows)
    assert reasons(verdicts) == [
        CORRECTED, REJECTED, REJECTED, "", "", SUPERSEDED, REJECTED, "",
    ]  # fmt: skip
    assert verdicts.merged_from == {4: (0,)}, "what a person's box replaces"
    assert np.flatnonzero(verdicts.is_settled).tolist() == [4]


def test_what_people_confirmed_is_settled_and_no_rival(tmp_path: Path) -> None:
    rows = [seen("c", 30, 30, 50, 50), *OWN, box(30, 30, 50, 50)]
    verdicts = judged(tmp_path, [CHANGE, said("confirmed", seen("c", 30, 30, 50, 50))], rows)
    assert reasons(verdicts) == ["", "", SUPERSEDED]
    assert verdicts.is_settled.tolist() == [True, True, False]
    assert verdicts.confidence[:2].tolist() == [1.0, 1.0]


def test_like_a_right_one_is_not_wrong(tmp_path: Path) -> None:
    """Two overlap, a person rejected one of them: a third one like both is not judged."""
    right, wrong = seen("d", 0, 0, 20, 20), seen("e", 4, 0, 24, 20)
    rows = [right, wrong, box(2, 0, 22, 20)]
    verdicts = judged(tmp_path, [said("confirmed", right), said("rejected", wrong)], rows)
    assert reasons(verdicts) == ["", REJECTED, ""]


def test_a_caption_of_a_person_stands_for_all_of_its_task(tmp_path: Path) -> None:
    text = replace(caption("A cat.", specialist="writer"), id="f" * 16)
    change = said("changed", text, caption("A dog."))
    own = [replace(one, specialist="human") for one in in_force([change]).made]
    tags = [Annotation(kind="text", task="tag", label=label) for label in ("dog", "cat")]
    tag = said("added", None, tags[0], minute=1)
    own += [replace(one, specialist="human") for one in in_force([tag]).made]
    rows = [text, caption("Cats."), caption("A cat sleeps.", "detailed_caption"), *tags, *own]
    assert reasons(judged(tmp_path, [change, tag], rows)) == [
        CORRECTED, SUPERSEDED, "", SUPERSEDED, "", "", "",
    ]  # fmt: skip


def test_nothing_is_judged_without_corrections() -> None:
    verdicts = HumanFirst(HumanFirstConfig()).judge(statements([seen("a")]))
    assert not verdicts.is_judged.any()


def test_a_filter_without_the_annotations_of_people_is_refused() -> None:
    with pytest.raises(PlanError, match="names 'human', which is no specialist here"):
        planned(filters={"human_first": {}})

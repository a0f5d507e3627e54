from __future__ import annotations

import pytest

from florilegium.engine.core.annotation import SOURCE, Annotation
from florilegium.engine.core.rank import ranked


def found(name: str, score: float | None, specialist: str = "detector", **rest) -> Annotation:
    return Annotation(
        kind="region", task="object_detection", id=name, score=score, specialist=specialist, **rest
    )


def names(annotations, *known, **options) -> list[str]:
    return [one.id for one in ranked(annotations, known, **options)]


def test_labels_of_the_source_come_first_then_the_highest_scores():
    rows = [
        found("no score", None),
        found("low", 0.2),
        found("human", None, SOURCE),
        found("high", 0.99),
        found("rated human", 0.1, SOURCE),
    ]
    assert names(rows) == ["human", "rated human", "high", "low", "no score"]


def test_scores_alone_decide_where_the_source_is_not_first():
    rows = [found("human", None, SOURCE), found("zero", 0.0), found("high", 0.9)]
    assert names(rows, source_first=False) == ["high", "zero", "human"]


@pytest.mark.parametrize("score", [None, 0.5])
@pytest.mark.parametrize("specialist", [SOURCE, "detector"])
def test_equal_ones_keep_their_order(score, specialist):
    rows = [found(f"{number}", score, specialist) for number in range(40)]
    assert names(rows) == [one.id for one in rows]
    assert names(rows[::-1]) == [one.id for one in rows[::-1]]


def test_what_was_merged_from_a_label_of_the_source_has_its_rank():
    human, high = found("human", None, SOURCE), found("high", 0.9)
    merged = found("merged", None, "boxes", merged_from=("human", "high"))
    assert names([high, merged], human) == ["merged", "high"]
    assert names([high, merged]) == ["high", "merged"], "no label of the source is known"
    other = found("other", None, "boxes", merged_from=("human",), label="own words")
    assert names([high, other], human) == ["high", "other"]


def test_nothing_is_ranked_as_nothing():
    assert ranked([]) == []

"""The questions about a sample: one for each annotation, with all that the answer depends on."""

from __future__ import annotations

from dataclasses import replace

import pytest

from florilegium.engine.core.annotation import Annotation
from florilegium.engine.core.errors import SampleError
from florilegium.engine.core.sample import Picture, Sample
from florilegium.engine.core.stage import Stage
from florilegium.engine.results.questions import Known, Question, divided, questions_of, shown
from tests.engine.by_hand import caption, region
from tests.enriching import AskedConfig, Names, Summary, Texts

BOXES = [region(name, id=name) for name in ("a", "b", "c")]
OF_A = region("of a", id="of a", parent_id="a")
OF_THAT = replace(region("of that", id="of that", parent_id="of a"), task="region_description")
ABOUT_NONE = caption(id="caption")


def stage(kind: type[Stage[AskedConfig]] = Names, **options: int) -> Stage[AskedConfig]:
    return kind(AskedConfig(log="nowhere", **options))


def sample(*annotations: Annotation) -> Sample:
    return Sample(key="k", width=96, height=64, picture=Picture(b""), annotations=annotations)


def text(of: str) -> Annotation:
    return replace(region(f"text of {of}", id=f"text of {of}", parent_id=of),
                   task="region_description")  # fmt: skip


def digests(*annotations: Annotation) -> dict[str, str]:
    """Return the digests of the questions, by the box that each is about."""
    questions = questions_of(stage(), sample(*annotations))
    names = [one.id for one in annotations if one.task == "object_detection"]
    return dict(zip(names, (one.digest for one in questions), strict=True))


def test_each_annotation_is_asked_with_what_descends_from_it() -> None:
    first, second, third = questions_of(stage(), sample(*BOXES, text("a"), OF_THAT, text("b")))
    assert first.ids == {"a", "text of a"}
    assert second.ids == {"b", "text of b"}
    assert third.ids == {"c"}


def test_a_question_is_another_one_when_what_it_shows_is_another() -> None:
    before = digests(*BOXES, text("a"))
    assert len(set(before.values())) == 3
    assert digests(BOXES[0], text("a")) == {"a": before["a"]}, "other boxes do not matter"
    after = digests(*BOXES, text("a"), text("b"))
    assert {name for name in before if before[name] != after[name]} == {"b"}
    context = digests(*BOXES, text("a"), ABOUT_NONE)
    assert set(context.values()).isdisjoint(before.values()), "it is shown with every question"


def test_a_stage_sees_what_it_is_asked_and_what_belongs_to_no_other_question() -> None:
    whole = sample(BOXES[0], text("a"), ABOUT_NONE, BOXES[1], text("b"))
    _, second = questions_of(stage(), whole)
    seen = shown(stage(), whole, [second])
    assert [one.id for one in seen.annotations] == ["caption", "b", "text of b"]


def test_only_chosen_annotations_are_asked_about() -> None:
    scored = [region(name, id=name, score=score) for name, score in (("a", 0.1), ("b", 0.9))]
    (only,) = questions_of(stage(Texts, most=1), sample(*scored))
    assert only.ids == {"b"}


def test_a_stage_that_looks_at_the_whole_sample_has_one_question() -> None:
    (only,) = questions_of(stage(Summary), sample(*BOXES))
    assert only.ids == {"a", "b", "c"}
    (nothing,) = questions_of(stage(Summary), sample())
    assert nothing.digest != only.digest
    assert questions_of(stage(), sample()) == []


def test_an_answer_is_divided_by_what_its_rows_descend_from() -> None:
    questions = [Question(digest=name, ids=frozenset(name)) for name in "abc"]
    rows = [
        region("1", id="x", parent_id="c"),
        region("2", id="y", parent_id="x"),
        region("3", parent_id="a"),
    ]
    parts = divided(stage(), questions, rows)
    assert [[row.label for row in part] for part in parts] == [["3"], [], ["1", "2"]]


@pytest.mark.parametrize("parent", ["", "d", "itself"])
def test_a_row_about_nothing_that_was_asked_is_refused(parent: str) -> None:
    questions = [Question(digest="a", ids=frozenset("a"))]
    with pytest.raises(SampleError, match="answers about the annotations that it is asked about"):
        divided(stage(), questions, [region(id="itself", parent_id=parent)])


def test_what_is_known_is_taken_in_the_order_of_its_questions() -> None:
    known = Known()
    known.add((("a", 2), ("b", 0), ("c", 1)), [1, 2, 3])
    assert known.answers == {"a": [1, 2], "b": [], "c": [3]}
    assert known.asked == {("a", "b", "c")}


@pytest.mark.parametrize(
    ("wanted", "is_enough"),
    [("abc", True), ("ab", True), ("b", False), ("d", False), ("ad", False), ("", True)],
)
def test_answers_without_any_row_are_enough_only_where_they_were_given_together(
    wanted: str, is_enough: bool
) -> None:
    """A stage may fail on a sample in which it finds nothing."""
    known = Known()
    known.add((("a", 2), ("b", 0), ("c", 1)), [1, 2, 3])
    questions = [Question(digest=name, ids=frozenset(name)) for name in wanted]
    assert known.answers_all(questions) == is_enough
    known.add((("b", 0),), [])
    assert known.answers_all([Question(digest="b", ids=frozenset("b"))])

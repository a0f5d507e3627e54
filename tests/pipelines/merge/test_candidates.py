"""The annotations of voters of one image, as columns: rows in their order, numbers by hand."""

from __future__ import annotations

import numpy as np
import pytest

from florilegium.engine.core.annotation import Annotation
from florilegium.engine.core.tasks import DETECTION_TASKS, MASK_TASKS
from florilegium.pipelines.merge.calibration import TaskCalibration
from florilegium.pipelines.merge.candidates import (
    BOX_TASKS,
    FREE_TEXT_TASKS,
    QUERIED_TASKS,
    box_of,
    candidates_of,
    rle,
    words_of,
)
from tests.pipelines.merge.voters import mask_of, voted, worth

SOURCES = [
    voted(10, 20, 90, 40, label=" Ring", specialist="two", score=None, id="a"),
    voted(10, 20, 90, 40, label="star", specialist="stranger", id="b"),
    voted(0, 0, 9, 9, task="region_proposal", specialist="one", id="c"),
    voted(20, 20, 100, 40, label="star", specialist="one", score=0.25, id="d"),
    voted(label="star", specialist="one", id="nowhere"),
    voted(10, 60, 90, 80, label="ring ", specialist="two", score=0.5, id="e"),
]


def test_candidates_are_what_the_voters_said_for_the_task_in_its_order() -> None:
    found = candidates_of(SOURCES, "object_detection", ("one", "two"))
    assert [one.id for one in found.annotations] == ["a", "d", "e"]
    assert (len(found), found.task, found.voters) == (3, "object_detection", ("one", "two"))
    assert found.voter.tolist() == [1, 0, 1]
    assert found.box_xyxy.tolist() == [[10, 20, 90, 40], [20, 20, 100, 40], [10, 60, 90, 80]]
    np.testing.assert_equal(found.score, [np.nan, 0.25, 0.5])
    np.testing.assert_equal(found.trust, [np.nan] * 3)
    assert found.words == ["ring", "star", "ring"]
    assert found.text_id.tolist() == [0, 1, 0]
    assert found.certainty.tolist() == [-1, 0.25, 0.5]
    assert found.subject.tolist() == [0, 0, 0]


def test_trust_is_what_each_voters_own_word_is_worth_and_comes_before_the_score() -> None:
    learned = TaskCalibration(
        voters={"two": worth(slope=1, without_score=-1), "one": worth(slope=2, intercept=1)}
    )
    found = candidates_of(SOURCES, "object_detection", ("one", "two"))
    before = found.overlap
    assert found.certainty.tolist() == [-1, 0.25, 0.5], "without trust the score counts"
    trusted = found.trusted(learned)
    # logit(0.25) = -ln 3: sigmoid(1 - 2 ln 3) = e / (e + 9).
    expected = [1 / (1 + np.e), np.e / (np.e + 9), 0.5]
    assert trusted.trust == pytest.approx(expected)
    assert trusted.certainty == pytest.approx(expected)
    assert trusted.overlap is before, "it does not depend on trust"
    np.testing.assert_equal(found.trusted(None).trust, [np.nan] * 3)


@pytest.mark.parametrize(
    ("task", "kind", "words"),
    [
        ("object_detection", "region", "a label"),
        ("segmentation", "region", "a label"),
        ("ocr", "region", "some text"),
        ("dense_region_caption", "region", "some text"),
        ("phrase_grounding", "phrase", "some text"),
        ("caption", "text", "some text"),
    ],
)
def test_a_name_is_a_label_and_what_is_read_is_a_text(task: str, kind: str, words: str) -> None:
    def named(text: str, label: str) -> str:
        return words_of(Annotation(kind=kind, task=task, text=text, label=label))

    assert named(" Some TEXT\n", "\tA Label ") == words
    assert (named("Only", ""), named("", "Only")) == ("only", "only")


def test_the_tasks_of_each_kind_are_those_of_the_format() -> None:
    assert DETECTION_TASKS == ("object_detection", "open_vocabulary_detection")
    others = ("region_proposal", "dense_region_caption")
    assert (*DETECTION_TASKS, *others) == BOX_TASKS
    assert set(MASK_TASKS) == {"segmentation", "referring_segmentation"}
    assert FREE_TEXT_TASKS == ("ocr", "dense_region_caption")
    assert QUERIED_TASKS == ("open_vocabulary_detection",)


def test_a_box_lies_around_a_quad_or_a_mask_on_an_image_that_is_not_square() -> None:
    quad = (12.0, 5.0, 80.0, 9.0, 78.0, 29.0, 10.0, 25.0)
    assert box_of(Annotation(kind="region", task="ocr", quad=quad)) == (10, 5, 80, 29)
    whole = box_of(Annotation(kind="text", task="caption", text="A cup."))
    np.testing.assert_equal(whole, [np.nan] * 4)
    cut = mask_of(30, 5, 90, 15, size_wh=(100, 20))
    assert box_of(cut) == (30, 5, 90, 15)
    assert box_of(voted(1, 2, 3, 4)) == (1, 2, 3, 4)
    assert rle(cut) == {"size": (20, 100), "counts": cut.mask_rle.counts}
    with pytest.raises(ValueError, match="annotation 'x' has no mask"):
        rle(voted(1, 2, 3, 4, id="x"))


def test_what_has_no_place_is_no_candidate() -> None:
    quad = (0.0, 0.0, 9.0, 0.0, 9.0, 9.0, 0.0, 9.0)
    kept = {
        "caption": Annotation(kind="text", task="caption", text="A cup."),
        "ocr": Annotation(kind="region", task="ocr", text="EXIT", quad=quad),
        "segmentation": mask_of(0, 0, 9, 9, size_wh=(20, 10)),
        "region_proposal": mask_of(0, 0, 9, 9, size_wh=(20, 10), task="region_proposal"),
    }
    left_out = {
        "caption": Annotation(kind="text", task="caption", text=" \n"),
        "ocr": Annotation(kind="region", task="ocr", text="EXIT"),
        "segmentation": voted(0, 0, 9, 9, task="segmentation"),
        "region_proposal": voted(task="region_proposal"),
    }
    for task in kept:
        found = candidates_of([left_out[task], kept[task]], task, ("",))
        assert found.annotations == (kept[task],), task


def test_regions_overlap_by_their_masks_where_they_have_some_else_by_their_boxes() -> None:
    boxes = [voted(0, 0, 40, 10), voted(10, 0, 50, 10)]
    found = candidates_of(boxes, "object_detection", ("",))
    assert found.overlap.tolist() == [[1, pytest.approx(0.6)], [pytest.approx(0.6), 1]]
    # Two halves of one box: their boxes are alike, their masks have nothing in common.
    masks = [
        mask_of(0, 0, 40, 5, size_wh=(60, 20), box_xyxy=(0.0, 0.0, 40.0, 10.0)),
        mask_of(0, 5, 40, 10, size_wh=(60, 20), box_xyxy=(0.0, 0.0, 40.0, 10.0)),
    ]
    assert candidates_of(masks, "segmentation", ("",)).overlap.tolist() == [[1, 0], [0, 1]]


def test_only_what_is_about_the_same_overlaps() -> None:
    def phrase(parent: str, span: tuple[int, int]) -> Annotation:
        return voted(
            0, 0, 9, 9, kind="phrase", task="phrase_grounding", parent_id=parent, span=span
        )

    phrases = [phrase("c", (0, 5)), phrase("d", (0, 5)), phrase("c", (9, 14)), phrase("c", (0, 5))]
    found = candidates_of(phrases, "phrase_grounding", ("",))
    assert found.subject.tolist() == [0, 1, 2, 0]
    assert found.overlap[0].tolist() == [1, 0, 0, 1]
    task = "open_vocabulary_detection"
    asked = [voted(0, 0, 9, 9, label=label, task=task) for label in ("dog", "animal", "Dog")]
    assert candidates_of(asked, task, ("",)).overlap[0].tolist() == [1, 0, 1]


def test_names_are_alike_or_not_and_readings_by_their_letters() -> None:
    names = [voted(0, 0, 9, 9, label=label) for label in ("star", "Star", "stars")]
    found = candidates_of(names, "object_detection", ("",))
    assert found.likeness.tolist() == [[1, 1, 0], [1, 1, 0], [0, 0, 1]]
    lines = [voted(0, 0, 9, 9, text=text, task="ocr") for text in ("STOP", "stops", "ZOO")]
    likeness = candidates_of(lines, "ocr", ("",)).likeness
    assert likeness[0] == pytest.approx([1, 0.8, 0.25])
    assert (likeness == likeness.T).all()

"""What a chosen hypothesis becomes: its place, its words, who stands behind it; by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from florilegium.engine.core.annotation import Annotation, MaskRLE
from florilegium.pipelines.merge.calibration import TaskCalibration
from florilegium.pipelines.merge.candidates import candidates_of
from florilegium.pipelines.merge.hypotheses import hypotheses_of, weights_of
from florilegium.pipelines.merge.statement import majority, repeat, repeated, rounded, statement_of
from florilegium.specialists.regions.likeness import rle
from tests.pipelines.merge.voters import mask_of, voted, worth

WEIGHTS = {"a": 3.0, "b": 1.0, "c": 2.0}
LEARNED = TaskCalibration(
    voters={name: worth(slope=1, weight=weight) for name, weight in WEIGHTS.items()}
)


def statement(*given: Annotation, confidence: float = np.nan, word: str = "") -> Annotation:
    """Merge annotations of one box; of several labels, the statement of one."""
    voters = ("a", "b", "c")
    candidates = candidates_of(given, given[0].task, voters)
    hypotheses = hypotheses_of(candidates, iou=0.2, calibration=LEARNED)
    row = hypotheses.words.tolist().index(word) if word else 0
    return statement_of(hypotheses, row, confidence, weights_of(voters, LEARNED))


def test_all_voters_stand_behind_a_statement_whatever_they_call_it() -> None:
    given = [
        voted(10, 10, 50, 30, label="star", specialist="c", score=0.5, id="1"),
        voted(10, 10, 50, 30, label="ring", specialist="b", score=0.9, id="2"),
        voted(14, 10, 54, 30, label="star", specialist="a", score=0.7, id="3"),
    ]
    one = statement(*given, word="star")
    assert one.merged_from == ("3", "2", "1"), "in the order of the voters"
    assert one.box_xyxy == pytest.approx((12, 10, 52, 30))
    assert one.label == "star"
    assert one.score == pytest.approx(0.6), "of those who call it so"
    assert statement(*given, word="ring").score == pytest.approx(0.9)


def test_the_score_counts_each_by_how_much_it_agrees() -> None:
    def line(text: str, who: str, score: float | None) -> Annotation:
        return voted(0, 0, 40, 10, text=text, task="ocr", specialist=who, score=score)

    one = statement(line("STOP", "a", 0.9), line("STOPS", "b", 0.4), line("STOP", "c", None))
    assert one.score == pytest.approx((0.9 + 0.4 * 0.8) / 1.8)
    assert statement(line("STOP", "a", None), line("ZZZZ", "b", 0.4)).score is None


def test_a_statement_is_that_of_its_leader_but_for_place_score_and_origin() -> None:
    leader = Annotation(
        kind="phrase", task="phrase_grounding", text="a Cup", label="cup", language="en",
        box_xyxy=(10.0, 10.0, 50.0, 30.0), score=0.9, support=0.25, parent_id="caption",
        span=(2, 7), id="1", specialist="a", model="m", revision="r", round=2, stage="s",
    )  # fmt: skip
    other = replace(
        leader, text="a cup", language="fr", score=0.5, support=0.75, id="2", specialist="b"
    )
    assert statement(other, leader, confidence=0.123456) == replace(
        leader, score=pytest.approx(0.7), confidence=0.12346, merged_from=("1", "2"),
        id="", specialist="", model="", revision="", round=0, stage="",
    )  # fmt: skip


def test_who_draws_better_decides_over_pixels() -> None:
    size_wh = (40, 20)
    heavy = mask_of(0, 0, 10, 10, size_wh=size_wh, specialist="a", id="1")
    light = mask_of(0, 0, 20, 10, size_wh=size_wh, specialist="b", id="2")
    other = mask_of(0, 0, 12, 10, size_wh=size_wh, specialist="c", id="3")
    # Of 6: columns 0-9 have all, 10-11 have 3 (a tie), 12-19 have 1.
    one = statement(light, heavy, other)
    assert one.box_xyxy == (0, 0, 12, 10)
    assert one.mask_rle.size == (20, 40)
    assert coco_mask.decode(rle(one)).sum() == 120
    # Without `c` it is 3 of 4 against 1.
    assert statement(light, heavy).box_xyxy == (0, 0, 10, 10)


def pixels(*rows: str) -> dict[str, object]:
    mask = np.array([[cell == "#" for cell in row] for row in rows])
    return coco_mask.encode(np.asfortranarray(mask, dtype=np.uint8))


def test_a_tie_counts_for_a_pixel_and_without_any_the_heaviest_mask_is_taken() -> None:
    left, right, middle = pixels("##.."), pixels("..##"), pixels(".##.")
    assert decoded(majority([left, right], np.array([1.0, 1.0]))) == [[1, 1, 1, 1]]
    assert decoded(majority([left, right], np.array([1.0, 1.1]))) == [[0, 0, 1, 1]]
    assert decoded(majority([left, middle, right], np.array([1.0, 1.0, 1.0]))) == [[0, 1, 1, 0]]
    apart = [pixels("#..."), pixels(".#.."), pixels("..#.")]
    assert decoded(majority(apart, np.array([1.0, 1.0, 1.2]))) == [[0, 0, 1, 0]]


def decoded(mask: MaskRLE) -> list[list[int]]:
    return coco_mask.decode(mask._asdict()).tolist()


def quad(who: str, *corners: float, score: float = 0.8) -> Annotation:
    return Annotation(kind="region", task="ocr", text="STOP", quad=corners, specialist=who,
                      score=score)  # fmt: skip


def test_quads_are_weighted_and_begin_where_the_leader_begins() -> None:
    a = quad("a", 10, 10, 60, 10, 60, 30, 10, 30, score=0.5)
    b = quad("b", 64, 34, 14, 34, 14, 14, 64, 14, score=0.9)
    # b begins at the lower right: the same corners as 14 14, 64 14, 64 34, 14 34.
    assert statement(a, b).quad == pytest.approx((61, 31, 11, 31, 11, 11, 61, 11))
    assert statement(a, replace(b, score=0.1)).quad == pytest.approx(
        (11, 11, 61, 11, 61, 31, 11, 31)
    )


def test_a_leader_without_a_quad_leaves_the_quad_to_the_others() -> None:
    box = voted(10, 10, 60, 30, text="STOP", task="ocr", specialist="a", score=0.9)
    c = quad("c", 10, 10, 60, 10, 60, 30, 10, 30)
    b = quad("b", 63, 13, 63, 33, 13, 33, 13, 13)  # begins a corner later
    assert statement(box, c, b).quad == pytest.approx((61, 11, 61, 31, 11, 31, 11, 11))
    assert statement(box).quad == ()


def test_what_one_voter_says_is_repeated_with_what_its_word_is_worth() -> None:
    given = [
        voted(0, 0, 9, 9, specialist="b", id="1", score=0.3, model="m", stage="s", round=3),
        voted(0, 0, 9, 9, specialist="a", id="2"),
        voted(5, 5, 9, 9, specialist="b", id="3", score=None),
    ]
    learned = TaskCalibration(
        voters={**LEARNED.voters, "b": worth(slope=1, without_score=np.log(3))}
    )
    candidates = candidates_of(given, "object_detection", ("a", "b")).trusted(learned)
    first, second = repeated(candidates, "b")
    assert (first.merged_from, first.confidence, first.score) == (("1",), 0.3, 0.3)
    assert (second.merged_from, second.confidence, second.score) == (("3",), 0.75, None)
    assert (first.id, first.specialist, first.model, first.stage, first.round) == (
        "",
        "",
        "",
        "",
        0,
    )
    unsure = repeat(given[0], merged_from=("x",), confidence=np.nan)
    assert (unsure.confidence, unsure.merged_from) == (None, ("x",))


def test_a_confidence_keeps_five_decimals() -> None:
    assert (rounded(0.123456), rounded(np.float64(2 / 3)), rounded(np.nan)) == (
        0.12346,
        0.66667,
        None,
    )

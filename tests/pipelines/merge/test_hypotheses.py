"""What candidates tell about a thing, as columns: one image that is worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from florilegium.engine.core.annotation import Annotation
from florilegium.pipelines.merge.calibration import TaskCalibration
from florilegium.pipelines.merge.candidates import candidates_of
from florilegium.pipelines.merge.hypotheses import (
    Hypotheses,
    cluster,
    feature_names,
    features,
    hypotheses_of,
    weights_of,
)
from tests.pipelines.merge.voters import voted, worth

VOTERS = ("one", "two")


def test_a_sample_of_which_nobody_says_anything_has_columns_and_no_rows() -> None:
    hypotheses = hypotheses_of(candidates_of([], "object_detection", VOTERS), iou=0.5)
    columns = features(hypotheses, ["star", "ring"], (128, 128))
    assert columns.shape == (0, len(feature_names(VOTERS, ["star", "ring"])))


def test_a_cluster_has_one_candidate_of_each_voter_even_where_one_says_two_words_of_a_box() -> None:
    given = [
        voted(10, 10, 30, 30, label="star", specialist="one", score=0.4),
        voted(10, 10, 30, 30, label="ring", specialist="one", score=0.9),
        voted(10, 10, 30, 30, label="ring", specialist="two", score=0.5),
    ]
    candidates = candidates_of(given, "object_detection", VOTERS)
    assert cluster(candidates, 0.5).tolist() == [1, 0, 0]


def test_a_cluster_gathers_what_overlaps_its_surest_most_from_the_least_overlap_on() -> None:
    given = [
        voted(0, 0, 10, 18, specialist="two", score=0.3),
        voted(0, 0, 10, 12, specialist="two", score=0.2),
        voted(0, 0, 10, 10, specialist="one", score=0.9),
        voted(0, 0, 10, 20, specialist="three", score=0.8),
    ]
    found = candidates_of(given, "object_detection", ("one", "two", "three"))
    # From 20 x 10 on, half of it: IoU 0.5 is enough, and a hair more is not there.
    assert cluster(found, 0.5).tolist() == [1, 0, 0, 0]
    assert cluster(found, 0.500001).tolist() == [1, 0, 0, 1]


CALIBRATION = TaskCalibration(
    voters={
        "c": worth(slope=1, without_score=np.log(3), weight=2),
        "a": worth(slope=1, weight=3),
        "b": worth(slope=1, weight=1),
    }
)
"""A score is worth itself, silence 0.75; one voter draws three times as well as another."""
SOURCES = [
    voted(40, 30, 80, 90, label="ring", specialist="b", score=0.2),
    voted(20, 14, 60, 54, label="ring", specialist="c", score=None),
    voted(60, 40, 80, 80, label="cross", specialist="a", score=0.1),
    voted(24, 10, 64, 50, label="star", specialist="b", score=0.6),
    voted(20, 10, 60, 50, label="star", specialist="a", score=0.8),
]
"""Two see a star where a third sees a ring; one sees a ring further on, and one a cross in that."""
LN4, LN3, LN15 = np.log(4), np.log(3), np.log(1.5)


@pytest.fixture(scope="module")
def known() -> Hypotheses:
    candidates = candidates_of(SOURCES, "object_detection", ("a", "b", "c")).trusted(CALIBRATION)
    return hypotheses_of(candidates, iou=0.5, calibration=CALIBRATION)


def test_every_name_that_is_given_in_a_cluster_is_a_hypothesis(known: Hypotheses) -> None:
    assert len(known) == 4
    assert known.cluster.tolist() == [0, 0, 1, 2]
    assert known.words.tolist() == ["ring", "star", "ring", "cross"]
    assert known.leader.tolist() == [1, 4, 0, 2]
    assert known.member.tolist() == [[4, 3, 1], [4, 3, 1], [-1, 0, -1], [2, -1, -1]]
    assert (known.is_present == (known.member >= 0)).all()
    assert known.likeness.tolist() == [[0, 0, 1], [1, 1, 0], [0, 1, 0], [1, 0, 0]]
    np.testing.assert_equal(
        known.of_members(known.candidates.score),
        [[0.8, 0.6, np.nan]] * 2 + [[np.nan, 0.2, np.nan], [0.1, np.nan, np.nan]],
    )


def test_boxes_lie_nearer_to_who_draws_better(known: Hypotheses) -> None:
    mean = [(20 * 3 + 24 + 20 * 2) / 6, (10 * 3 + 10 + 14 * 2) / 6, 364 / 6, 308 / 6]
    assert known.box_xyxy == pytest.approx(
        np.array([mean, mean, [40, 30, 80, 90], [60, 40, 80, 80]])
    )
    assert weights_of(("b", "c", "a"), CALIBRATION).tolist() == [1, 2, 3]
    assert weights_of(("b", "c"), None).tolist() == [1, 1]


def test_features_are_what_each_voter_says_for_or_against_a_hypothesis(known: Hypotheses) -> None:
    found = features(known, ["ring", "star"], (200, 100))
    names = feature_names(("a", "b", "c"), ["ring", "star"])
    assert found.shape == (4, len(names))
    row = [dict(zip(names, one, strict=True)) for one in found.tolist()]
    sides = (40, np.sqrt(40 * 60), np.sqrt(20 * 40))
    size, tall, small = (np.log(side / np.sqrt(200 * 100) + 1e-3) for side in sides)
    inside = (60 + 4 / 6 - 40) * (51 + 2 / 6 - 30) / 1600

    def expected(**values: float) -> dict[str, float]:
        of_voter = {name.replace("_of_", "/").replace("_by_", "/"): values[name] for name in values}
        return pytest.approx(dict.fromkeys(names, 0.0) | of_voter)

    spread = 1 - (1520.8889 / 1679.1111 + 1417.7778 / 1782.2222 + 1468.4444 / 1731.5556) / 3
    assert row[0] == expected(
        agrees_of_c=1, agrees_logit_of_c=LN3,
        differs_of_a=1, differs_of_b=1, differs_logit_of_a=LN4, differs_logit_of_b=LN15,
        spread=pytest.approx(spread, abs=1e-6), size=size, size_squared=size**2,
        name_of_ring=1, name_of_c_by_ring=1,
    )  # fmt: skip
    assert row[1] == expected(
        agrees_of_a=1, agrees_of_b=1, agrees_logit_of_a=LN4, agrees_logit_of_b=LN15,
        differs_of_c=1, differs_logit_of_c=LN3,
        spread=pytest.approx(spread, abs=1e-6), size=size, size_squared=size**2, votes=1,
        name_of_star=1, name_of_a_by_star=1, name_of_b_by_star=1,
    )  # fmt: skip
    assert row[2] == expected(
        agrees_of_b=1, agrees_logit_of_b=-LN4, size=tall, size_squared=tall**2,
        rival=inside, rival_same=inside, name_of_ring=1, name_of_b_by_ring=1,
    )  # fmt: skip
    assert row[3] == expected(
        agrees_of_a=1, agrees_logit_of_a=-np.log(9), size=small, size_squared=small**2, rival=1,
    )  # fmt: skip


def test_the_columns_stand_in_the_order_of_their_names() -> None:
    assert feature_names(("b", "a"), ["x", "y"]) == (
        "agrees/b", "agrees/a", "agrees_logit/b", "agrees_logit/a",
        "differs/b", "differs/a", "differs_logit/b", "differs_logit/a",
        "spread", "size", "size_squared", "on_edge", "rival", "rival_same", "votes",
        "name/x", "name/y", "name/b/x", "name/b/y", "name/a/x", "name/a/y",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("box_xyxy", "is_on_edge"),
    [
        ((2, 20, 90, 80), 1),  # two pixels are a hundredth of the longer side
        ((2.01, 20, 90, 80), 0),
        ((20, 2, 90, 80), 1),
        ((20, 20, 198, 80), 1),
        ((20, 20, 197.9, 80), 0),
        ((20, 20, 90, 98), 1),
        ((20, 20, 90, 97.9), 0),
    ],
)
def test_a_thing_touches_any_border_of_an_image_that_is_not_square(
    box_xyxy: tuple[float, ...], is_on_edge: int
) -> None:
    given = candidates_of([voted(*box_xyxy, specialist="one")], "object_detection", VOTERS)
    (row,) = features(hypotheses_of(given, iou=0.5), [], (200, 100)).tolist()
    assert dict(zip(feature_names(VOTERS, []), row, strict=True))["on_edge"] == is_on_edge


def test_what_is_about_something_else_is_no_rival() -> None:
    def asked(label: str, score: float) -> Annotation:
        task = "open_vocabulary_detection"
        return voted(0, 0, 40, 40, label=label, task=task, specialist="one", score=score)

    given = candidates_of(
        [asked("dog", 0.9), asked("animal", 0.8), asked("dog", 0.7)],
        "open_vocabulary_detection",
        VOTERS,
    )
    rows = features(hypotheses_of(given, iou=0.5), [], (100, 100))
    rival = feature_names(VOTERS, []).index("rival")
    assert rows[:, rival].tolist() == [0, 0, 1]


def test_a_thing_without_area_is_small_and_not_infinitely_so() -> None:
    given = candidates_of([voted(50, 50, 50, 50, specialist="one")], "object_detection", VOTERS)
    (row,) = features(hypotheses_of(given, iou=0.5), [], (200, 100)).tolist()
    size = dict(zip(feature_names(VOTERS, []), row, strict=True))["size"]
    assert size == pytest.approx(np.log(1e-3 / np.sqrt(200 * 100) + 1e-3))


def test_of_equals_the_one_that_was_said_first_comes_first_however_many_there_are() -> None:
    many = [f"{number}" for number in range(60)]
    apart = [
        voted(0, 20 * place, 9, 20 * place + 9, specialist="one", score=0.9 if place % 3 else 0.5)
        for place in range(60)
    ]
    order = sorted(range(60), key=lambda place: place % 3 == 0)
    found = cluster(candidates_of(apart, "object_detection", VOTERS), 0.5)
    assert np.argsort(found).tolist() == order
    alike = [voted(0, 0, 9, 9, specialist=who, score=0.9) for who in many]
    assert hypotheses_of(candidates_of(alike, "object_detection", many), iou=0.5).leader == [0]
    names = [
        voted(0, 0, 9, 9, label=f"{place // 3}", specialist=who, score=0.9 if place % 3 else 0.5)
        for place, who in enumerate(many)
    ]
    surest = {int(names[place].label): place for place in reversed(order)}
    found = hypotheses_of(candidates_of(names, "object_detection", many), iou=0.5)
    assert {int(found.words[row]): found.leader[row] for row in range(20)} == surest
    # Each of twenty says it three times: the first of the nearest joins, the others are left over.
    close = [
        voted(0, 0, 9, 9 if place % 3 else 6, specialist=many[place // 3], score=0.1)
        for place in range(60)
    ]
    given = candidates_of(
        [*close, voted(0, 0, 9, 9, specialist="99")], "object_detection", [*many, "99"]
    )
    joined = {place // 3: place for place in reversed(order)}
    assert np.flatnonzero(cluster(given, 0.5) == 0).tolist() == sorted([*joined.values(), 60])

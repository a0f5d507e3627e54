from __future__ import annotations

import pytest

from florilegium.engine.core.annotation import SOURCE, Annotation
from florilegium.specialists.regions.places import first_of_place, places

HERE = (0.0, 0.0, 100.0, 100.0)


def region(
    name: str,
    box_xyxy: tuple[float, ...] = HERE,
    task: str = "object_detection",
    label: str = "dog",
    score: float | None = 0.5,
    specialist: str = "detector",
) -> Annotation:
    return Annotation(
        kind="region", task=task, label=label, box_xyxy=box_xyxy, id=name, score=score,
        specialist=specialist,
    )  # fmt: skip


def proposal(name: str, box_xyxy: tuple[float, ...] = HERE, score: float = 0.5) -> Annotation:
    return region(name, box_xyxy, "region_proposal", "", score)


def names(*regions: Annotation, **options) -> list[str]:
    return ["+".join(one.id for one in place) for place in places(regions, **options)]


def test_each_box_of_a_detector_and_its_proposal_are_one_place() -> None:
    away = (200.0, 0.0, 300.0, 100.0)
    found = names(proposal("p"), proposal("q", away), region("a"), region("b", away))
    assert found == ["a+p", "b+q"]


def test_the_region_with_a_name_stands_for_the_place_whatever_the_scores() -> None:
    assert names(proposal("p", score=0.9), region("a", score=0.1)) == ["a+p"]


@pytest.mark.parametrize(
    ("right", "label", "is_one"),
    [(70, "", True), (69, "", False), (70, "Dog ", True), (89, "cat", False), (90, "cat", True)],
)
def test_names_that_differ_need_nearly_the_same_box(right, label, is_one) -> None:
    other = region("o", (0, 0, right, 100), "open_vocabulary_detection", label, 0.4)
    assert names(region("a"), other) == (["a+o"] if is_one else ["a", "o"])


def test_two_regions_of_one_task_are_two_places() -> None:
    assert names(region("a"), region("b"), proposal("p")) == ["a+p", "b"]


def test_places_are_ranked_and_labels_of_the_source_stand_for_theirs() -> None:
    away = (200.0, 0.0, 300.0, 100.0)
    task = "open_vocabulary_detection"
    found = [
        region("high", away, score=0.9),
        region("low", score=0.2),
        region("human", HERE, task, score=None, specialist=SOURCE),
    ]
    assert names(*found) == ["human+low", "high"]
    assert names(*found, source_first=False) == ["high", "low+human"]


def test_a_region_is_of_the_place_that_it_overlaps_most() -> None:
    wide, narrow = region("a", (0, 0, 120, 100), score=0.9), region("b", (0, 0, 101, 100))
    assert names(wide, narrow, proposal("p")) == ["a", "b+p"]


def test_what_is_no_first_of_a_place_makes_no_others_part_of_it() -> None:
    chain = [
        region("a", (0, 0, 100, 100)),
        region("b", (15, 0, 115, 100), "open_vocabulary_detection"),
        region("c", (30, 0, 130, 100), "dense_region_caption"),
    ]
    assert names(*chain) == ["a+b", "c"]
    near = region("c", (16, 0, 116, 100), "dense_region_caption")
    assert names(*chain[:2], near) == ["a+b+c"], "nearest to b, and near enough to a"


def test_nothing_is_no_place() -> None:
    assert places([]) == []
    assert first_of_place([], [], []).tolist() == []

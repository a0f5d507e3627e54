"""Which versions are held back, and why."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from florilegium.pipelines.dataset.refreshed import (
    Drift,
    ImageCounts,
    Refreshed,
    TaskCounts,
    VersionCost,
)
from florilegium.pipelines.refresh.limits import exceeded
from florilegium.pipelines.refresh.options import RefreshLimits

PLAIN = Refreshed(
    outcome="published",
    images=ImageCounts(before=100, after=120, added=30, changed=5, dropped=10, renamed=7),
    annotations={
        "caption": TaskCounts(before=100, after=120, added=20),
        "tag": TaskCounts(before=100, after=180, added=80),
        "ocr": TaskCounts(before=0, after=50, added=50),
    },
    drift={
        "labels/tag": Drift(before=2000, after=2000, new=2000, version=0.02, of_new=0.3),
        "scores/few": Drift(before=2000, after=2000, new=30, version=0.0, of_new=0.9),
    },
    dead_letters={"before": {}, "after": {"not_an_image": 30}},
    spent=VersionCost(money={"a": 1.5, "b": 0.75}),
)


def beyond(**limits: Any) -> list[tuple[str, str, float, float]]:
    found = exceeded(PLAIN, RefreshLimits(**limits))
    return [(one.limit, one.subject, one.value, one.allowed) for one in found]


def test_without_limits_nothing_is_exceeded() -> None:
    assert beyond() == []


@pytest.mark.parametrize(
    ("limit", "value"),
    [
        ("max_dropped_share", 0.1),
        ("max_changed_share", 0.05),
        ("max_dead_letter_share_increase", 0.2),
        ("max_money", 2.25),
    ],
)
def test_a_limit_is_exceeded_by_more_than_it_allows(limit: str, value: float) -> None:
    assert beyond(**{limit: value}) == []
    assert beyond(**{limit: value - 0.01}) == [(limit, "", value, value - 0.01)]


def test_a_version_has_so_many_images_at_least() -> None:
    assert beyond(min_images=120) == []
    assert beyond(min_images=121) == [("min_images", "", 120, 121)]


def test_images_that_were_taken_down_are_not_missed() -> None:
    images = ImageCounts(before=100, after=60, added=0, changed=0, dropped=40, taken_down=40)
    letters = {"before": {"not_an_image": 25}, "after": {"not_an_image": 25, "taken_down": 40}}
    record = replace(PLAIN, images=images, dead_letters=letters)
    limits = RefreshLimits(min_images=100, max_dropped_share=0, max_dead_letter_share_increase=0)
    assert list(exceeded(record, limits)) == []
    record = replace(record, images=replace(images, after=59, dropped=41))
    (first, *_) = exceeded(record, limits)
    assert (first.limit, first.value, first.allowed) == ("min_images", 99, 100)


def test_annotations_are_compared_per_image_and_a_new_task_is_no_change() -> None:
    assert beyond(max_annotation_change=0.5) == []
    assert beyond(max_annotation_change=0.4) == [("max_annotation_change", "tag", 0.5, 0.4)]
    assert beyond(max_annotation_change={"caption": 0.0}) == []
    assert beyond(max_annotation_change={"tag": 0.1}) == [
        ("max_annotation_change", "tag", 0.5, 0.1)
    ]


def test_drift_counts_where_both_sides_have_enough_values() -> None:
    assert beyond(max_drift=0.01) == [("max_drift", "labels/tag", 0.02, 0.01)]
    assert beyond(max_drift_of_new=0.2) == [("max_drift_of_new", "labels/tag", 0.3, 0.2)]
    assert [one[1] for one in beyond(max_drift_of_new=0.2, min_values=30)] == [
        "labels/tag",
        "scores/few",
    ]


def test_every_limit_that_is_exceeded_is_named_with_value_and_limit() -> None:
    found = list(exceeded(PLAIN, RefreshLimits(max_dropped_share=0.0, max_drift=0.0)))
    assert [one.line for one in found] == [
        "max_dropped_share: 0.1, the limit is 0",
        "max_drift of labels/tag: 0.02, the limit is 0",
    ]

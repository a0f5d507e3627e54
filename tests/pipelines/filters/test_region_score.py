from __future__ import annotations

import numpy as np
import pytest
from pycocotools import mask as coco_mask
from pydantic import ValidationError

from florilegium.engine.core.annotation import Annotation, MaskRLE
from florilegium.pipelines.filters.region_score import (
    EXTREME_ASPECT,
    LOW_SCORE,
    LOW_SUPPORT,
    OUTSIDE_IMAGE,
    TOO_LARGE,
    TOO_SMALL,
    RegionLimits,
    RegionScore,
    RegionScoreConfig,
)
from tests.pipelines.filters.statements import box, caption, phrase, reasons, statements


def judged(annotations: list[Annotation], config: RegionScoreConfig | None = None, **options):
    return RegionScore(config or RegionScoreConfig()).judge(statements(annotations, **options))


def limits(task: str = "object_detection", **options) -> RegionScoreConfig:
    return RegionScoreConfig(tasks={task: RegionLimits(**options)})


def test_a_low_score_is_dropped_and_a_score_at_the_limit_stays():
    verdicts = judged(
        [box(0, 0, 50, 50, score=0.39), box(0, 0, 50, 50, score=0.4)], limits(min_score=0.4)
    )
    assert reasons(verdicts) == [LOW_SCORE, ""]


def test_a_specialist_sets_the_lowest_score_before_its_task_does():
    config = RegionScoreConfig(
        tasks={"object_detection": RegionLimits(min_score=0.5)},
        specialists={"shy": 0.1, "loud": 0.8},
    )
    rows = [
        box(0, 0, 50, 50, score=0.3, specialist="shy"),
        box(0, 0, 50, 50, score=0.7, specialist="loud"),
        box(0, 0, 50, 50, score=0.3, specialist="other"),
    ]
    assert reasons(judged(rows, config)) == ["", LOW_SCORE, LOW_SCORE]


@pytest.mark.parametrize("image_wh", [(200, 50), (50, 200)])
def test_shape_and_place_are_measured_on_a_long_image(image_wh):
    width, height = image_wh
    rows = [
        box(0, 0, width / 2, height),
        box(width - 10, height - 10, width + 10, height),  # half of it is seen
        box(10, 5, 20, 45) if height < width else box(5, 10, 45, 20),
    ]
    verdicts = judged(rows, limits(max_aspect=3.9), image_wh=image_wh)
    measured = verdicts.measurements
    assert measured["area"].tolist() == pytest.approx([0.5, 0.01, 0.04])
    assert measured["inside"].tolist() == pytest.approx([1, 0.5, 1])
    first = max(width / 2, height) / min(width / 2, height)
    assert measured["aspect"].tolist() == pytest.approx([first, 2, 4])
    assert reasons(verdicts)[1:] == [OUTSIDE_IMAGE, EXTREME_ASPECT]


def test_each_limit_holds_what_is_just_at_it():
    row = [box(0, 0, 40, 20, score=0.5), box(90, 0, 110, 10, score=0.5)]
    assert reasons(judged(row[:1], limits(min_area=0.08))) == [""]
    assert reasons(judged(row[:1], limits(min_area=0.0801))) == [TOO_SMALL]
    assert reasons(judged(row[:1], limits(max_area=0.08))) == [""]
    assert reasons(judged(row[:1], limits(max_area=0.0799))) == [TOO_LARGE]
    assert reasons(judged(row[:1], limits(max_aspect=2))) == [""]
    assert reasons(judged(row[:1], limits(max_aspect=1.99))) == [EXTREME_ASPECT]
    assert reasons(judged(row[1:], limits(min_inside=0.5))) == [""]
    assert reasons(judged(row[1:], limits(min_inside=0.501))) == [OUTSIDE_IMAGE]


def test_each_task_has_limits_of_its_own():
    rows = [
        box(0, 0, 50, 50, score=0.4),
        box(0, 0, 50, 50, score=0.4, task="ocr", text="exit", label=""),
        phrase(0, 0, 50, 50, text="a cat", span=(0, 5), score=0.1),
    ]
    assert reasons(judged(rows)) == ["", LOW_SCORE, LOW_SCORE]


def test_a_region_without_a_score_is_not_judged_by_score():
    assert reasons(judged([box(0, 0, 50, 50, score=None)], limits(min_score=1.0))) == [""]


def test_box_and_words_of_a_phrase_are_judged_apart():
    scores = ((0.9, 0.29), (0.9, 0.3), (0.29, 0.9), (None, 0.1), (0.9, None))
    rows = [
        phrase(0, 0, 50, 50, text="a cat", span=(0, 5), score=score, support=support)
        for score, support in scores
    ]
    verdicts = judged(rows, limits("phrase_grounding", min_score=0.3, min_support=0.3))
    assert reasons(verdicts) == [LOW_SUPPORT, "", LOW_SCORE, LOW_SUPPORT, ""]


def test_an_unstable_mask_is_dropped_where_a_limit_is_set():
    rows = [
        box(0, 0, 50, 50, task="segmentation", score=0.9, support=support)
        for support in (0.89, 0.9, None)
    ]
    assert reasons(judged(rows, limits("segmentation", min_support=0.9))) == [LOW_SUPPORT, "", ""]
    assert reasons(judged(rows)) == ["", "", ""]


def test_words_of_a_phrase_that_fit_badly_are_dropped_by_default():
    row = phrase(0, 0, 50, 50, text="a cat", span=(0, 5), score=0.9, support=0.24)
    assert reasons(judged([row])) == [LOW_SUPPORT]


@pytest.mark.parametrize(
    ("box_xyxy", "options", "reason"),
    [
        ((0, 0, 5, 5), {"min_area": 0.01}, TOO_SMALL),
        ((0, 0, 10, 10), {"min_area": 0.01}, ""),
        ((0, 0, 100, 99), {"max_area": 0.9}, TOO_LARGE),
        ((0, 0, 90, 100), {"max_area": 0.9}, ""),
        ((0, 0, 90, 3), {"max_aspect": 20}, EXTREME_ASPECT),
        ((0, 0, 3, 90), {"max_aspect": 20}, EXTREME_ASPECT),
        ((0, 0, 60, 3), {"max_aspect": 20}, ""),
        ((60, 0, 140, 50), {"min_inside": 0.6}, OUTSIDE_IMAGE),
        ((60, 0, 140, 50), {"min_inside": 0.5}, ""),
        ((-300, 0, -200, 50), {}, OUTSIDE_IMAGE),
        ((-300, -300, -200, -200), {}, OUTSIDE_IMAGE),
        ((10, 10, 10, 40), {"min_inside": None, "min_area": None}, EXTREME_ASPECT),
        ((0, 0, 1, 1), {"min_area": None}, ""),
    ],
)
def test_a_box_is_judged_by_size_shape_and_place(box_xyxy, options, reason):
    assert reasons(judged([box(*box_xyxy)], limits(**options))) == [reason]


def test_area_counts_only_what_lies_inside_the_image():
    verdicts = judged([box(50, 50, 150, 150)], limits(min_inside=None, min_area=0.3))
    assert verdicts.measurements["area"].tolist() == [0.25]
    assert verdicts.measurements["inside"].tolist() == [0.25]
    assert reasons(verdicts) == [TOO_SMALL]


def test_quads_and_masks_are_judged_by_the_box_around_them():
    pixels = np.zeros((100, 100), dtype=np.uint8, order="F")
    pixels[20:30, 10:60] = 1
    encoded = coco_mask.encode(pixels)
    mask = MaskRLE(tuple(encoded["size"]), encoded["counts"].decode())
    rows = [
        box(task="ocr", text="exit", quad=(10, 20, 60, 20, 60, 30, 10, 30)),
        box(task="segmentation", mask_rle=mask),
        box(),
    ]
    verdicts = judged(rows)
    assert verdicts.measurements["area"].tolist()[:2] == [0.05, 0.05]
    assert verdicts.measurements["aspect"].tolist()[:2] == [5, 5]
    assert np.isnan(verdicts.measurements["area"][2])


def test_rows_that_are_dropped_already_are_not_judged():
    verdicts = judged([box(0, 0, 50, 50, score=0.01)], dropped=[0])
    assert not verdicts.is_judged.any()
    assert reasons(verdicts) == [""]


def test_captions_are_not_judged():
    verdicts = judged([Annotation(kind="text", task="caption", text="A cat.", score=0.01)])
    assert not verdicts.is_judged.any()


def test_a_shard_without_annotations_is_judged():
    assert len(judged([]).reason) == 0


def test_a_config_changes_only_what_it_names():
    config = RegionScoreConfig.model_validate({"tasks": {"ocr": {"min_score": 0.9}}})
    assert config.tasks["ocr"].min_score == 0.9
    assert config.tasks["ocr"].max_aspect is None
    assert config.tasks["object_detection"] == RegionLimits()
    assert RegionScoreConfig.model_validate(config.model_dump()) == config


def test_an_unknown_task_is_refused_with_the_nearest_name():
    with pytest.raises(ValidationError, match="did you mean 'object_detection'"):
        RegionScoreConfig.model_validate({"tasks": {"object_detektion": {}}})


def test_whatever_has_a_number_is_judged_and_nothing_else():
    rows = [
        box(score=0.9),
        box(score=None, support=0.9),
        box(score=0.9, task="region_proposal"),
        box(score=None),
        caption("a cat", score=0.9),
        box(0, 0, 50, 50, score=None),
    ]
    assert judged(rows).is_judged.tolist() == [True, True, True, False, False, True]


def test_what_cannot_be_seen_has_no_area_and_what_has_none_is_not_inside():
    verdicts = judged([box(-300, 0, -200, 50), box(10, 10, 10, 40)], limits())
    assert verdicts.measurements["area"].tolist() == [0, 0]
    assert verdicts.measurements["inside"].tolist() == [0, 0]
    assert verdicts.measurements["aspect"].tolist() == [2, np.inf]

from __future__ import annotations

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from florilegium.engine.core.annotation import SOURCE, Annotation, MaskRLE
from florilegium.pipelines.filters import nms
from florilegium.pipelines.filters.nms import (
    NMS_CONTAINED,
    NMS_DUPLICATE,
    NMS_MERGED,
    NMS_OVERLAP,
    Nms,
    NmsConfig,
    NmsOptions,
)
from tests.pipelines.filters.statements import box, caption, phrase, reasons, statements


def judged(annotations: list[Annotation], config: NmsConfig | None = None, **options):
    return Nms(config or NmsConfig()).judge(statements(annotations, **options))


def options(task: str = "object_detection", **values) -> NmsConfig:
    off = {"iou": None, "containment": None, "agnostic_iou": None}
    return NmsConfig(tasks={task: NmsOptions(**{**off, **values})})


def mask_of(x1: int, y1: int, x2: int, y2: int, hole: bool = False) -> MaskRLE:
    pixels = np.zeros((100, 100), dtype=np.uint8, order="F")
    pixels[y1:y2, x1:x2] = 1
    if hole:
        pixels[y1 + 5 : y2 - 5, x1 + 5 : x2 - 5] = 0
    encoded = coco_mask.encode(pixels)
    return MaskRLE(tuple(encoded["size"]), encoded["counts"].decode())


def test_of_two_boxes_on_one_thing_the_better_scored_one_stays():
    verdicts = judged([box(0, 0, 50, 50, score=0.6), box(0, 0, 50, 48, score=0.8)])
    assert reasons(verdicts) == [NMS_DUPLICATE, ""]
    assert verdicts.measurements["iou"].tolist() == pytest.approx([0.96, 0])


def test_an_overlap_at_the_limit_excludes_and_one_below_does_not():
    rows = [box(0, 0, 10, 10, score=0.9), box(0, 0, 10, 5, score=0.8)]
    assert reasons(judged(rows, options(iou=0.5))) == ["", NMS_DUPLICATE]
    assert reasons(judged(rows, options(iou=0.51))) == ["", ""]


def test_a_dropped_box_excludes_nothing():
    chain = [
        box(0, 0, 40, 10, score=0.9),
        box(15, 0, 55, 10, score=0.8),
        box(30, 0, 70, 10, score=0.7),
    ]
    assert reasons(judged(chain, options(iou=0.4))) == ["", NMS_DUPLICATE, ""]


def test_what_is_excluded_keeps_the_reason_of_the_first_that_excluded_it():
    rows = [
        box(0, 0, 10, 16, label="star", score=0.1),
        box(0, 4, 10, 20, label="star", score=0.8),
        box(0, 0, 10, 10, label="ring", score=0.9),
    ]
    verdicts = judged(rows, options(iou=0.5, agnostic_iou=0.5))
    assert reasons(verdicts) == [NMS_OVERLAP, "", ""]


def test_boxes_of_different_labels_share_a_place_until_an_agnostic_limit_forbids_it():
    rows = [box(0, 0, 50, 50, label="car"), box(0, 0, 50, 47, label="taxi", score=0.5)]
    assert reasons(judged(rows, options(iou=0.5))) == ["", ""]
    assert reasons(judged(rows, options(iou=0.5, agnostic_iou=0.9))) == ["", NMS_OVERLAP]


def test_labels_are_compared_without_case():
    rows = [box(0, 0, 50, 50, label="Cat"), box(0, 0, 50, 50, label="cat ", score=0.5)]
    assert reasons(judged(rows)) == ["", NMS_DUPLICATE]


def test_a_part_inside_a_better_box_of_its_label_is_contained():
    rows = [box(0, 0, 80, 80), box(10, 10, 30, 30, score=0.5), box(60, 60, 99, 99, score=0.5)]
    verdicts = judged(rows)
    assert reasons(verdicts) == ["", NMS_CONTAINED, ""]
    assert verdicts.measurements["containment"][1] == 1


@pytest.mark.parametrize("task", ["region_description", "region_category"])
def test_a_text_of_a_box_inside_another_stays_and_a_second_one_of_the_same_box_does_not(task):
    """The crop of a face is described as that of its man is."""
    man, face = (0, 0, 80, 80), (10, 10, 30, 30)
    words = {"task": task, "label": "", "text": "a man"}
    rows = [
        box(*man, id="man", label="person"),
        box(*face, id="face", label="face"),
        box(*man, parent_id="man", **words),
        box(*face, parent_id="face", score=0.5, **words),
        box(*face, parent_id="face", score=0.4, **words),
    ]
    assert reasons(judged(rows)) == ["", "", "", "", NMS_DUPLICATE]


def test_a_box_without_a_score_contains_nothing_but_still_has_duplicates():
    rows = [
        box(0, 0, 80, 80, score=None),
        box(10, 10, 30, 30, score=None),
        box(0, 0, 80, 79, score=None),
    ]
    assert reasons(judged(rows)) == ["", "", NMS_DUPLICATE]


def test_a_box_around_better_ones_stays():
    rows = [box(0, 0, 80, 80, score=0.5), box(10, 10, 30, 30, score=0.9)]
    assert reasons(judged(rows)) == ["", ""]


def test_a_box_that_another_specialist_confirms_keeps_both_provenances():
    rows = [
        box(0, 0, 50, 50, score=0.7, specialist="first"),
        box(0, 0, 50, 48, score=0.9, specialist="second"),
        box(0, 0, 48, 50, score=0.6, specialist="first"),
        box(0, 0, 49, 50, score=0.5, specialist="third"),
    ]
    verdicts = judged(rows)
    assert reasons(verdicts) == [NMS_MERGED, "", NMS_DUPLICATE, NMS_MERGED]
    assert verdicts.merged_from == {1: (0, 3)}


def test_those_who_confirm_are_named_from_the_surest_on():
    rows = [
        box(0, 0, 50, 50, score=0.9, specialist="first"),
        box(0, 0, 50, 49, score=0.5, specialist="second"),
        box(0, 0, 50, 48, score=0.8, specialist="third"),
        box(0, 0, 50, 47, score=0.6, specialist="second"),
    ]
    verdicts = judged(rows)
    assert reasons(verdicts) == ["", NMS_DUPLICATE, NMS_MERGED, NMS_MERGED]
    assert verdicts.merged_from == {0: (2, 3)}


@pytest.mark.parametrize("block", [1, 2, 3])
def test_a_block_of_which_nothing_is_left_is_passed_over(monkeypatch, block):
    monkeypatch.setattr(nms, "BLOCK", block)
    rows = [box(0, 0, 50, 50 - number, score=0.9 - number / 100) for number in range(8)]
    rows += [box(60, 60, 90, 90, score=0.1), box(60, 60, 90, 89, score=0.05)]
    wanted = ["", *[NMS_DUPLICATE] * 7, "", NMS_DUPLICATE]
    assert reasons(judged(rows)) == wanted


def test_only_the_same_label_confirms():
    rows = [box(0, 0, 50, 50), box(0, 0, 50, 50, label="lynx", score=0.5, specialist="second")]
    verdicts = judged(rows, options(iou=0.5, agnostic_iou=0.9))
    assert reasons(verdicts) == ["", NMS_OVERLAP]
    assert verdicts.merged_from == {}


def test_boxes_without_a_score_rank_last_and_ties_go_to_the_one_said_first():
    rows = [
        box(0, 0, 50, 50, score=None),
        box(0, 0, 50, 49, score=0.1),
        box(0, 0, 50, 48, score=0.1),
    ]
    assert reasons(judged(rows)) == [NMS_DUPLICATE, "", NMS_DUPLICATE]


def test_a_score_of_0_is_better_than_none():
    rows = [box(0, 0, 50, 50, score=None), box(0, 0, 50, 49, score=0.0)]
    assert reasons(judged(rows)) == [NMS_DUPLICATE, ""]


def test_ties_go_to_the_one_said_first_however_many_there_are():
    rows = [box(0, 0, 50, 50, score=0.9 if row % 3 else 0.5) for row in range(60)]
    two = [box(60, 60, 90, 90, score=0.5, task="region_proposal") for _ in range(60)]
    mixed = [one for pair in zip(rows, two, strict=True) for one in pair]
    kept = [row for row, reason in enumerate(reasons(judged(mixed))) if not reason]
    assert kept == [1, 2], "the first proposal, and the first of the better boxes"
    others = [box(0, 0, 50, 50, score=row % 3 / 4, specialist=f"{row}") for row in range(60)]
    surest_first = sorted(range(60), key=lambda row: -(row % 3))
    assert judged(others).merged_from == {2: tuple(surest_first[1:])}


def test_images_and_tasks_do_not_mix():
    rows = [box(0, 0, 50, 50), box(0, 0, 50, 50, task="dense_region_caption"), box(0, 0, 50, 50)]
    assert reasons(judged(rows, sample=[0, 0, 1])) == ["", "", ""]


def test_rows_that_are_dropped_already_exclude_nothing():
    verdicts = judged([box(0, 0, 50, 50), box(0, 0, 50, 50, score=0.5)], dropped=[0])
    assert reasons(verdicts) == ["", ""]
    assert verdicts.is_judged.tolist() == [False, True]


def test_phrases_of_one_span_are_duplicates_and_those_of_another_caption_no_rivals():
    here, there = (0, 0, 50, 50), (50, 50, 99, 99)
    rows = [
        caption("A cat and a cat.", id="caption"),
        phrase(*here, text="A cat", span=(0, 5)),
        phrase(*there, text="a cat", span=(10, 15)),
        phrase(*here, text="A cat", span=(0, 5), score=0.5),
        phrase(*here, text="A cat", span=(0, 5), parent_id="other", score=0.5),
        phrase(*here, text="cat", span=(0, 5), label="lynx", score=0.4, specialist="second"),
    ]
    verdicts = judged(rows)
    assert reasons(verdicts) == ["", "", "", NMS_DUPLICATE, "", NMS_MERGED]
    assert verdicts.merged_from == {1: (5,)}


def test_of_two_phrases_of_a_caption_for_one_region_the_better_scored_one_stays():
    rows = [
        caption("A man in a suit.", id="caption"),
        phrase(0, 0, 50, 50, text="A man", span=(0, 5), score=0.6),
        phrase(0, 0, 50, 47, text="a suit", span=(9, 15), score=0.7),
        phrase(0, 0, 50, 40, text="A man in a suit", span=(0, 15), score=0.5),
    ]
    verdicts = judged(rows)
    assert reasons(verdicts) == ["", NMS_OVERLAP, "", ""], "0.94 is the same region, 0.8 is not"
    assert verdicts.measurements["agnostic_iou"][1] == pytest.approx(0.94)
    assert verdicts.merged_from == {}
    assert reasons(judged(rows, options("phrase_grounding", iou=0.6))) == [""] * 4


@pytest.mark.parametrize("is_longer_first", [True, False])
def test_of_two_phrases_with_one_score_the_longer_one_stays(is_longer_first):
    short = phrase(0, 0, 50, 50, text="A dog", span=(0, 5), id="short")
    long = phrase(0, 0, 50, 50, text="A dog in a field", span=(0, 16), id="long")
    rows = [long, short] if is_longer_first else [short, long]
    (kept,) = np.flatnonzero(~judged(rows).is_dropped)
    assert rows[kept].id == "long"


def test_a_label_of_the_source_stays_whatever_the_scores_of_machines():
    rows = [
        box(0, 0, 50, 50, score=0.99, specialist="first"),
        box(0, 0, 50, 49, score=None, specialist=SOURCE),
        box(0, 0, 50, 48, score=0.36, specialist="second"),
        box(0, 0, 50, 50, score=0.9, label="lynx", specialist="second"),
    ]
    verdicts = judged(rows)
    assert reasons(verdicts) == [NMS_MERGED, "", NMS_MERGED, NMS_OVERLAP]
    assert verdicts.merged_from == {1: (0, 2)}
    by_score = NmsConfig(source_first=False)
    assert reasons(judged(rows, by_score)) == ["", NMS_MERGED, NMS_MERGED, NMS_OVERLAP]


def test_a_label_of_the_source_without_a_score_contains_labels_of_machines_only():
    rows = [
        box(0, 0, 80, 80, score=None, specialist=SOURCE),
        box(10, 10, 30, 30, score=None, specialist=SOURCE),
        box(40, 40, 60, 60, score=0.9),
    ]
    assert reasons(judged(rows)) == ["", "", NMS_CONTAINED]
    assert reasons(judged(rows, NmsConfig(source_first=False))) == ["", "", ""]


def test_what_was_merged_from_a_label_of_the_source_has_its_rank():
    label = box(60, 60, 99, 99, score=None, specialist=SOURCE, id="label")
    rows = [
        label,
        box(0, 0, 50, 50, score=0.9, id="found"),
        box(0, 0, 50, 49, score=None, specialist="boxes", merged_from=("label",), id="merged"),
    ]
    assert reasons(judged(rows)) == ["", NMS_MERGED, ""]
    assert reasons(judged(rows, sample=[0, 1, 1])) == ["", "", NMS_MERGED], "of another image"


def test_the_mask_of_a_phrase_does_not_lose_to_the_mask_of_a_detected_box():
    mask = mask_of(0, 0, 50, 50)
    rows = [
        box(0, 0, 50, 50, id="box"),
        phrase(0, 0, 50, 50, text="a cat", span=(0, 5), id="phrase"),
        box(task="segmentation", mask_rle=mask, parent_id="box"),
        box(task="segmentation", mask_rle=mask, parent_id="phrase", score=0.5),
        box(task="segmentation", mask_rle=mask, parent_id="box", score=0.5),
    ]
    assert reasons(judged(rows)) == ["", "", "", "", NMS_DUPLICATE]


def test_the_mask_of_the_first_row_of_all_is_told_by_what_it_was_made_from():
    mask = mask_of(0, 0, 50, 50)
    made = {"task": "segmentation", "mask_rle": mask}
    rows = [box(0, 0, 50, 50, id="box"), box(parent_id="box", **made), box(score=0.5, **made)]
    assert reasons(judged(rows)) == ["", "", ""], "one is a box's, the other nothing's"


def test_the_masks_of_two_tasks_do_not_compete():
    mask = mask_of(0, 0, 50, 50)
    rows = [
        box(0, 0, 50, 50, id="box"),
        box(0, 0, 50, 50, id="proposal", task="region_proposal"),
        box(task="segmentation", mask_rle=mask, parent_id="box"),
        box(task="segmentation", mask_rle=mask, parent_id="proposal", score=0.5),
    ]
    assert reasons(judged(rows)) == [""] * 4


def test_masks_decide_where_both_regions_have_one():
    ring, core = mask_of(0, 0, 60, 60, hole=True), mask_of(6, 6, 54, 54)
    boxes = [(0, 0, 60, 60), (6, 6, 54, 54)]
    with_masks = [
        box(*boxes[0], task="segmentation", mask_rle=ring),
        box(*boxes[1], task="segmentation", mask_rle=core, score=0.5),
    ]
    with_one_mask = [with_masks[0], box(*boxes[1], task="segmentation", score=0.5)]
    assert reasons(judged(with_masks)) == ["", ""]
    assert reasons(judged(with_one_mask)) == ["", NMS_DUPLICATE]


def test_masks_of_different_sizes_do_not_overlap():
    small = MaskRLE(
        (10, 10), coco_mask.encode(np.ones((10, 10), np.uint8, order="F"))["counts"].decode()
    )
    rows = [
        box(task="segmentation", mask_rle=mask_of(0, 0, 10, 10)),
        box(task="segmentation", mask_rle=small, score=0.5),
    ]
    verdicts = judged(rows)
    assert reasons(verdicts) == ["", ""]
    assert verdicts.measurements["iou"].tolist() == [0, 0]


def test_recognised_texts_are_duplicates_when_they_read_the_same():
    text = {"task": "ocr", "label": "", "quad": (0, 0, 50, 0, 50, 10, 0, 10)}
    rows = [
        box(text="EXIT", **text),
        box(text="exit", score=0.8, specialist="second", **text),
        box(text="EX1T", score=0.7, specialist="second", **text),
    ]
    assert reasons(judged(rows)) == ["", NMS_MERGED, NMS_OVERLAP]


def test_regions_without_area_are_kept():
    rows = [box(5, 5, 5, 5), box(5, 5, 5, 5, score=0.5), box(0, 0, 9, 9, score=0.4), box()]
    verdicts = judged(rows)
    assert reasons(verdicts) == [""] * 4
    assert verdicts.is_judged.tolist() == [True, True, True, False]
    assert verdicts.measurements["iou"][:3].tolist() == [0, 0, 0]


def crowd(count: int, seed: int = 0) -> list[Annotation]:
    random = np.random.default_rng(seed)
    corner, size = random.uniform(0, 300, (count, 2)), random.uniform(20, 80, (count, 2))
    return [
        box(
            *np.concatenate([corner[row], corner[row] + size[row]]).tolist(),
            label=f"label {random.integers(3)}",
            score=None if row % 7 == 0 else float(random.uniform()),
            specialist=f"specialist {random.integers(2)}",
        )
        for row in range(count)
    ]


def test_no_two_kept_boxes_exclude_each_other_and_each_dropped_one_is_excluded():
    annotations = crowd(400)
    verdicts = judged(annotations, options(iou=0.5))
    kept = [row for row in range(400) if not verdicts.is_dropped[row]]
    xywh = np.array([annotation.box_xyxy for annotation in annotations])
    xywh[:, 2:] -= xywh[:, :2]
    labels = np.array([annotation.label for annotation in annotations])
    iou = coco_mask.iou(xywh, xywh, [0] * 400) * (labels[:, None] == labels)
    np.fill_diagonal(iou, 0)
    assert 100 < len(kept) < 390
    assert iou[np.ix_(kept, kept)].max() < 0.5
    dropped = np.flatnonzero(verdicts.is_dropped)
    assert (iou[np.ix_(dropped, kept)].max(axis=1) >= 0.5).all()
    assert (verdicts.measurements["iou"] >= 0.5).tolist() == verdicts.is_dropped.tolist()


def test_comparing_in_blocks_changes_nothing(monkeypatch):
    rows = crowd(200)
    whole = judged(rows)
    monkeypatch.setattr(nms, "BLOCK", 7)
    blocks = judged(rows)
    assert reasons(blocks) == reasons(whole)
    assert blocks.merged_from == whole.merged_from
    for name, values in whole.measurements.items():
        assert np.array_equal(blocks.measurements[name], values)


def test_scores_decide_whatever_the_order_of_the_rows():
    rows = [annotation for annotation in crowd(150) if annotation.score is not None]
    forward = judged(rows)
    backward = judged(rows[::-1])
    assert reasons(backward)[::-1] == reasons(forward)
    assert forward.is_dropped.any()


def test_each_rule_drops_for_a_reason_of_its_own():
    rows = [
        box(0, 0, 80, 80, score=0.9, specialist="first"),
        box(0, 0, 80, 79, score=0.8, specialist="first"),
        box(10, 10, 30, 30, score=0.7),
        box(0, 0, 80, 78, score=0.6, label="lynx"),
        box(0, 0, 80, 77, score=0.5, specialist="second"),
    ]
    found = reasons(judged(rows))
    assert found == ["", "nms_duplicate", "nms_contained", "nms_overlap", "nms_merged"]


def test_a_shard_without_annotations_is_judged():
    assert len(judged([]).reason) == 0

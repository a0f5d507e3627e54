"""The text and the position of annotations on the page."""

from __future__ import annotations

from typing import Any

import numpy as np
from pycocotools import mask as coco

from florilegium.engine.core.annotation import ANNOTATION_NAMES, Annotation, MaskRLE
from florilegium.pipelines.report.annotations import ShownAnnotation, shown_annotations
from florilegium.pipelines.report.captions import cut_caption
from florilegium.pipelines.report.drawing import Canvas
from tests.pipelines.report.dataset import box, caption, phrase

CANVAS = Canvas.over((64, 48))


def read(
    *annotations: Annotation, verdicts: list[dict[str, Any]] | None = None
) -> list[ShownAnnotation]:
    found = verdicts or []
    rows = [
        {
            **{name: getattr(one, name) for name in ANNOTATION_NAMES},
            "mask_rle": one.mask_rle._asdict() if one.mask_rle else None,
            "kept": all(verdict["keep"] for verdict in found),
            "verdicts": found,
        }
        for one in annotations
    ]
    return shown_annotations(rows, CANVAS, {})


def verdict(reason: str = "", **measured: float) -> dict[str, Any]:
    numbers = [{"name": name, "value": value} for name, value in measured.items()]
    return {"filter": "nms", "keep": not reason, "reason": reason, "measurement": numbers}


def mask_over(pixels: np.ndarray, **changes: Any) -> Annotation:
    encoded = coco.encode(np.asfortranarray(pixels.astype(np.uint8)))
    rle = MaskRLE(tuple(encoded["size"]), encoded["counts"].decode())
    return box("mask", task="segmentation", mask_rle=rle, **changes)


def test_a_tip_has_score_provenance_and_verdict() -> None:
    annotations = box(model="net", revision="v2", round=1)
    (kept,) = read(annotations, verdicts=[verdict()])
    assert kept.tip.splitlines() == [
        "cat",
        "object detection, score 0.90",
        "detector · net v2 · round\u00a01",
        "kept by nms",
    ]
    (dropped,) = read(annotations, verdicts=[verdict("nms_duplicate", iou=0.83333)])
    assert dropped.tip.endswith("dropped by nms: nms_duplicate (iou 0.833)")


def test_a_missing_score_is_shown_as_none() -> None:
    (shown,) = read(box(score=None))
    assert shown.score == ""
    assert "no score" in shown.tip


def test_a_mask_shares_the_region_id_of_its_box() -> None:
    pixels = np.zeros((48, 64), bool)
    pixels[10:20, 10:30] = True
    mask = mask_over(pixels, parent_id="box", box_xyxy=(10.0, 10.0, 30.0, 20.0))
    first, second, other = read(box(), mask, box("else", box_xyxy=(0.0, 0.0, 5.0, 5.0)))
    assert second.shape is not None
    assert second.shape.form == "mask"
    assert first.region_id == second.region_id != other.region_id


def test_an_empty_mask_falls_back_to_its_box() -> None:
    (shown,) = read(mask_over(np.zeros((48, 64), bool)))
    assert shown.shape is not None
    assert shown.shape.form == "box"


def test_text_in_the_image_is_drawn_as_a_quad_that_no_name_covers() -> None:
    quad = (10.0, 10.0, 50.0, 10.0, 50.0, 14.0, 10.0, 14.0)
    line = box("line", label="", text="SALE", task="ocr", quad=quad, box_xyxy=(10, 10, 50, 14))
    below = box("below", box_xyxy=(10.0, 14.0, 50.0, 40.0))
    read_line, named = read(line, below)
    assert read_line.shape is not None
    assert read_line.shape.form == "quad"
    assert read_line.shape.path == "M100 100l400 0 0 40 -400 0Z"
    assert named.shape is not None
    assert named.shape.chip is not None
    assert named.shape.chip.y >= 140


def test_labels_of_one_region_share_a_corner() -> None:
    named, again = read(box(), phrase("A cat", (0, 5)))
    assert named.shape is not None
    assert again.shape is not None
    assert named.shape.chip is not None
    assert again.shape.chip is not None
    assert (named.shape.chip.x, named.shape.chip.y) == (again.shape.chip.x, again.shape.chip.y)
    assert not again.shape.chip.is_crowded


def test_a_caption_is_split_where_phrases_begin_and_end() -> None:
    text = "A cat on a red chair."
    annotations = (
        caption(text),
        phrase("A cat", (0, 5)),
        phrase("a red chair", (9, 20)),
        phrase("red", (11, 14), box_xyxy=(1.0, 1.0, 5.0, 5.0)),
    )
    shown, *phrases = read(*annotations)
    pieces = cut_caption(shown, phrases).pieces
    assert [piece.text for piece in pieces] == ["A cat", " on ", "a ", "red", " chair", "."]
    assert [len(piece.phrases) for piece in pieces] == [1, 0, 1, 2, 1, 0]
    assert len(pieces[3].region_ids.split()) == 2


def test_overlapping_or_invalid_spans_keep_all_letters() -> None:
    text = "Ein Kätzchen 🐈 schläft."
    spans = [(0, 12), (4, 14), (10, 400), (-3, 2), (9, 3), ()]
    shown, *phrases = read(caption(text), *(phrase("x", span) for span in spans))
    pieces = cut_caption(shown, phrases).pieces
    assert "".join(piece.text for piece in pieces) == text


def test_a_phrase_with_two_regions_is_one_piece_with_two_region_ids() -> None:
    other = phrase("A cat", (0, 5), id="second", box_xyxy=(1.0, 1.0, 5.0, 5.0))
    shown, *phrases = read(caption(), phrase("A cat", (0, 5)), other)
    first, _ = cut_caption(shown, phrases).pieces
    assert first.text == "A cat"
    assert first.region_ids == "p0 p1"

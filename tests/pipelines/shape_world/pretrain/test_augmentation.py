"""Varied drawings keep a truth that fits their pixels."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from florilegium.pipelines.shape_world.pretrain.augmentation import mirrored, varied
from florilegium.pipelines.shape_world.pretrain.batches import DrawingBatches
from florilegium.pipelines.shape_world.pretrain.scenes import Drawing


def _bounds(drawing: Drawing) -> np.ndarray:
    boxes = []
    for place in range(len(drawing.kinds)):
        rows, columns = np.nonzero(drawing.owners == place)
        boxes.append((columns.min(), rows.min(), columns.max() + 1, rows.max() + 1))
    return np.array(boxes)


def test_boxes_stay_those_of_the_visible_pixels(easy: list[Drawing]) -> None:
    rng = np.random.default_rng(0)
    grew = 0
    for drawing, donor in zip(easy, reversed(easy), strict=True):
        variant = varied(drawing, donor, rng)
        np.testing.assert_array_equal(variant.boxes_xyxy, _bounds(variant))
        assert len(drawing.kinds) <= len(variant.kinds) == len(variant.boxes_xyxy) <= 6
        assert variant.pixels.dtype == np.uint8
        grew += len(variant.kinds) > len(drawing.kinds)
    assert grew > 3


def test_a_drawing_with_pasted_things_has_no_caption(easy: list[Drawing]) -> None:
    rng = np.random.default_rng(1)
    variants = [varied(*pair, rng) for pair in zip(easy, reversed(easy), strict=True)]
    for drawing, variant in zip(easy, variants, strict=True):
        assert not variant.captions or len(variant.kinds) == len(drawing.kinds)
    assert any(variant.captions for variant in variants)


def test_mirroring_swaps_left_and_right_in_boxes_and_captions(easy: list[Drawing]) -> None:
    drawing = replace(easy[0], captions={"caption": "A star on the left, a leftover right."})
    mirror = mirrored(drawing)
    assert mirror.captions["caption"] == "A star on the right, a leftover left."
    np.testing.assert_array_equal(mirror.boxes_xyxy, _bounds(mirror))
    twice = mirrored(mirror)
    np.testing.assert_array_equal(twice.pixels, drawing.pixels)
    np.testing.assert_array_equal(twice.boxes_xyxy, drawing.boxes_xyxy)
    assert twice.captions == drawing.captions


def test_batches_are_reproducible_and_use_every_drawing(easy: list[Drawing]) -> None:
    runs = [list(DrawingBatches(easy, size=8, steps=5, seed=seed)) for seed in (1, 1, 2)]
    first, again, other = ([np.stack([p.pixels for p in batch]) for batch in run] for run in runs)
    np.testing.assert_array_equal(first, again)
    assert (first[0] != other[0]).any()
    shown = sorted(tuple(p.kinds[0]) for batch in runs[0] for p in batch)
    assert shown == sorted(tuple(p.kinds[0]) for p in easy)

"""Regions on the canvas: what is drawn is what was annotations."""

from __future__ import annotations

import re

import cv2
import numpy as np
from pycocotools import mask as coco

from florilegium.engine.core.annotation import MaskRLE
from florilegium.pipelines.report.chips import HEIGHT, Rectangle, place_chip
from florilegium.pipelines.report.drawing import Canvas, box_path, mask_path
from florilegium.pipelines.report.palette import _luminance, colour


def encoded(pixels: np.ndarray) -> MaskRLE:
    rle = coco.encode(np.asfortranarray(pixels.astype(np.uint8)))
    return MaskRLE(tuple(rle["size"]), rle["counts"].decode())


def drawn(path: str, canvas: Canvas) -> np.ndarray:
    """Fill a path of `M x y l dx dy ... Z` pieces by the even-odd rule."""
    polygons = []
    for piece in re.findall(r"M([^Z]*)Z", path):
        start, steps = piece.split("l")
        points = np.array([start.split(), *np.reshape(steps.split(), (-1, 2))], int)
        polygons.append(points.cumsum(axis=0).astype(np.int32))
    pixels = np.zeros((canvas.height, canvas.width), np.uint8)
    return cv2.fillPoly(pixels, polygons, 1).astype(bool)


def ring(side: int) -> np.ndarray:
    y, x = np.mgrid[:side, :side]
    radius = np.hypot(y - side / 2, x - side / 2) / side
    return (radius < 0.4) & (radius > 0.15)


def test_a_mask_with_a_hole_is_drawn_with_the_hole() -> None:
    for side in (64, 640, 1500):
        canvas = Canvas.over((side, side))
        path = mask_path(encoded(ring(side)), canvas)
        wanted = cv2.resize(ring(side).astype(np.uint8), (640, 640)).astype(bool)
        found = drawn(path, canvas)
        assert (wanted & found).sum() / (wanted | found).sum() > 0.95
        assert path.count("M") == 2
        assert len(path) < 3000


def test_a_box_is_drawn_to_scale_and_never_outside() -> None:
    canvas = Canvas.over((1280, 960))
    assert box_path(canvas.points((128, 96, 640, 2000))) == "M64 48H320V480H64Z"


def test_an_image_of_extreme_shape_has_a_canvas_that_can_be_seen() -> None:
    assert (Canvas.over((20_000, 3)).width, Canvas.over((20_000, 3)).height) == (640, 24)
    canvas = Canvas.over((1, 1))
    assert canvas.points((0, 0, 1, 1)).tolist() == [[0, 0], [640, 640]]


def test_a_label_avoids_other_labels() -> None:
    canvas = Canvas.over((640, 480))
    region = Rectangle(100, 100, 300, 300)
    first = place_chip("motorcycle", region, canvas, [])
    second = place_chip("moped", region, canvas, [first.rectangle])
    assert (first.x, first.y) == (100, 100 - HEIGHT)
    assert not second.is_crowded
    assert not first.rectangle.overlaps(second.rectangle)


def test_a_label_without_room_is_marked_as_crowded() -> None:
    canvas = Canvas.over((640, 480))
    everything = Rectangle(0, 0, 640, 480)
    assert place_chip("cat", Rectangle(10, 10, 40, 40), canvas, [everything]).is_crowded


def test_names_stay_on_the_canvas() -> None:
    for size_wh in ((640, 480), (20_000, 3), (3, 20_000)):
        canvas = Canvas.over(size_wh)
        corner = Rectangle(canvas.width - 2, canvas.height - 2, canvas.width, canvas.height)
        for region in (Rectangle(0, 0, 1, 1), corner):
            chip = place_chip("m" * 99, region, canvas, [])
            assert chip.x >= 0
            assert 0 <= chip.y <= canvas.height - HEIGHT
            assert chip.text.endswith("…")


def test_names_can_be_read_on_every_colour() -> None:
    for number in range(20):
        both = sorted((_luminance(colour(number).fill), _luminance(colour(number).ink)))
        assert (both[1] + 0.05) / (both[0] + 0.05) >= 4.5

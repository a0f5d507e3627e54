"""The pictures of a trial: what is drawn where, in which colour."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageColor
from pycocotools import mask as coco

from florilegium.engine.core.annotation import Annotation, MaskRLE, to_columns
from florilegium.engine.core.task import GREY
from florilegium.pipelines.report.palette import colour
from florilegium.pipelines.trial.picture import LONGEST, SHORTEST, draw

WHITE = (255, 255, 255)
FIRST, SECOND = (ImageColor.getrgb(colour(number).fill) for number in (0, 1))


def image(width: int, height: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (width, height), "white").save(file, "PNG")
    return file.getvalue()


def row(*, kept: bool = True, **values: Any) -> dict[str, Any]:
    """Return the row of a shard that an annotation becomes."""
    columns = to_columns([Annotation(**values)])
    return {**{name: column.to_pylist()[0] for name, column in columns.items()}, "kept": kept}


def box(*edges: float, label: str = "cat", kept: bool = True) -> dict[str, Any]:
    values = {"kind": "region", "task": "object_detection", "label": label, "box_xyxy": edges}
    return row(kept=kept, **values)


def drawn(*rows: dict[str, Any], size: tuple[int, int] = (640, 480)) -> np.ndarray:
    return np.asarray(draw(image(*size), rows))


def test_a_box_is_outlined_where_it_is() -> None:
    pixels = drawn(box(100, 200, 300, 400))
    assert tuple(pixels[300, 100]) == FIRST
    assert tuple(pixels[400, 200]) == FIRST
    assert tuple(pixels[300, 320]) == WHITE
    assert tuple(pixels[300, 200]) not in (WHITE, FIRST)  # filled a little


def test_boxes_of_one_name_have_one_colour() -> None:
    names = ("cat", "dog", "cat")
    pixels = drawn(*(box(10, top, 300, top + 90, label=name) for top, name in
                     zip((50, 200, 350), names, strict=True)))  # fmt: skip
    assert [tuple(pixels[top + 45, 10]) for top in (50, 200, 350)] == [FIRST, SECOND, FIRST]


def test_what_was_dropped_is_grey() -> None:
    pixels = drawn(box(100, 200, 300, 400, kept=False))
    assert tuple(pixels[300, 100]) == ImageColor.getrgb(GREY)


@pytest.mark.parametrize(
    ("size", "wanted"),
    [
        ((64, 48), (SHORTEST, 480)),
        ((4000, 2000), (LONGEST, 640)),
        ((800, 600), (800, 600)),
    ],
)
def test_small_images_are_enlarged_and_large_ones_reduced(
    size: tuple[int, int], wanted: tuple[int, int]
) -> None:
    pixels = drawn(box(0, 0, size[0] / 2, size[1]), size=size)
    assert pixels.shape[1::-1] == wanted
    assert tuple(pixels[wanted[1] // 2, wanted[0] // 2]) == FIRST  # the right edge of the box


def test_a_mask_is_filled_but_for_its_holes() -> None:
    inside = np.zeros((480, 640), np.uint8, order="F")
    inside[100:400, 100:500] = 1
    inside[200:300, 200:400] = 0
    encoded = coco.encode(inside)
    mask = MaskRLE((480, 640), encoded["counts"].decode())
    pixels = drawn(
        row(kind="region", task="segmentation", label="ring", mask_rle=mask,
            box_xyxy=(100.0, 100.0, 500.0, 400.0))
    )  # fmt: skip
    assert tuple(pixels[250, 150]) not in (WHITE, FIRST)
    assert tuple(pixels[250, 300]) == WHITE


def test_a_quad_is_drawn_with_its_own_corners() -> None:
    quad = (100.0, 100.0, 300.0, 140.0, 300.0, 240.0, 100.0, 200.0)
    pixels = drawn(
        row(kind="region", task="ocr", text="EXIT", quad=quad,
            box_xyxy=(100.0, 100.0, 300.0, 240.0))
    )  # fmt: skip
    assert tuple(pixels[170, 200]) not in (WHITE, FIRST)
    assert tuple(pixels[235, 105]) == WHITE  # in the box, outside of the quad
    assert tuple(pixels[220, 200]) == FIRST  # its lower edge, halfway down


def test_texts_about_the_image_stand_below_it() -> None:
    caption = row(kind="text", task="caption", text="a white wall " * 20)
    plain, written = drawn(), drawn(caption)
    assert plain.shape == (480, 640, 3)
    assert written.shape[0] > 480 + 40  # several lines
    below = written[480:]
    assert (below < 128).any(axis=(1, 2)).sum() > 20
    assert (written[:480] == 255).all()


def test_many_texts_are_cut() -> None:
    caption = row(kind="text", task="caption", text="a white wall")
    heights = [drawn(*[caption] * count).shape[0] for count in (16, 17, 400)]
    assert heights[0] == heights[1] == heights[2]


def test_a_word_wider_than_the_image_is_broken() -> None:
    caption = row(kind="text", task="caption", text="w" * 400)
    pixels = drawn(caption)
    assert pixels.shape[1] == 640
    assert pixels.shape[0] > 480 + 8 * 20  # eight lines or more, none of which is cut
    assert (pixels[480:, -8:] == 255).all()
    endless = row(kind="text", task="caption", text="w" * 100_000)
    assert drawn(endless).shape[0] == drawn(*[endless] * 3).shape[0]


def test_an_image_that_is_a_strip_has_readable_texts() -> None:
    caption = row(kind="text", task="caption", text="a strip of a white wall")
    pixels = drawn(caption, size=(3, 2000))
    assert pixels.shape[1] == SHORTEST // 2
    assert pixels.shape[0] == LONGEST + 20 + 16  # one line


def test_numbers_stand_at_regions_that_have_no_room_for_names() -> None:
    """Of a hundred boxes in one place, not all have a label; none raises."""
    crowd = [box(300, 200, 340, 240, label=f"a cat that has number {n}") for n in range(100)]
    assert drawn(*crowd).shape == (480, 640, 3)

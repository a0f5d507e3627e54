"""Regions as tokens: what is written is read back within half a bin."""

from __future__ import annotations

import numpy as np
import pytest

from florilegium.engine.core.annotation import MaskRLE
from florilegium.pipelines.sequences.patches import ImagePatches, MaskPatches
from florilegium.pipelines.sequences.tokens import (
    box_text,
    image_text,
    mask_text,
    polygons_text,
    quad_text,
    regions_in,
    special_tokens,
    words_of,
)
from florilegium.specialists.regions.window import Window, encoded

SIZE_WH = (640, 427)


def ellipse() -> MaskRLE:
    y, x = np.mgrid[: SIZE_WH[1], : SIZE_WH[0]]
    pixels = ((x - 300) / 120) ** 2 + ((y - 200) / 80) ** 2 <= 1
    return encoded(pixels, Window(0, 0, *SIZE_WH), SIZE_WH[::-1])


def test_boxes_and_quads_come_back_within_half_a_bin() -> None:
    rng = np.random.default_rng(0)
    half = np.array(SIZE_WH) / 2000 + 1e-9
    for _ in range(50):
        quad = rng.uniform(0, 1, (4, 2)) * SIZE_WH
        box = np.concatenate([quad.min(axis=0), quad.max(axis=0)])
        text = f"{box_text(box, SIZE_WH)} a cat {quad_text(quad.ravel(), SIZE_WH)} STOP"
        first, second = regions_in(text, SIZE_WH)
        assert (first.form, first.words, second.form, second.words) == (
            "box", "a cat", "quad", "STOP",
        )  # fmt: skip
        for region, given in ((first, box), (second, quad)):
            difference = np.reshape(region.coordinates, (-1, 2)) - given.reshape(-1, 2)
            assert (np.abs(difference) <= half).all()


def test_a_mask_comes_back_by_codes_and_by_polygons() -> None:
    from pycocotools import mask as coco_mask

    codec, mask = MaskPatches(), ellipse()
    (region,) = regions_in(f"{mask_text(mask, codec)} a ball", SIZE_WH, [codec])
    assert region.mask_rle is not None
    assert region.words == "a ball"
    overlap = coco_mask.iou([region.mask_rle._asdict()], [mask._asdict()], [False])[0, 0]
    assert overlap > 0.97
    (polygon,) = regions_in(polygons_text(mask, corners=40), SIZE_WH)
    drawn = coco_mask.frPyObjects([list(polygon.coordinates)], SIZE_WH[1], SIZE_WH[0])
    assert coco_mask.iou(drawn, [mask._asdict()], [False])[0, 0] > 0.93


def test_an_image_comes_back() -> None:
    codec = ImagePatches()
    pixels = np.full((30, 50, 3), (200, 20, 20), np.uint8)
    (region,) = regions_in(image_text(pixels, codec), (50, 30), [codec])
    assert region.pixels is not None
    assert np.abs(region.pixels.astype(int) - pixels).mean() < 25


@pytest.mark.parametrize(
    "text",
    [
        "a cat",
        "<box><bin_1><bin_2><bin_3></box>",
        "<box><bin_1><bin_2><bin_3><bin_1000></box>",
        "<box><bin_1><bin_2><bin_3><code_4></box>",
        "<box><bin_1><bin_2><bin_3><bin_4></quad>",
        "<mask><bin_1><bin_2><bin_30><bin_40><code_1></mask>",
        "<mask><bin_9><bin_9><bin_1><bin_1>" + "<code_1>" * 64 + "</mask>",
        "<image><code_99999></image>",
        "<image>" + "<code_99999999999999999999>" * 256 + "</image>",
        f"<box><bin_1><bin_2><bin_3><bin_{'4' * 5000}></box>",
    ],
)
def test_what_is_no_whole_region_is_passed_over(text: str) -> None:
    assert list(regions_in(text, SIZE_WH, [MaskPatches(), ImagePatches()])) == []


def test_words_of_an_annotation_are_never_tokens() -> None:
    text = words_of("a <box><bin_1></box> of\n 3 < 4")
    assert "<" not in text
    assert text == "a of 3 4"


def test_every_token_that_is_written_is_among_the_special_ones() -> None:
    import re

    codec = MaskPatches()
    known = set(special_tokens(codec, ImagePatches()))
    assert len(known) == 10 + 1000 + 1024
    written = box_text((0, 0, 640, 427), SIZE_WH) + mask_text(ellipse(), codec)
    assert set(re.findall("<[^>]*>", written)) <= known

"""Codecs: masks and images survive as codes, as far as their code books go."""

from __future__ import annotations

from importlib.resources import files

import numpy as np
import pytest
from PIL import Image

from florilegium.engine.core.errors import ConfigError
from florilegium.pipelines.sequences.codec import find_codec
from florilegium.pipelines.sequences.patches import ImagePatches, MaskPatches
from florilegium.pipelines.sequences.train_patches import masks_of
from florilegium.pipelines.shape_world.drawing import draw
from florilegium.pipelines.shape_world.scene import WorldConfig


def iou(one: np.ndarray, other: np.ndarray) -> float:
    return float((one & other).sum() / (one | other).sum())


def test_masks_of_the_drawn_world_come_back() -> None:
    """Scenes that the code book was not made of."""
    codec = find_codec("mask_patches")
    world = WorldConfig(count=20)
    masks = [mask for number in world.numbers for mask in masks_of(draw(world, number))]
    assert len(masks) > 50
    overlaps = []
    for mask in masks:
        codes = codec.encode(mask)
        assert len(codes) == codec.length == 64
        assert codec.encode(mask) == codes
        overlaps.append(iou(mask, codec.decode(codes, mask.shape[::-1])))
    assert np.mean(overlaps) > 0.97
    assert min(overlaps) > 0.85


@pytest.mark.parametrize("size_wh", [(1, 1), (3, 200), (700, 500)])
def test_a_full_mask_of_any_size_stays_full(size_wh: tuple[int, int]) -> None:
    full = np.ones(size_wh[::-1], bool)
    assert MaskPatches().decode(MaskPatches().encode(full), size_wh).all()


def test_an_image_comes_back_coarsely() -> None:
    codec = ImagePatches()
    with Image.open(str(files("skimage.data") / "coffee.png")) as image:
        pixels = np.asarray(image.convert("RGB"))
    again = codec.decode(codec.encode(pixels), pixels.shape[1::-1])
    assert again.shape == pixels.shape
    assert again.dtype == np.uint8
    error = np.mean(np.square(again.astype(np.float64) - pixels))
    assert 10 * np.log10(255**2 / error) > 18  # decibels; a plain grey image has 11


@pytest.mark.parametrize("codes", [[], [0] * 63, [0] * 65, [512] + [0] * 63, [-1] + [0] * 63])
def test_codes_that_are_no_mask_are_refused(codes: list[int]) -> None:
    with pytest.raises(ValueError, match="code"):
        MaskPatches().decode(codes, (10, 10))


def test_an_unknown_codec_is_named() -> None:
    with pytest.raises(ConfigError, match="mask_patches"):
        find_codec("mask_patch")

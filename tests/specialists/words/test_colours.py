from __future__ import annotations

import numpy as np
import pytest

from florilegium.specialists.words.colours import (
    COLOURS,
    background,
    colour_shares,
    has_colour,
    is_black_and_white,
    own_colours,
)


@pytest.mark.parametrize(
    ("rgb", "name"),
    [
        ((255, 0, 0), "red"),
        ((0, 0, 0), "black"),
        ((255, 255, 255), "white"),
        ((0, 0, 255), "blue"),
        ((255, 255, 0), "yellow"),
        ((0, 128, 0), "green"),
        ((135, 206, 235), "light blue"),
        ((139, 69, 19), "brown"),
        ((255, 165, 0), "orange"),
        ((128, 128, 128), "grey"),
        ((255, 192, 203), "pink"),
        ((128, 0, 128), "purple"),
    ],
)
def test_well_known_colours_have_their_names(rgb: tuple[int, int, int], name: str) -> None:
    shares = colour_shares(np.full((10, 3), rgb, np.uint8))
    assert COLOURS[int(shares.argmax())] == name
    assert shares.sum() == pytest.approx(1)


def test_shares_are_those_of_the_pixels() -> None:
    pixels = np.array([[255, 0, 0]] * 3 + [[0, 0, 0]] * 1, np.uint8)
    shares = dict(zip(COLOURS, colour_shares(pixels), strict=True))
    assert shares["red"] == 0.75
    assert shares["black"] == 0.25
    vivid = dict(zip(COLOURS, colour_shares(pixels, vivid=4), strict=True))
    assert vivid["red"] > 0.9
    assert colour_shares(np.zeros((0, 3), np.uint8)).sum() == 0


def test_a_thing_has_the_colour_that_its_surroundings_have_not() -> None:
    image = np.full((100, 100, 3), (110, 110, 110), np.uint8)
    image[30:70, 30:70] = (200, 30, 30)
    boxes = [(0.3, 0.3, 0.7, 0.7), (0.0, 0.0, 0.2, 0.2)]
    assert own_colours(image, boxes) == ["red", ""]


def test_a_background_has_a_colour_when_one_or_two_prevail() -> None:
    image = np.full((100, 100, 3), 255, np.uint8)
    assert background(image, []) == ["white"]
    assert background(image, [(0, 0, 1, 0.9)]) == []
    image[:, ::2] = 0
    assert set(background(image, [])) <= {"white", "black"}
    speckled = np.random.default_rng(0).integers(0, 256, (100, 100, 3), dtype=np.uint8)
    assert background(speckled, []) == []


def test_the_colour_of_a_mask_is_that_of_its_pixels() -> None:
    image = np.full((100, 100, 3), (110, 110, 110), np.uint8)
    image[30:70, 30:70] = (200, 30, 30)
    image[30:34, 30:34] = (45, 85, 190)
    mask = np.zeros((100, 100), dtype=bool)
    mask[30:34, 30:34] = True
    box = (0.3, 0.3, 0.7, 0.7)
    assert own_colours(image, [box], [mask]) == ["blue"]
    assert own_colours(image, [box], [None]) == ["red"]


@pytest.mark.parametrize("noun", ["orange", "blackboard", "white wolf", "Greenhouse"])
def test_nouns_that_tell_a_colour_are_known(noun: str) -> None:
    assert has_colour(noun)
    assert not has_colour("hundred dogs")


def test_a_few_red_pixels_make_a_picture_one_with_colours() -> None:
    image = np.random.default_rng(0).integers(0, 256, (100, 100, 1), dtype=np.uint8).repeat(3, 2)
    assert is_black_and_white(image)
    image[:10, :10] = (200, 30, 30)
    assert not is_black_and_white(image)

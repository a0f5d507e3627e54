from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from florilegium.engine.core.validity import problem_of
from florilegium.specialists.ocr.text_lines import (
    as_read,
    has_area,
    laid_flat,
    line,
    order_by_gaps,
    sizes_of,
)


def upright(left: float, top: float, right: float, bottom: float) -> np.ndarray:
    return np.array([(left, top), (right, top), (right, bottom), (left, bottom)], dtype=float)


@pytest.fixture(scope="module")
def word() -> np.ndarray:
    """A word, black on white, 120 x 40."""
    image = Image.new("RGB", (120, 40), "white")
    ImageDraw.Draw(image).text((10, 0), "Flora", "black", font=ImageFont.load_default(34))
    return np.asarray(image)


def alike(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.corrcoef(one.ravel(), other.ravel())[0, 1])


def test_an_upright_quad_is_cut_out_pixel_by_pixel() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (50, 70, 3), dtype=np.uint8)
    assert (laid_flat(noise, upright(5, 8, 45, 20)) == noise[8:20, 5:45]).all()


def test_a_slanted_quad_is_laid_flat(word: np.ndarray) -> None:
    page = Image.new("RGB", (300, 300), "white")
    page.paste(Image.fromarray(word), (90, 130))
    middle, corners = np.array([150, 150]), upright(90, 130, 210, 170)
    angle = np.deg2rad(25)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    slanted = (corners - middle) @ turn.T + middle
    turned = np.asarray(page.rotate(-25, Image.Resampling.BICUBIC, fillcolor="white"))
    found = laid_flat(turned, slanted)
    assert found.shape == word.shape
    assert alike(found, word) > 0.95


def test_text_that_runs_down_is_laid_upright(word: np.ndarray) -> None:
    page = np.full((200, 100, 3), 255, np.uint8)
    page[30:150, 20:60] = np.rot90(word, k=-1)  # heads of the letters to the right
    (quad,) = as_read(upright(20, 30, 60, 150)[None])
    assert quad[0].tolist() == [60, 30]
    assert (laid_flat(page, quad) == word).all()


def test_only_tall_quads_begin_elsewhere() -> None:
    quads = np.stack([upright(0, 0, 20, 29), upright(0, 0, 20, 30)])
    first, second = as_read(quads)
    assert (first == quads[0]).all()
    assert second[0].tolist() == [20, 0]
    assert sizes_of(np.stack([first, second])).tolist() == [[20, 29], [30, 20]]


def test_a_quad_without_area_or_outside_the_image_is_cut_out_all_the_same() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (20, 20, 3), dtype=np.uint8)
    assert laid_flat(noise, upright(5, 5, 5, 5)).shape == (1, 1, 3)
    assert laid_flat(noise, np.array([(1, 1), (5, 5), (9, 9), (4, 4)])).ndim == 3
    beyond = laid_flat(noise, upright(-5, 0, 10, 10))
    assert beyond.shape == (10, 15, 3)
    assert (beyond[:, :5] == noise[:10, :1]).all()


def test_lines_are_read_row_by_row() -> None:
    rows = [
        upright(200, 10, 300, 30),  # the first row, its right half a little higher
        upright(10, 14, 190, 36),
        upright(10, 50, 80, 70),
        upright(90, 52, 150, 68),
        upright(10, 90, 300, 110),
    ]
    quads = np.stack(rows)
    assert order_by_gaps(quads).tolist() == [1, 0, 2, 3, 4]
    shuffled = np.array([3, 4, 1, 0, 2])
    assert shuffled[order_by_gaps(quads[shuffled])].tolist() == [1, 0, 2, 3, 4]
    assert order_by_gaps(np.zeros((0, 4, 2))).tolist() == []


def test_a_line_has_the_box_around_its_quad() -> None:
    predicted = line("Flora", np.array([(5, 1), (9, 4), (7, 8), (2, 5)]), 0.5, support=0.25)
    assert predicted.box_xyxy == (2, 1, 9, 8)
    assert predicted.quad == (5, 1, 9, 4, 7, 8, 2, 5)
    assert (predicted.score, predicted.support, predicted.text) == (0.5, 0.25, "Flora")
    assert not problem_of(predicted, width=20, height=20)


@pytest.mark.parametrize(
    ("top", "is_one_row"), [(0.0, True), (5.0, True), (5.1, False)], ids=["level", "half", "more"]
)
def test_a_row_goes_on_down_to_half_of_the_lower_line(top: float, is_one_row: bool) -> None:
    """A headline of 40 pixels and a word of 10 beside it, to its left and lower by so much."""
    headline = [(100, 0), (300, 0), (300, 40), (100, 40)]
    word = [(0, 15 + top), (50, 15 + top), (50, 25 + top), (0, 25 + top)]
    order = order_by_gaps(np.array([headline, word], dtype=np.float64))
    assert order.tolist() == ([1, 0] if is_one_row else [0, 1])


def test_a_quad_without_width_or_height_has_no_area() -> None:
    assert has_area(upright(1, 2, 3, 4))
    assert not has_area(upright(1, 2, 1, 4))
    assert not has_area(upright(1, 2, 3, 2))
    assert has_area(np.array([(1, 2), (3, 4), (3, 4), (1, 2)], dtype=float)), "a slanted line"

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis.strategies import integers, sampled_from
from PIL import Image, ImageDraw, ImageFont

from florilegium.engine.core.sample import Sample
from florilegium.specialists.ocr.rapidocr import RapidOcr, RapidOcrConfig, framed
from tests.specialists.conftest import SampleOf


def test_a_printed_page_is_read_line_by_line_from_top_to_bottom(
    rapidocr: RapidOcr, photograph: SampleOf
) -> None:
    [lines] = rapidocr.predict([photograph("page")])
    texts = [line.text for line in lines]
    assert texts[0] == "Region-based segmentation"
    assert "unambiguously as either object or background. Here," in texts
    tops = [line.box_xyxy[1] for line in lines]
    assert tops == sorted(tops)
    assert all(line.score is not None and 0.5 <= line.score <= 1 for line in lines)


def test_a_name_on_a_motorcycle_is_found_where_it_is(
    rapidocr: RapidOcr, photograph: SampleOf
) -> None:
    [[line]] = rapidocr.predict([photograph("motorcycle")])
    assert line.text == "YAMAHA"
    assert line.box_xyxy == pytest.approx((398, 188, 449, 215), abs=4)


def test_a_line_is_said_from_the_least_score_on(rapidocr: RapidOcr, photograph: SampleOf) -> None:
    [[line]] = rapidocr.predict([photograph("motorcycle")])
    assert line.score is not None
    for least, count in ((line.score, 1), (line.score + 1e-9, 0)):
        stage = RapidOcr(RapidOcrConfig(least_score=least))
        stage._reader = rapidocr._reader
        assert len(stage.predict([photograph("motorcycle")])[0]) == count


def test_quads_run_clockwise_from_the_top_left_and_boxes_are_their_hulls(
    rapidocr: RapidOcr, photograph: SampleOf
) -> None:
    sample = photograph("page")
    [lines] = rapidocr.predict([sample])
    for line in lines:
        quad = np.array(line.quad).reshape(4, 2)
        edges = np.roll(quad, -1, axis=0) - quad
        assert edges[0][0] > 0
        assert edges[1][1] > 0
        assert edges[2][0] < 0
        assert edges[3][1] < 0
        assert line.box_xyxy == (*quad.min(axis=0), *quad.max(axis=0))
        assert quad.min() >= 0
        assert (quad <= (sample.width, sample.height)).all()


def printed(text: str, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Print a text on white; return the picture and the text's corners, (4, 2), clockwise."""
    font = ImageFont.load_default(size)
    left, top, right, bottom = (round(edge) for edge in font.getbbox(text))
    picture = Image.new("RGB", (right + 90, bottom + 90), "white")
    ImageDraw.Draw(picture).text((50, 40), text, "black", font=font)
    corners = [(left, top), (right, top), (right, bottom), (left, bottom)]
    return np.asarray(picture), np.add(corners, (50, 40))


def turned(pixels: np.ndarray, corners: np.ndarray, degrees: int) -> tuple[np.ndarray, np.ndarray]:
    """Turn a picture clockwise, by any angle, and the corners of its text with it."""
    middle = np.array(pixels.shape[1::-1]) / 2
    picture = Image.fromarray(pixels).rotate(
        -degrees, Image.Resampling.BICUBIC, expand=True, fillcolor="white"
    )
    cosine, sine = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    turn = np.array([(cosine, -sine), (sine, cosine)])
    return np.asarray(picture), (corners - middle) @ turn.T + np.array(picture.size) / 2


WORDS = ("EXIT ONLY", "Open daily", "HOTEL", "Bakery 24", "Florence", "No parking", "CAFE")


@given(text=sampled_from(WORDS), size=integers(24, 48), degrees=sampled_from((0, 90, 180, 270)))
@settings(derandomize=True, max_examples=12, deadline=None)
def test_a_quad_begins_at_the_top_left_of_its_text(
    rapidocr: RapidOcr, drawing: SampleOf, text: str, size: int, degrees: int
) -> None:
    pixels, corners = turned(*printed(text, size), degrees)
    [[line]] = rapidocr.predict([drawing(pixels)])
    assert line.text == text
    # The detector draws its quads a little wide, in proportion to the letters.
    assert np.abs(np.reshape(line.quad, (4, 2)) - corners).max() <= size / 2


@pytest.mark.parametrize("degrees", [20, 60, 115, 160, 200, 250, 300, 340])
def test_a_slanted_text_begins_at_its_own_top_left(
    rapidocr: RapidOcr, drawing: SampleOf, degrees: int
) -> None:
    pixels, corners = turned(*printed("EXIT ONLY", 40), degrees)
    [[line]] = rapidocr.predict([drawing(pixels)])
    assert line.text == "EXIT ONLY"
    assert np.abs(np.reshape(line.quad, (4, 2)) - corners).max() <= 20


def test_a_large_image_is_read_in_its_own_coordinates(
    rapidocr: RapidOcr, photograph: SampleOf, drawing: SampleOf
) -> None:
    page = photograph("page").image
    large = np.full((1200, 2600, 3), 255, np.uint8)
    shown = page.repeat(3, axis=0).repeat(3, axis=1)
    large[500 : 500 + shown.shape[0], 1200 : 1200 + shown.shape[1]] = shown
    [lines] = rapidocr.predict([drawing(large)])
    title = next(line for line in lines if "segmentation" in line.text)
    assert title.box_xyxy == pytest.approx((1210, 525, 2085, 605), abs=25)


def test_images_of_any_shape_are_read_and_say_nothing_when_they_say_nothing(
    rapidocr: RapidOcr, awkward: list[Sample]
) -> None:
    assert rapidocr.predict(awkward) == [[], [], [], []]


def test_a_thin_strip_stays_small_for_the_detector() -> None:
    frame = framed(np.zeros((20_000, 3, 3), np.uint8), long_side=2000)
    assert frame.pixels.shape == (2000, 125, 3)
    back = frame.to_image(np.array([[[62, 0], [63, 0], [63, 2000], [62, 2000]]]), (3, 20_000))
    assert back.tolist() == [[[0, 0], [3, 0], [3, 20_000], [0, 20_000]]]


def test_a_quad_is_clipped_to_the_width_and_the_height_of_its_image() -> None:
    frame = framed(np.zeros((10, 300, 3), np.uint8), long_side=2000)
    assert frame.pixels.shape == (32, 300, 3)
    beyond = np.array([[[-5, 2], [310, 2], [310, 29], [-5, 29]]])
    assert frame.to_image(beyond, (300, 10)).tolist() == [[[0, 0], [300, 0], [300, 10], [0, 10]]]


def test_a_text_that_touches_the_border_ends_there(rapidocr: RapidOcr, drawing: SampleOf) -> None:
    """In a strip the detector sees a black border around the text, and draws its quad into it."""
    pixels, corners = printed("EXIT ONLY", 40)
    top, bottom = int(corners[0, 1]), int(corners[2, 1])
    strip = pixels[top - 1 : bottom + 1].repeat(1, axis=0)
    long = np.full((len(strip), 1200, 3), 255, np.uint8)
    long[:, : strip.shape[1]] = strip
    [[line]] = rapidocr.predict([drawing(long)])
    assert line.text == "EXIT ONLY"
    left, above, right, below = line.box_xyxy
    assert (above, below) == (0, len(strip))
    assert 0 <= left < right < 400
    assert line.box_xyxy == (left, min(line.quad[1::2]), right, max(line.quad[1::2]))


def test_the_reader_gets_blue_green_red() -> None:
    red = np.zeros((64, 64, 3), np.uint8)
    red[..., 0] = 255
    assert framed(red, long_side=64).pixels[0, 0].tolist() == [0, 0, 255]


def test_answers_depend_neither_on_the_batch_nor_on_its_order(
    rapidocr: RapidOcr, photograph: SampleOf
) -> None:
    samples = [photograph("motorcycle"), photograph("page"), photograph("cat")]
    together = rapidocr.predict(samples)
    assert together == [rapidocr.predict([sample])[0] for sample in samples]
    assert together[::-1] == rapidocr.predict(samples[::-1])
    assert rapidocr.predict([]) == []


_LOAD_WITHOUT_NETWORK = """
import socket
def refuse(*arguments):
    raise SystemExit("the network was asked")
socket.socket.connect = socket.getaddrinfo = refuse
from florilegium.specialists.ocr.rapidocr import RapidOcr, RapidOcrConfig
RapidOcr(RapidOcrConfig()).load()
"""


def test_loading_asks_no_network_and_writes_no_log() -> None:
    python = [sys.executable, "-W", "error", "-c", _LOAD_WITHOUT_NETWORK]
    loading = subprocess.run(python, capture_output=True, text=True, check=False)
    assert (loading.returncode, loading.stdout, loading.stderr) == (0, "", "")


def test_the_revision_is_the_release_that_carries_the_models() -> None:
    assert RapidOcr(RapidOcrConfig()).revision().startswith("rapidocr 3.")

"""The verdicts of the quality filters on drawn images whose truth is known."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image, ImageDraw

from florilegium.engine.core.sample import Picture, Sample
from florilegium.engine.core.stage import SampleFilter
from florilegium.pipelines.sample_filters.borders import Borders
from florilegium.pipelines.sample_filters.exposure import Exposure
from florilegium.pipelines.sample_filters.jpeg_quality import JpegQuality
from florilegium.pipelines.sample_filters.screenshot import Screenshot
from florilegium.pipelines.sample_filters.sharpness import Sharpness
from florilegium.pipelines.sample_filters.size import ImageSize
from florilegium.testing import photo, sample, sample_reasons

SCENE = photo(320, 240)
PLAIN = np.full((240, 320, 3), 128, np.uint8)


def of_width(width: int, height: int) -> Sample:
    return replace(sample(SCENE), width=width, height=height)


def exposed(gain: float, offset: float) -> Sample:
    return sample((SCENE * gain + offset).clip(0, 255).astype(np.uint8))


def blurred(sigma: float) -> Sample:
    return sample(cv2.GaussianBlur(SCENE, (0, 0), sigma))


def framed(bars: int, colour: int = 0, *, noise: int = 0, side: int = 0) -> Sample:
    pixels = SCENE.copy()
    strips = [pixels[:bars], pixels[240 - bars :]]
    strips += [pixels[:, :side], pixels[:, 320 - side :]] if side else []
    for strip in strips:
        random = np.random.default_rng(0).integers(0, noise + 1, strip.shape)
        strip[:] = (colour + random).clip(0, 255)
    return sample(pixels)


def thing_on_plain_ground() -> Sample:
    picture = Image.fromarray(np.full((240, 320, 3), 255, np.uint8))
    ImageDraw.Draw(picture).ellipse((90, 60, 230, 180), fill=(30, 90, 160))
    return sample(np.asarray(picture))


def screen(*, is_jpeg: bool = False) -> Sample:
    picture = Image.new("RGB", (320, 240), (245, 245, 245))
    draw = ImageDraw.Draw(picture)
    draw.rectangle((0, 0, 320, 24), fill=(40, 60, 120))
    for row in range(5):
        draw.rectangle((16, 40 + 38 * row, 300, 66 + 38 * row), fill=(255, 255, 255), outline=0)
        draw.text((24, 46 + 38 * row), f"Setting number {row}", fill=(20, 20, 20))
    return as_jpeg(90, np.asarray(picture)) if is_jpeg else sample(np.asarray(picture))


def as_jpeg(quality: int, pixels: np.ndarray = SCENE, **options: Any) -> Sample:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=quality, **options)
    return replace(sample(pixels), picture=Picture(file.getvalue()))


@pytest.mark.parametrize(
    ("stage_class", "one", "reason"),
    [
        (ImageSize, of_width(800, 600), ""),
        (ImageSize, of_width(800, 199), "too_small"),
        (ImageSize, of_width(900, 300), ""),
        (ImageSize, of_width(301, 904), "too_long"),
        (Sharpness, sample(SCENE), ""),
        (Sharpness, blurred(6), "blurred"),
        (Sharpness, sample(photo(1600, 1200)), ""),
        (Exposure, sample(SCENE), ""),
        (Exposure, exposed(0.08, 0), "underexposed"),
        (Exposure, exposed(0.5, 220), "overexposed"),
        (Exposure, exposed(0.05, 120), "no_contrast"),
        (Exposure, sample(PLAIN), "no_contrast"),
        (Borders, sample(SCENE), ""),
        (Borders, framed(20), ""),
        (Borders, framed(40), "framed"),
        (Borders, framed(40, 240, noise=8), "framed"),
        (Borders, framed(20, side=40), "framed"),
        (Borders, framed(40, 100, noise=60), ""),
        (Borders, thing_on_plain_ground(), ""),
        (Borders, sample(PLAIN), "framed"),
        (Screenshot, sample(SCENE), ""),
        (Screenshot, screen(), "screenshot"),
        (Screenshot, screen(is_jpeg=True), "screenshot"),
        (Screenshot, sample(PLAIN), ""),
        (JpegQuality, as_jpeg(90), ""),
        (JpegQuality, as_jpeg(39), "low_jpeg_quality"),
        (JpegQuality, as_jpeg(20, progressive=True), "low_jpeg_quality"),
        (JpegQuality, as_jpeg(20, SCENE[..., 0]), "low_jpeg_quality"),
        (JpegQuality, sample(SCENE), ""),
    ],
)
def test_an_image_is_dropped_for_its_fault_alone(
    stage_class: type[SampleFilter[Any]], one: Sample, reason: str
) -> None:
    assert sample_reasons(stage_class, one) == [reason]


@pytest.mark.parametrize("quality", [1, 10, 35, 50, 75, 92, 100])
def test_the_quality_of_a_jpeg_is_that_it_was_written_with(quality: int) -> None:
    (found,) = JpegQuality(JpegQuality.Config()).measure([as_jpeg(quality)])
    assert found == {"jpeg_quality": quality}


def test_the_share_of_a_frame_is_its_area() -> None:
    (found,) = Borders(Borders.Config()).measure([framed(40)])
    assert found["border_share"] == pytest.approx(80 / 240, abs=0.02)


def test_bars_that_meet_are_the_whole_image() -> None:
    fading = np.linspace(0, 20, 64).astype(np.uint8)[:, None, None]
    (found,) = Borders(Borders.Config()).measure([sample(np.broadcast_to(fading, (64, 64, 3)))])
    assert found["border_share"] == 1


def test_thresholds_are_options() -> None:
    assert sample_reasons(ImageSize, of_width(800, 600), options={"most_pixels": 1000}) == [
        "too_large"
    ]
    assert sample_reasons(Sharpness, blurred(6), options={"least_variance": 0}) == [""]
    assert sample_reasons(Borders, framed(40), options={"most_border_share": 0.5}) == [""]

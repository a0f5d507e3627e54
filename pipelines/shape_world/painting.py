"""Painting operations: backgrounds, clutter, patterns, words, blur and noise.

A canvas is (height, width, 3) float32, RGB in 0..255, painted in place.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

import numpy as np

from florilegium.pipelines.shape_world.shapes import Silhouette

RGB: Mapping[str, np.ndarray] = {
    "red": np.array((214, 36, 40)),
    "orange": np.array((250, 138, 20)),
    "yellow": np.array((250, 216, 40)),
    "green": np.array((42, 158, 62)),
    "blue": np.array((36, 92, 218)),
    "purple": np.array((128, 54, 186)),
    "pink": np.array((246, 132, 188)),
    "black": np.array((26, 26, 30)),
}
"""The base colours; each thing varies its own a little."""
_LUMINANCE = np.array((0.299, 0.587, 0.114))
"""Weights of red, green and blue in luminance (ITU-R BT.601)."""
_FRACTION_BITS = 4
"""Polygon corners are passed to OpenCV in 1/2**4 pixels."""
_FONT_THICKNESS = 0.13
"""Width of a letter's stroke as a share of its height."""


def background(px: int, rng: np.random.Generator, tint: float) -> np.ndarray:
    """Return a canvas with a linear or radial gradient between two muted colours."""
    first = _muted(rng, tint)
    second = np.clip(first + rng.uniform(-45, 45, 3), 20, 250).astype(np.float32)
    x, y = _grid(px)
    if rng.random() < 0.3:
        centre_xy = rng.uniform(-0.2, 1.2, 2)
        share = np.hypot(x - centre_xy[0], y - centre_xy[1])
    else:
        angle = rng.uniform(0, 2 * np.pi)
        share = x * np.cos(angle) + y * np.sin(angle)
    share = (share - share.min()) / np.ptp(share)
    return first + share[..., None] * (second - first)


def scribble(canvas: np.ndarray, rng: np.random.Generator, strokes: int) -> None:
    """Paint distractors: thin lines, arcs, specks, and large faint blots."""
    import cv2

    px = canvas.shape[0]
    for _ in range(strokes):
        colour = tuple(map(float, rng.uniform(20, 240, 3)))
        start = tuple(map(int, rng.integers(0, px, 2)))
        end = tuple(map(int, rng.integers(0, px, 2)))
        width = max(1, round(px * rng.uniform(0.004, 0.016)))
        choice = rng.random()
        if choice < 0.4:
            cv2.line(canvas, start, end, colour, width, cv2.LINE_AA)
        elif choice < 0.6:
            axes = tuple(map(int, rng.integers(px // 16, px // 4, 2)))
            turn, sweep = map(float, rng.uniform((0, 40), (360, 160)))
            cv2.ellipse(canvas, start, axes, turn, 0, sweep, colour, width, cv2.LINE_AA)
        elif choice < 0.8:
            cv2.circle(canvas, start, max(1, round(1.6 * width)), colour, -1, cv2.LINE_AA)
        else:
            blot = np.zeros(canvas.shape[:2], dtype=np.uint8)
            axes = tuple(map(int, rng.integers(px // 10, px // 3, 2)))
            cv2.ellipse(blot, start, axes, float(rng.uniform(0, 180)), 0, 360, 255, -1)
            blend(
                canvas,
                cv2.blur(blot, (4 * width + 1,) * 2),
                np.array(colour, dtype=np.float32),
                0.18,
            )


def blend(canvas: np.ndarray, cover: np.ndarray, colour: np.ndarray, alpha: float) -> None:
    """Blend a colour, (3,) or (height, width, 3), into a canvas with the mask `cover`, 0..255."""
    canvas += (np.float32(alpha / 255) * cover)[..., None] * (colour - canvas)


def coverage(silhouette: Silhouette, px: int) -> np.ndarray:
    """Return how much of each pixel a silhouette covers, (px, px) uint8 in 0..255."""
    import cv2

    cover = np.zeros((px, px), dtype=np.uint8)
    # OpenCV has pixel centres at integer coordinates, we have them at half integers.
    corners = [
        np.round((ring - 0.5) * (1 << _FRACTION_BITS)).astype(np.int32) for ring in silhouette
    ]
    cv2.fillPoly(cover, corners, 255, cv2.LINE_AA, _FRACTION_BITS)
    return cover


def window(cover: np.ndarray) -> tuple[slice, slice]:
    """Return the rows and columns of the bounding box of the covered pixels."""
    import cv2

    x, y, width, height = cv2.boundingRect(cover)
    return slice(y, y + height), slice(x, x + width)


def tones(
    colour: np.ndarray, pattern: str, size_wh: tuple[int, int], px: int, rng: np.random.Generator
) -> np.ndarray:
    """Return the paint of a pattern for a thing of a given size: two tones of one colour.

    (3,) for a solid one, else (height, width, 3).
    """
    if pattern == "solid":
        return colour
    luminance = float(colour @ _LUMINANCE)
    other = np.float32(255.0 if luminance < 150 else 0.0)
    second = colour + np.float32(0.62 if luminance < 150 else 0.45) * (other - colour)
    angle, period = rng.uniform(0, np.pi), rng.uniform(0.055, 0.075)
    width, height = size_wh
    x, y = (axis[:height, :width] for axis in _grid(px))
    across = (x * np.cos(angle) + y * np.sin(angle)) / period
    # The slope makes the transition between the tones about one pixel wide.
    slope = period * px
    if pattern == "striped":
        share = 0.5 + slope * (np.abs(across % 1 - 0.5) - 0.25)
    else:
        along = (y * np.cos(angle) - x * np.sin(angle)) / period
        share = 0.5 + slope * (0.3 - np.hypot(across % 1 - 0.5, along % 1 - 0.5))
    return colour + np.clip(share, 0, 1).astype(np.float32)[..., None] * (second - colour)


def word_width(word: str, letter_px: float) -> float:
    """Return the width in pixels of a word whose capitals are `letter_px` high."""
    import cv2

    face, scale, thickness = _font(letter_px)
    return float(cv2.getTextSize(word, face, scale, thickness)[0][0])


def write(canvas: np.ndarray, word: str, letter_px: float, centre_xy: np.ndarray) -> None:
    """Write a word centred at a point, in black or white, whichever has more contrast there."""
    import cv2

    face, scale, thickness = _font(letter_px)
    width = word_width(word, letter_px)
    left_bottom = np.round(centre_xy + np.array((-width, letter_px)) / 2).astype(int)
    ink = np.zeros(canvas.shape[:2], dtype=np.uint8)
    cv2.putText(ink, word, tuple(map(int, left_bottom)), face, scale, 255, thickness, cv2.LINE_AA)
    column, row = np.clip(centre_xy, 0, canvas.shape[0] - 1).astype(int)
    luminance = float(canvas[row, column] @ _LUMINANCE)
    grey = 250 if luminance < 140 else 12
    blend(canvas, ink, np.full(3, grey, dtype=np.float32), 1.0)


def exposed(
    canvas: np.ndarray, rng: np.random.Generator, *, noise: float, flat: float
) -> np.ndarray:
    """Convert a canvas to uint8 pixels, with reduced contrast, a little blur, and noise."""
    import cv2

    if rng.random() < flat:
        middle = canvas.mean(axis=(0, 1))
        canvas = middle + np.float32(rng.uniform(0.45, 0.8)) * (canvas - middle)
    if noise:
        canvas = cv2.GaussianBlur(canvas, (3, 3), float(rng.uniform(0.3, 0.8)))
        grain = rng.standard_normal(canvas.shape, dtype=np.float32)
        canvas = canvas + np.float32(noise * rng.random()) * grain
    return np.clip(np.rint(canvas), 0, 255).astype(np.uint8)


def distance(first: np.ndarray, second: np.ndarray) -> float:
    """Return the perceptual distance of two RGB colours: CIE76 in CIELAB."""
    import cv2

    pair = np.stack([first, second]).astype(np.float32)[None] / 255
    lab = cv2.cvtColor(pair, cv2.COLOR_RGB2LAB)[0]
    return float(np.linalg.norm(lab[0] - lab[1]))


def _muted(rng: np.random.Generator, tint: float) -> np.ndarray:
    """Return a colour of low saturation, neither nearly black nor nearly white."""
    value = rng.uniform(80, 240)
    strength = rng.uniform(0, tint)
    return (value * (1 - strength * rng.random(3))).astype(np.float32)


def _font(letter_px: float) -> tuple[int, float, int]:
    """Return OpenCV's face, scale and thickness for capitals of a height in pixels."""
    import cv2

    face = cv2.FONT_HERSHEY_SIMPLEX
    thickness = max(1, round(letter_px * _FONT_THICKNESS))
    return face, cv2.getFontScaleFromHeight(face, round(letter_px), thickness), thickness


@lru_cache(maxsize=4)
def _grid(px: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the x and y of all pixel centres, as shares of the side."""
    axis = (np.arange(px, dtype=np.float32) + 0.5) / px
    x, y = np.meshgrid(axis, axis)
    x.flags.writeable = y.flags.writeable = False
    return x, y

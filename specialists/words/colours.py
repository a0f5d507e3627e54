"""Naming colours: of pixels, of the object in a box or mask, of a background.

A pixel has the name of the nearest sample colour in CIE Lab. Lightness has a lower weight, so that
shading does not change the name. Boxes are relative to the image, 0..1. The samples and thresholds
were chosen by hand.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

import numpy as np

from florilegium.engine.core.annotation import MaskRLE

_SAMPLES = (
    ("black", (18, 18, 18)),
    ("dark grey", (75, 75, 75)),
    ("grey", (128, 128, 128)),
    ("light grey", (190, 190, 190)),
    ("white", (245, 245, 245)),
    ("red", (200, 30, 35)),
    ("dark red", (105, 20, 20)),
    ("orange", (240, 130, 45)),
    ("orange", (200, 90, 40)),
    ("yellow", (240, 215, 60)),
    ("green", (60, 150, 60)),
    ("dark green", (30, 65, 30)),
    ("light green", (160, 210, 140)),
    ("teal", (25, 110, 110)),
    ("dark teal", (15, 55, 55)),
    ("blue", (45, 85, 190)),
    ("dark blue", (25, 35, 85)),
    ("light blue", (155, 195, 235)),
    ("purple", (115, 55, 150)),
    ("pink", (240, 150, 180)),
    ("brown", (95, 60, 35)),
    ("brown", (150, 100, 65)),
    ("beige", (215, 190, 155)),
)
COLOURS = tuple(dict.fromkeys(name for name, _ in _SAMPLES))
"""The names of the colours, in the order of `colour_shares`."""

_LIGHTNESS_WEIGHT = 0.6
"""Weight of L* in distances."""
_MAX_PIXELS = 4096
"""Pixels on which colours are measured, at most."""
_VIVID = 4.0
"""Additional weight of an object's pixel per 100 units of chroma."""
_MIN_COLOUR_SHARE = 0.3
"""Minimum share of an object's colour inside its box."""
_MIN_COLOUR_EXCESS = 0.2
"""Minimum difference of that share to the rest of the image."""
_MIN_COLOUR_RATIO = 1.5
"""Minimum ratio of the unweighted shares inside and outside."""
_MIN_BACKGROUND, _MIN_BACKGROUND_PAIR = 0.45, 0.6
"""Minimum shares of one colour, or of two together, in a background."""
_MIN_AROUND = 0.2
"""Minimum share of the image outside of all boxes."""
_THUMBNAIL_SIDE = 128
"""Pixels of the long side of the image on which colours are measured."""
_GREY_CHROMA = 2.0
"""An image of which 99.5 % of the pixels have at most this chroma is black and white."""


def colour_shares(pixels: np.ndarray, *, vivid: float = 0) -> np.ndarray:
    """Return the share of each of `COLOURS`, 0..1, among RGB pixels, uint8, shape (n, 3).

    With `vivid`, a pixel has this additional weight per 100 units of chroma: people name a
    motorcycle by its red tank, not by its grey engine.
    """
    if len(pixels) == 0:
        return np.zeros(len(COLOURS))
    return _named(pixels[None, _few(len(pixels))]).shares(vivid)


def thumbnail(image: np.ndarray) -> np.ndarray:
    """Return every nth pixel of every nth row, without interpolation."""
    step = _step(image)
    return image[::step, ::step]


def thumbnail_mask(mask: MaskRLE) -> np.ndarray:
    """Return a mask, bool, at the pixels of the `thumbnail` of its image."""
    from pycocotools.mask import decode

    pixels = decode({"size": list(mask.size), "counts": mask.counts.encode()})
    step = _step(pixels)
    return np.asarray(pixels[::step, ::step], dtype=bool)


def _step(image: np.ndarray) -> int:
    return max(1, max(image.shape) // _THUMBNAIL_SIDE)


def is_black_and_white(image: np.ndarray) -> bool:
    """Return whether RGB pixels, uint8, (height, width, 3), are those of a photograph without
    colours."""
    lab = _lab(image)
    return bool(np.percentile(np.linalg.norm(lab[..., 1:], axis=-1), 99.5) <= _GREY_CHROMA)


def has_colour(noun: str) -> bool:
    """Return whether a noun tells a colour: "orange", "blackboard", "white wolf"."""
    bases = "|".join({colour.split()[-1] for colour in COLOURS})
    return re.search(rf"\b(?:{bases})", noun.lower()) is not None


def own_colours(
    image: np.ndarray,
    boxes: Sequence[Sequence[float]],
    masks: Sequence[np.ndarray | None] = (),
) -> list[str]:
    """Return for each box the colour that distinguishes its object from the rest of the image, or
    "".

    Vivid pixels have a higher weight, but the colour must also be more frequent without weights.

    Args:
        image: RGB, uint8.
        masks: of the objects, bool, in the size of the image; without one, its pixels are those
            of the centre of the box.
    """
    if not boxes:
        return []
    pixels = _named(image)
    of_box = masks or [None] * len(boxes)
    return [_own_colour(pixels, box, mask) for box, mask in zip(boxes, of_box, strict=True)]


def _own_colour(pixels: _Named, box_xyxy: Sequence[float], mask: np.ndarray | None) -> str:
    left, top, right, bottom = box_xyxy
    rim_x, rim_y = 0.2 * (right - left), 0.2 * (bottom - top)
    middle = (left + rim_x, top + rim_y, right - rim_x, bottom - rim_y)
    is_outside = ~is_in([box_xyxy], pixels.colour)
    if mask is None:
        is_inside = is_in([middle], pixels.colour)
    else:
        is_inside, is_outside = mask, is_outside & ~mask
    inside, outside = pixels.some(is_inside), pixels.some(is_outside)
    vivid = inside.shares(_VIVID)
    excess = vivid - outside.shares(_VIVID)
    best = int(np.argmax(excess))
    is_marked = (
        vivid[best] >= _MIN_COLOUR_SHARE
        and excess[best] >= _MIN_COLOUR_EXCESS
        and inside.shares()[best] >= _MIN_COLOUR_RATIO * outside.shares()[best]
    )
    return COLOURS[best] if is_marked else ""


def background(image: np.ndarray, boxes: Sequence[Sequence[float]]) -> list[str]:
    """Return the one or two most frequent colours outside of all boxes, if they prevail."""
    is_around = ~is_in(boxes, image)
    if is_around.mean() < _MIN_AROUND:
        return []
    shares = colour_shares(image[is_around])
    first, second = np.argsort(-shares, kind="stable")[:2]
    if shares[first] >= _MIN_BACKGROUND:
        return [COLOURS[first]]
    is_pair = shares[first] + shares[second] >= _MIN_BACKGROUND_PAIR
    return [COLOURS[first], COLOURS[second]] if is_pair else []


def is_in(boxes: Sequence[Sequence[float]], image: np.ndarray) -> np.ndarray:
    """Return which pixels lie in any of the relative boxes, bool, (height, width)."""
    height, width = image.shape[:2]
    inside = np.zeros((height, width), dtype=bool)
    for left, top, right, bottom in boxes:
        rows = slice(int(top * height), int(np.ceil(bottom * height)))
        inside[rows, int(left * width) : int(np.ceil(right * width))] = True
    return inside


class _Named(NamedTuple):
    """The colours of some pixels, as indices into `COLOURS`, and their chroma."""

    colour: np.ndarray
    chroma: np.ndarray

    def some(self, is_chosen: np.ndarray) -> _Named:
        """Return at most `_MAX_PIXELS` of the chosen pixels."""
        chosen = np.flatnonzero(is_chosen)
        few = chosen[_few(len(chosen))]
        return _Named(self.colour.take(few), self.chroma.take(few))

    def shares(self, vivid: float = 0) -> np.ndarray:
        """Return the shares as `colour_shares` does."""
        if self.colour.size == 0:
            return np.zeros(len(COLOURS))
        weight = 1 + vivid * self.chroma.ravel() / 100
        return np.bincount(self.colour.ravel(), weight, minlength=len(COLOURS)) / weight.sum()


def _few(count: int) -> slice:
    """Return a slice that selects at most about `_MAX_PIXELS` of `count` pixels."""
    return slice(None, None, max(1, count // _MAX_PIXELS))


def _named(image: np.ndarray) -> _Named:
    """Measure RGB pixels, uint8, (height, width, 3), none of the sides 0."""
    import cv2

    to_distance, colour = _samples()
    lab = _lab(image)
    nearest = cv2.transform(lab, to_distance).argmin(axis=-1)
    return _Named(colour[nearest], np.linalg.norm(lab[..., 1:], axis=-1))


@cache
def _samples() -> tuple[np.ndarray, np.ndarray]:
    """Return an affine map from Lab to the distances to the samples, and the samples' colours.

    Distances are squared, without the pixel's own square, which does not affect the ranking.
    """
    lab = _lab(np.array([[value for _, value in _SAMPLES]], dtype=np.uint8))[0]
    to_distance = np.column_stack([-2 * lab, np.square(lab).sum(axis=1)])
    return to_distance, np.array([COLOURS.index(name) for name, _ in _SAMPLES])


def _lab(rgb: np.ndarray) -> np.ndarray:
    import cv2

    lab = cv2.cvtColor(rgb.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
    return np.asarray(lab * (_LIGHTNESS_WEIGHT, 1, 1))

"""Three ways to find regions of drawn shapes: by colour, by difference from background, by edges.

Each returns masks without names, and more regions than there are things: parts of a pattern, the
hole of a ring. Pixels are L*a*b* (`smoothed`). The constants were chosen by hand.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

MIN_SIDE = 8
"""Minimum short side of a region in pixels."""
_LARGEST_SHARE = 0.5
"""Maximum share of the image that a region covers; larger ones are background."""
_LARGEST_HOLE = 0.12
"""Holes up to this share of a region are filled: they are parts of a pattern or letters."""
_GAP = 7
"""Gaps up to this many pixels are closed: noise, and narrow patterns."""
_SEED = 0
_COLOURS = 8
"""Clusters of colours in an image, including the background."""
_LEVELS = (1.0, 1.6, 2.4)
"""Thresholds of the difference from the background, as multiples of Otsu's."""
_MIN_DIFFERENCE = 2.0
"""Minimum threshold of the distance in L*a*b*."""
_EDGES = (30, 60)
"""Lower thresholds of Canny, in levels of 0..255; the upper ones are twice these."""


class Region(NamedTuple):
    """One region: the mask inside its box, bool, and the box's left and top."""

    mask: np.ndarray
    left: int
    top: int

    @property
    def box_xyxy(self) -> tuple[int, int, int, int]:
        """The tight box, right and bottom exclusive."""
        height, width = self.mask.shape
        return self.left, self.top, self.left + width, self.top + height

    def of(self, values: np.ndarray) -> np.ndarray:
        """Return the values of an image-sized array at the region's pixels."""
        left, top, right, bottom = self.box_xyxy
        return np.asarray(values[top:bottom, left:right][self.mask])


def shrunk(image: np.ndarray, side: int) -> np.ndarray:
    """Shrink an image to a long side of at most `side` pixels."""
    import cv2

    height, width = image.shape[:2]
    scale = side / max(height, width)
    if scale >= 1:
        return image
    size_wh = max(1, round(width * scale)), max(1, round(height * scale))
    return np.asarray(cv2.resize(image, size_wh, interpolation=cv2.INTER_AREA))


def smoothed(image: np.ndarray) -> np.ndarray:
    """Return an RGB image, uint8, as L*a*b*, float32, smoothed by a bilateral filter."""
    import cv2

    calm = cv2.bilateralFilter(image, 9, 60, 2.5)
    return np.asarray(cv2.cvtColor(calm.astype(np.float32) / 255, cv2.COLOR_RGB2LAB))


def difference_from_background(lab: np.ndarray) -> np.ndarray:
    """Return each pixel's distance to a smooth background: a quadratic surface per channel.

    The fit is robust: iteratively reweighted least squares with the weights of Geman and McClure.
    """
    height, width = lab.shape[:2]
    y, x = np.meshgrid(np.linspace(-1, 1, height), np.linspace(-1, 1, width), indexing="ij")
    terms = np.stack([np.ones_like(x), x, y, x * y, x * x, y * y], axis=-1).astype(np.float32)
    few, values = terms[::4, ::4].reshape(-1, 6), lab[::4, ::4].reshape(-1, 3)
    weight = np.ones(len(few), dtype=np.float32)
    for _ in range(6):
        weighted = (few * weight[:, None]).T
        surface = np.linalg.solve(weighted @ few + 1e-3 * np.eye(6), weighted @ values)
        gap = _length(values - few @ surface)
        weight = (1 + (gap / (1 + np.median(gap))) ** 2) ** -2
    return _length(lab - terms @ surface.astype(np.float32))


def _length(vectors: np.ndarray) -> np.ndarray:
    """Return the norms of vectors on the last axis; `np.linalg.norm` is slow on short axes."""
    return np.asarray(np.sqrt(np.einsum("...i,...i", vectors, vectors)))


def colour_regions(lab: np.ndarray, difference: np.ndarray) -> Iterator[Region]:
    """Yield connected components of each of the image's main colours."""
    colours = main_colours(lab[::2, ::2].reshape(-1, 3), _COLOURS)
    nearest = distance_to_colours(lab, colours).argmin(axis=2)
    for colour in range(len(colours)):
        yield from components(closed((nearest == colour).astype(np.uint8), _GAP))


def residual_regions(lab: np.ndarray, difference: np.ndarray) -> Iterator[Region]:
    """Yield connected components that differ from a smooth background, at several thresholds."""
    threshold = max(otsu(difference), _MIN_DIFFERENCE)
    for level in _LEVELS:
        mask = (difference > level * threshold).astype(np.uint8)
        yield from components(closed(mask, _GAP))


def edge_regions(lab: np.ndarray, difference: np.ndarray) -> Iterator[Region]:
    """Yield the regions that Canny's edges enclose, with and without inner edges."""
    import cv2

    levels = np.clip(lab * (2.55, 1, 1) + (0, 128, 128), 0, 255).astype(np.uint8)
    for low in _EDGES:
        edges = np.zeros(lab.shape[:2], dtype=np.uint8)
        for channel in cv2.split(levels):
            edges |= cv2.Canny(channel, low, 2 * low)
        edges = cv2.morphologyEx(edges & 1, cv2.MORPH_CLOSE, disc(3))
        yield from components(1 - edges)
        outlines, _ = cv2.findContours(edges, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        yield from components(cv2.drawContours(edges.copy(), outlines, -1, 1, cv2.FILLED))


def main_colours(pixels: np.ndarray, count: int) -> np.ndarray:
    """Return the centres of k-means, float32, (n, 3); n is at most `count` and the pixels."""
    import cv2

    stop = (cv2.TERM_CRITERIA_EPS + cv2.TERM_CRITERIA_MAX_ITER, 10, 0.5)
    cv2.setRNGSeed(_SEED)
    _, _, centres = cv2.kmeans(
        np.ascontiguousarray(pixels), min(count, len(pixels)), None, stop, 1, cv2.KMEANS_PP_CENTERS
    )
    return np.asarray(centres)


def distance_to_colours(lab: np.ndarray, colours: np.ndarray) -> np.ndarray:
    """Return the distance of each pixel to each of n colours, (height, width, n)."""
    squares = np.einsum("...i,...i", lab, lab)[..., None] + (colours**2).sum(axis=1)
    return np.asarray(np.sqrt(np.maximum(squares - 2 * lab @ colours.T, 0)))


def otsu(values: np.ndarray) -> float:
    """Return Otsu's threshold (1979) of values."""
    import cv2

    unit = max(float(values.max()), 1.0) / 255
    levels = (values / unit).astype(np.uint8)
    return float(cv2.threshold(levels, 0, 1, cv2.THRESH_BINARY | cv2.THRESH_OTSU)[0]) * unit


def disc(size: int) -> np.ndarray:
    """Return a round structuring element, uint8, (size, size)."""
    import cv2

    return np.asarray(cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size)))


def closed(mask: np.ndarray, size: int) -> np.ndarray:
    """Close gaps of a mask, uint8, up to a size, then remove thin threads."""
    import cv2

    whole = cv2.morphologyEx(mask, cv2.MORPH_CLOSE, disc(size))
    return np.asarray(cv2.morphologyEx(whole, cv2.MORPH_OPEN, disc(3)))


def components(mask: np.ndarray) -> Iterator[Region]:
    """Yield the connected components of a mask, uint8, that have a plausible size."""
    import cv2

    _, part_of, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=4)
    short_side = stats[:, [cv2.CC_STAT_WIDTH, cv2.CC_STAT_HEIGHT]].min(axis=1)
    is_thing = (short_side >= MIN_SIDE) & (stats[:, cv2.CC_STAT_AREA] < _LARGEST_SHARE * mask.size)
    is_thing[0] = False  # the background
    for part in np.flatnonzero(is_thing):
        left, top, width, height, _ = stats[part].tolist()
        part_mask = part_of[top : top + height, left : left + width] == part
        yield Region(without_small_holes(part_mask), left, top)


def without_small_holes(mask: np.ndarray) -> np.ndarray:
    """Fill holes up to `_LARGEST_HOLE` of the mask; the hole of a ring stays."""
    import cv2

    hollow = cv2.copyMakeBorder((~mask).astype(np.uint8), 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=1)
    _, hole_of, stats, _ = cv2.connectedComponentsWithStats(hollow, connectivity=8)
    is_small = stats[:, cv2.CC_STAT_AREA] <= _LARGEST_HOLE * mask.sum()
    is_small[hole_of[0, 0]] = False  # the outside
    is_small[0] = True  # the mask
    return np.asarray(is_small[hole_of[1:-1, 1:-1]])

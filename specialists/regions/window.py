"""A rectangle of an image, whole pixels: the surroundings of a box, and masks that lie within.

Knows no model; what a window is cut out for is for others to say.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from engine.core.annotation import MaskRLE


class Window(NamedTuple):
    """A rectangle of whole pixels in the image, the last row and column excluded."""

    left: int
    top: int
    right: int
    bottom: int

    @property
    def rows(self) -> slice:
        """The rows of the image that it covers."""
        return slice(self.top, self.bottom)

    @property
    def columns(self) -> slice:
        """The columns of the image that it covers."""
        return slice(self.left, self.right)

    @property
    def size_wh(self) -> tuple[int, int]:
        """Width and height, pixels."""
        return self.right - self.left, self.bottom - self.top


def around(box_xyxy: np.ndarray, margin: float, shape: tuple[int, ...]) -> Window:
    """Return the box with a margin of a share of its sides, whole pixels, within the image."""
    room = np.tile((box_xyxy[2:] - box_xyxy[:2]) * margin, 2) * (-1, -1, 1, 1)
    low = np.floor(box_xyxy + room)[:2].clip(0)
    high = np.ceil(box_xyxy + room)[2:].clip(None, (shape[1], shape[0]))
    return Window(*(int(edge) for edge in (*low, *high)))


def tight_box(mask: np.ndarray, window: Window) -> tuple[float, ...]:
    """Return the box of a window's mask in the frame of the image."""
    columns, rows = np.flatnonzero(mask.any(axis=0)), np.flatnonzero(mask.any(axis=1))
    return (
        float(window.left + columns[0]),
        float(window.top + rows[0]),
        float(window.left + columns[-1] + 1),
        float(window.top + rows[-1] + 1),
    )


def encoded(mask: np.ndarray, window: Window, shape: tuple[int, ...]) -> MaskRLE:
    """Encode a window's mask as COCO run lengths of the whole image."""
    from pycocotools.mask import encode

    whole = np.zeros(shape[:2], dtype=np.uint8, order="F")
    whole[window.rows, window.columns] = mask
    rle = encode(whole)
    return MaskRLE(size=(shape[0], shape[1]), counts=rle["counts"].decode("ascii"))

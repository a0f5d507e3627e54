"""Windows: rectangles of whole pixels in an image, and masks inside of them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from florilegium.engine.core.annotation import MaskRLE


class Window(NamedTuple):
    """A rectangle of whole pixels in an image, right and bottom exclusive."""

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
    """Return the window of a box with a margin, a share of its sides, clipped to the image."""
    room = np.tile((box_xyxy[2:] - box_xyxy[:2]) * margin, 2) * (-1, -1, 1, 1)
    low = np.floor(box_xyxy + room)[:2].clip(0)
    high = np.ceil(box_xyxy + room)[2:].clip(None, (shape[1], shape[0]))
    return Window(*(int(edge) for edge in (*low, *high)))


def tight_box(mask: np.ndarray, window: Window) -> tuple[float, ...]:
    """Return the tight box of a window's mask, in pixels of the image."""
    columns, rows = np.flatnonzero(mask.any(axis=0)), np.flatnonzero(mask.any(axis=1))
    return (
        float(window.left + columns[0]),
        float(window.top + rows[0]),
        float(window.left + columns[-1] + 1),
        float(window.top + rows[-1] + 1),
    )


def encoded(mask: np.ndarray, window: Window, shape: tuple[int, ...]) -> MaskRLE:
    """Encode a window's mask as COCO RLE of the whole image."""
    from pycocotools.mask import encode

    whole = np.zeros(shape[:2], dtype=np.uint8, order="F")
    whole[window.rows, window.columns] = mask
    rle = encode(whole)
    return MaskRLE(size=(shape[0], shape[1]), counts=rle["counts"].decode("ascii"))

"""Rescaling and normalising by a table, with the same bits and much less time.

Image processors do both with arithmetic on every value of a resized image. There are only 256
values in each of three channels: what becomes of each is looked up, in the dtype of the model, as a
batch is stacked; until then images are kept and handed over as bytes. A processor for which that is
not so (it pads with a value of its own, or resizes floats) is found by trying, and used as it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

PIXELS = "pixel_values"
_BLOCKS = 16
_BLOCK_PX = 8
_ODD_SIZES_HW = ((90, 223), (223, 90))


def by_table(image_processor: Any, dtype: Any) -> tuple[Any, Table | None]:
    """Return an image processor that gives `pixel_values` as uint8, and the table that makes of
    them those of the given one in a torch dtype, to the last bit; where there is none, the
    processor itself."""
    plain = copy(image_processor)
    plain.do_rescale = plain.do_normalize = False
    try:
        table = _table(plain, image_processor)
        if table is None:
            return image_processor, None
        found = Table(table.to(dtype))
        random = np.random.default_rng(0)
        for size_hw in _ODD_SIZES_HW:
            noise = random.integers(0, 256, (*size_hw, 3), dtype=np.uint8)
            if not _is_same(plain, found, image_processor, noise, dtype):
                return image_processor, None
    except (ValueError, TypeError, KeyError, RuntimeError):  # it takes no such images: not for us
        return image_processor, None
    return plain, found


def _is_same(plain: Any, table: Table, usual: Any, pixels: np.ndarray, dtype: Any) -> bool:
    import torch

    wanted, features = _processed(usual, pixels), _processed(plain, pixels)
    if [*features] != [*wanted]:
        return False
    wanted[PIXELS] = wanted[PIXELS].to(dtype)
    features[PIXELS] = table.stacked([*features[PIXELS]], torch.empty_like(wanted[PIXELS]))
    return all(torch.equal(features[name], wanted[name]) for name in wanted)


def _table(plain: Any, image_processor: Any) -> Tensor | None:
    """Return what becomes of each value, (3, 256), if it is always the same."""
    import torch

    side = np.arange(_BLOCKS * _BLOCK_PX) // _BLOCK_PX
    blocks = (side[:, None] * _BLOCKS + side).astype(np.uint8)
    trial = np.stack([blocks, blocks, blocks], axis=2)
    values, wanted = (_processed(one, trial)[PIXELS] for one in (plain, image_processor))
    is_plain = values.dtype == torch.uint8 and wanted.is_floating_point()
    if not is_plain or values.shape != wanted.shape or values.dim() != 4 or values.shape[1] != 3:
        return None
    table = torch.full((3, 256), torch.nan, dtype=wanted.dtype)
    for channel in range(3):
        table[channel, values[:, channel].long()] = wanted[:, channel]
    return None if table.isnan().any() else table


def _processed(image_processor: Any, pixels: np.ndarray) -> Any:
    from PIL import Image

    return image_processor(images=Image.fromarray(pixels), return_tensors="pt")


class Table:
    """What becomes of each value of a channel, (3, 256), in the dtype of a model."""

    def __init__(self, values: Tensor) -> None:
        # OpenCV only moves the bits; it knows integers of two bytes, and floats of four.
        self._values = _bits(values)

    def stacked(self, images: Sequence[Tensor], batch: Tensor) -> Tensor:
        """Fill a batch, (n, 3, height, width) in the table's dtype, with images as uint8, (3,
        height, width), and return it."""
        import cv2

        for image, own in zip(images, _bits(batch), strict=True):
            for channel, values in enumerate(image.numpy()):
                cv2.LUT(values, self._values[channel], dst=own[channel])
        return batch


def _bits(tensor: Tensor) -> np.ndarray:
    """Return the memory of a tensor as an array of a type that OpenCV knows."""
    import torch

    values: np.ndarray = (
        tensor if tensor.element_size() == 4 else tensor.view(torch.int16)
    ).numpy()
    return values

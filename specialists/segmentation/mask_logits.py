"""From mask logits to COCO run lengths and stability scores.

The device compares pixels and packs the results to bits, of known number: nothing waits for it.
The host turns bits into run lengths.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

STABILITY_OFFSET = 1.0
"""Offset of the threshold, in logits, as in Segment Anything."""
_GATHERING = 0x0102_0408_1020_4080


def stability(logits: Tensor, offset: float = STABILITY_OFFSET) -> Tensor:
    """Return the stability score of masks, 0..1, shape (n,) (Segment Anything, appendix B).

    The intersection over union of the masks at the thresholds `offset` and `-offset`, from logits
    (n, height, width). One contains the other, so their areas suffice. An empty mask has 0.
    """
    inner = (logits > offset).sum((1, 2))
    outer = (logits > -offset).sum((1, 2))
    return inner / outer.clamp(min=1)


def packed_changes(masks: Tensor) -> Tensor:
    """Return where the pixels of masks, bool (n, height, width), differ from those before them.

    By columns, before the first is zero; as bits, uint8 (n, `bytes_of`), the lowest first.
    """
    import torch

    columns = masks.transpose(1, 2).flatten(1)
    count, pixels = columns.shape
    changes = columns.new_zeros(count, 8 * bytes_of(pixels))
    changes[:, :1] = columns[:, :1]
    torch.logical_xor(columns[:, 1:], columns[:, :-1], out=changes[:, 1:pixels])
    # Eight bytes of 0 or 1 are a number, whose product has them as bits in its highest byte.
    return ((changes.view(torch.int64) * _GATHERING) >> 56).to(torch.uint8)


def bytes_of(pixels: int) -> int:
    """Return the number of bytes that have a bit for each pixel."""
    return -(-pixels // 8)


def run_lengths(changes: np.ndarray, pixels: int) -> list[np.ndarray]:
    """Return the run lengths of masks of `packed_changes`: by columns, zeros first."""
    return [np.diff(_set_bits(row), prepend=0, append=pixels) for row in changes]


def _set_bits(packed: np.ndarray) -> np.ndarray:
    """Return the positions of bits, ascending; most bytes are 0."""
    filled = np.flatnonzero(packed)
    position = np.flatnonzero(np.unpackbits(packed[filled], bitorder="little"))
    return np.asarray(filled[position >> 3] * 8 + (position & 7))


def compressed(runs: Sequence[np.ndarray], size_hw: tuple[int, int]) -> list[dict[str, Any]]:
    """Return compressed RLE masks of `pycocotools`."""
    from pycocotools import mask as coco_mask

    height, width = size_hw
    plain = [{"size": [height, width], "counts": each} for each in runs]
    return list(coco_mask.frPyObjects(plain, height, width)) if plain else []

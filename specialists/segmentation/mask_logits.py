"""Logits of masks into masks: COCO run lengths and stability, computed where the logits are.

What leaves the device are run lengths: a few thousand numbers for a mask of any size. Knows no
model and no annotation.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

STABILITY_OFFSET = 1.0


def stability(logits: Tensor, offset: float = STABILITY_OFFSET) -> Tensor:
    """Return how little masks depend on the threshold, 0..1, shape (n,).

    The intersection over union of the mask at a threshold of `offset` and that at `-offset`
    (Segment Anything, appendix B), of logits (n, height, width). One contains the other, so their
    areas suffice. A mask of nothing is not stable: 0.
    """
    inner = (logits > offset).sum((1, 2))
    outer = (logits > -offset).sum((1, 2))
    return inner / outer.clamp(min=1)


def run_lengths(masks: Tensor) -> list[np.ndarray]:
    """Return the runs of masks, bool (n, height, width): by columns, the first one of zeros."""
    from torch.nn.functional import pad

    columns = masks.transpose(1, 2).flatten(1)
    changes = columns ^ pad(columns, (1, 0))[:, :-1]
    mask, place = (each.cpu().numpy() for each in changes.nonzero(as_tuple=True))
    edges = np.searchsorted(mask, np.arange(len(masks) + 1))
    return [
        np.diff(place[start:stop], prepend=0, append=columns.shape[1])
        for start, stop in pairwise(edges)
    ]


def compressed(runs: Sequence[np.ndarray], size_hw: tuple[int, int]) -> list[dict[str, Any]]:
    """Return masks as `pycocotools` writes them."""
    from pycocotools import mask as coco_mask

    height, width = size_hw
    plain = [{"size": [height, width], "counts": each.tolist()} for each in runs]
    return list(coco_mask.frPyObjects(plain, height, width)) if plain else []

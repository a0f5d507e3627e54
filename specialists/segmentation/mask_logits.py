"""From mask logits to COCO run lengths and stability scores, computed on the logits' device.

Only run lengths are copied from the device: a few thousand numbers for a mask of any size.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

STABILITY_OFFSET = 1.0
"""Offset of the threshold, in logits, as in Segment Anything."""


def stability(logits: Tensor, offset: float = STABILITY_OFFSET) -> Tensor:
    """Return the stability score of masks, 0..1, shape (n,) (Segment Anything, appendix B).

    The intersection over union of the masks at the thresholds `offset` and `-offset`, from logits
    (n, height, width). One contains the other, so their areas suffice. An empty mask has 0.
    """
    inner = (logits > offset).sum((1, 2))
    outer = (logits > -offset).sum((1, 2))
    return inner / outer.clamp(min=1)


def run_lengths(masks: Tensor) -> list[np.ndarray]:
    """Return the run lengths of masks, bool (n, height, width): by columns, zeros first."""
    from torch.nn.functional import pad

    columns = masks.transpose(1, 2).flatten(1)
    changes = columns ^ pad(columns, (1, 0))[:, :-1]
    mask, position = (each.cpu().numpy() for each in changes.nonzero(as_tuple=True))
    edges = np.searchsorted(mask, np.arange(len(masks) + 1))
    return [
        np.diff(position[start:stop], prepend=0, append=columns.shape[1])
        for start, stop in pairwise(edges)
    ]


def compressed(runs: Sequence[np.ndarray], size_hw: tuple[int, int]) -> list[dict[str, Any]]:
    """Return compressed RLE masks of `pycocotools`."""
    from pycocotools import mask as coco_mask

    height, width = size_hw
    plain = [{"size": [height, width], "counts": each.tolist()} for each in runs]
    return list(coco_mask.frPyObjects(plain, height, width)) if plain else []

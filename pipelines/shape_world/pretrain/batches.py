"""Reproducible batches of augmented drawings."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from florilegium.pipelines.shape_world.pretrain.augmentation import varied
from florilegium.pipelines.shape_world.pretrain.scenes import Drawing


class DrawingBatches:
    """`steps` batches of `size` augmented drawings each; epochs are shuffled."""

    def __init__(self, drawings: Sequence[Drawing], *, size: int, steps: int, seed: int) -> None:
        self.drawings, self.size, self.steps = drawings, size, steps
        self.rng = np.random.default_rng((seed, 77))

    def __iter__(self) -> Iterator[list[Drawing]]:
        order = self._order()
        for _ in range(self.steps):
            chosen = [self.drawings[next(order)] for _ in range(self.size)]
            donors = self.rng.integers(len(self.drawings), size=self.size)
            yield [
                varied(drawing, self.drawings[donor], self.rng)
                for drawing, donor in zip(chosen, donors, strict=True)
            ]

    def _order(self) -> Iterator[int]:
        while True:
            yield from self.rng.permutation(len(self.drawings)).tolist()


def as_pixels(drawings: Sequence[Drawing]) -> Tensor:
    """Return normalised pixels as the processor does: (batch, 3, px, px), float32."""
    stacked = torch.from_numpy(np.stack([drawing.pixels for drawing in drawings]))
    return ((stacked.float() / 255 - 0.5) / 0.25).permute(0, 3, 1, 2)

"""Batches of varied pictures, the same for the same seed, prepared beside the training."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from pipelines.pretrain.augmentation import varied
from pipelines.pretrain.scenes import Picture


class Batches:
    """`steps` batches of `size` pictures each, every one varied anew; epochs are shuffled."""

    def __init__(self, pictures: Sequence[Picture], *, size: int, steps: int, seed: int) -> None:
        self.pictures, self.size, self.steps = pictures, size, steps
        self.rng = np.random.default_rng((seed, 77))

    def __iter__(self) -> Iterator[list[Picture]]:
        order = self._order()
        for _ in range(self.steps):
            chosen = [self.pictures[next(order)] for _ in range(self.size)]
            donors = self.rng.integers(len(self.pictures), size=self.size)
            yield [
                varied(picture, self.pictures[donor], self.rng)
                for picture, donor in zip(chosen, donors, strict=True)
            ]

    def _order(self) -> Iterator[int]:
        while True:
            yield from self.rng.permutation(len(self.pictures)).tolist()


def as_pixels(pictures: Sequence[Picture]) -> Tensor:
    """Normalise as the processor does: (batch, 3, px, px), float32."""
    stacked = torch.from_numpy(np.stack([picture.pixels for picture in pictures]))
    return ((stacked.float() / 255 - 0.5) / 0.25).permute(0, 3, 1, 2)

"""The images of a dataset in a random order, of which people are asked what is missing.

The order depends on a seed, the numbers of the shards and positions in them: images that are added
later change nothing about the order of the others.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from florilegium.engine.results.dataset import Dataset
from florilegium.engine.results.shard_files import read_sample_json

_HEAD = ("key", "sha256", "width", "height")
_KEPT_SHARDS = 1024
"""Shards whose images are remembered."""


@dataclass(kw_only=True, eq=False)
class ImageOrder:
    """Images by their place in the order: number of the shard among `dataset.shards`, position."""

    dataset: Dataset
    seed: int = 0
    _heads: dict[str, list[Mapping[str, Any]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        sizes = [shard["samples"] for shard in self.dataset.manifest["shards"]]
        numbers = [int(name.partition("-")[0]) for name in self.dataset.shards]
        places = [
            np.random.default_rng([self.seed, number]).random(size)
            for number, size in zip(numbers, sizes, strict=True)
        ]
        self._shard = np.repeat(np.arange(len(sizes)), sizes)
        self._position = np.concatenate([np.arange(0), *map(np.arange, sizes)])
        self._order = np.argsort(np.concatenate([np.zeros(0), *places]), kind="stable")

    def __len__(self) -> int:
        return len(self._order)

    def head(self, index: int) -> Mapping[str, Any]:
        """Return what the tar says of the image at a place of the order: `key`, `sha256`, `width`
        and `height`.

        Raises:
            StorageError: its shard cannot be read.
        """
        shard = self.dataset.shards[int(self._shard[self._order[index]])]
        return self.heads(shard)[int(self._position[self._order[index]])]

    def place(self, index: int) -> str:
        """Return the shard's number and the position in it."""
        shard = self.dataset.shards[int(self._shard[self._order[index]])]
        return f"{shard.partition('-')[0]}/{self._position[self._order[index]]}"

    def heads(self, shard: str) -> list[Mapping[str, Any]]:
        """Return the same of all images of a shard."""
        if shard not in self._heads:
            if len(self._heads) >= _KEPT_SHARDS:
                self._heads.pop(next(iter(self._heads)))
            rows = read_sample_json(self.dataset.folder, shard)
            self._heads[shard] = [{name: row[name] for name in _HEAD} for row in rows]
        return self._heads[shard]

"""What an audit shows of a dataset: questions about annotations and images, read from its files.

This module knows no answers but those that a question shows again.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import pyarrow.compute as pc

from florilegium.engine.core.annotation import ANNOTATION_NAMES, Annotation, from_table
from florilegium.engine.core.errors import UsageError
from florilegium.engine.results.dataset import Dataset
from florilegium.engine.results.dataset_sample import DatasetSample
from florilegium.engine.results.shard_files import Wanted
from florilegium.pipelines.audit.events import ImageSearched
from florilegium.pipelines.audit.pool import Pool
from florilegium.pipelines.audit.questions import ImageQuestion, Shown, StatementQuestion
from florilegium.pipelines.audit.queue import QueueName


class Material:
    """The images and annotations of a dataset; rows are those of its pool."""

    def __init__(self, dataset: Dataset, pool: Pool) -> None:
        self._dataset = dataset
        self._pool = pool
        first = np.unique(pool.image, return_index=True)[1]
        shards = pool.shard[first].tolist()
        self._shard_of = {
            key: dataset.shards[number] for key, number in zip(pool.keys, shards, strict=True)
        }

    def row(self, name: str) -> int:
        """Return the row of an annotation.

        Raises:
            UsageError: the dataset keeps no such annotation.
        """
        if name not in self._pool.row_of:
            raise UsageError(f"the dataset keeps no annotation {name[:100]!r}")
        return self._pool.row_of[name]

    def sample(self, key: str) -> DatasetSample:
        """Return an image with its kept annotations.

        Raises:
            UsageError: there is no such image.
        """
        shard = self._shard_of.get(key)
        for name in [shard] if shard else self._dataset.shards:
            for sample in self._dataset.samples(name, Wanted(keys={key})):
                self._shard_of[key] = name
                return sample
        raise UsageError(f"there is no image {key[:100]!r}")

    def annotations(self, row: int) -> dict[str, Annotation]:
        """Return the annotations of the image of a row, dropped ones too, by id."""
        shard = self._dataset.shards[int(self._pool.shard[row])]
        table = self._dataset.select(verdict="all").table(shard, ["key", *ANNOTATION_NAMES])
        rows = table.filter(pc.equal(table["key"], self._pool.key(row)))
        return {one.id: one for one in from_table(rows)}

    def about(self, row: int, queue: QueueName) -> StatementQuestion:
        """Return the question whether an annotation is right."""
        sample = self.sample(self._pool.key(row))
        annotations = self.annotations(row)
        one = annotations[self._pool.ids[row].as_py()]
        parent = annotations.get(one.parent_id)
        return StatementQuestion(
            key=sample.key,
            width=sample.width,
            height=sample.height,
            statement=Shown.of(one),
            caption=parent.text if parent is not None and one.span else "",
            queue=queue,
        )

    def about_image(
        self, key: str, queue: Literal["random", "chosen"], earlier: ImageSearched | None = None
    ) -> ImageQuestion:
        """Return the question what is missing in an image, with what was answered before.

        Raises:
            UsageError: there is no such image.
        """
        sample = self.sample(key)
        return ImageQuestion(
            key=sample.key,
            width=sample.width,
            height=sample.height,
            annotations=tuple(map(Shown.of, sample.annotations)),
            queue=queue,
            missing=tuple(one.model_dump() for one in earlier.missing) if earlier else (),
        )

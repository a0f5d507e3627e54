"""Drops images that show the same as an earlier one, by the embeddings of an image-text model.

Images whose vectors have a high cosine are groups, of which the first is kept (SemDeDup, Abbas et
al., arXiv 2303.09540, keeps one of each cluster). A search by random projections finds nearly all
pairs; `vectors.recall_of` has the number.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field

from florilegium.engine.core.judgement import SampleColumns, Verdicts
from florilegium.engine.core.sample import Sample
from florilegium.engine.core.stage import THRESHOLD, SampleFilter, StageConfig
from florilegium.pipelines.sample_filters.duplicates import judged_copies
from florilegium.pipelines.sample_filters.first_copy import EXACT, NEAR, FirstCopies
from florilegium.pipelines.sample_filters.vectors import (
    VectorIndex,
    from_texts,
    to_text,
    with_keys,
)
from florilegium.specialists.pretrained.checkpoint import Family
from florilegium.specialists.pretrained.stage import Pretrained
from florilegium.specialists.similarity.image_text import FAMILY, ImageText, ImageTextConfig

REASONS = {EXACT: "exact_duplicate", NEAR: "similar_image"}
_VECTOR = "embedding"


class SimilarImagesConfig(ImageTextConfig):
    """Options of `similar_images`."""

    least_cosine: Annotated[float, THRESHOLD] = Field(default=0.95, ge=0.8, le=1)
    """Cosine of two images from which on the later one is dropped. Its scale is that of the model:
    look at what is dropped before you build. Below 0.9 the search becomes incomplete."""


class SimilarImages(Pretrained[SimilarImagesConfig], SampleFilter[SimilarImagesConfig]):
    """Compare the embeddings of all images of a run, a byte for each of their numbers."""

    Config: ClassVar[type[StageConfig]] = SimilarImagesConfig
    family: ClassVar[Family] = FAMILY
    measured_texts = (_VECTOR,)
    compares = True
    compared_texts = ("copy_of", "copy")

    def load(self) -> None:
        """Load the weights."""
        super().load()
        self._image_text = ImageText(self.network, self.config)

    def measure(self, samples: Sequence[Sample]) -> list[dict[str, str]]:
        """Embed each image."""
        vectors = self._image_text.look([sample.picture for sample in samples])
        return [{_VECTOR: to_text(vector)} for vector in vectors]

    def compare(self, shards: Iterable[SampleColumns]) -> Iterator[dict[str, list[str]]]:
        copies = FirstCopies(partial(VectorIndex, least_cosine=self.config.least_cosine))
        for samples in shards:
            texts = samples.texts[_VECTOR]
            has_vector = np.array([bool(one) for one in texts], bool)
            own = texts[has_vector].tolist()
            items = with_keys(from_texts(own)) if own else np.empty((0, 0), np.int8)
            found = copies.add(samples, items, has_vector)
            yield {"copy_of": found.copy_of.tolist(), "copy": found.kind.tolist()}

    def judge(self, samples: SampleColumns) -> Verdicts:
        return judged_copies(samples, REASONS)

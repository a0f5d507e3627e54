"""Drops images by words: those that an image-text model finds nearer to unwanted texts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field

from florilegium.engine.core.annotation import SCORE_DECIMALS
from florilegium.engine.core.judgement import SampleColumns, Verdicts
from florilegium.engine.core.sample import Sample
from florilegium.engine.core.stage import THRESHOLD, SampleFilter
from florilegium.specialists.pretrained.checkpoint import Family
from florilegium.specialists.pretrained.stage import Pretrained
from florilegium.specialists.similarity.image_text import FAMILY, ImageText, ImageTextConfig

UNWANTED = "unwanted"
_TINY = 1e-30
"""Keeps the share defined where no text fits at all."""

Texts = Annotated[tuple[str, ...], Field(min_length=1)]


class ImagePromptsConfig(ImageTextConfig):
    """Options of `ImagePrompts`."""

    unwanted: Texts = ("a photo with a watermark", "a stock photo with text across it")
    """Texts about images that are to be dropped."""
    wanted: Texts = ("a photo", "a clean photo without a watermark")
    """Texts about images that are to be kept."""
    most_unwanted: Annotated[float, THRESHOLD, Field(ge=0, le=1)] = 0.8
    """Highest share of the unwanted texts, 0..1."""


class ImagePrompts(Pretrained[ImagePromptsConfig], SampleFilter[ImagePromptsConfig]):
    """Measure the share of unwanted texts in the probabilities of all texts, 0..1.

    For CLIP that is the sum of the softmax over all texts, for SigLIP each text has a probability
    of its own. Such words find what a model knows: audit the drops before you trust a threshold.
    """

    Config = ImagePromptsConfig
    family: ClassVar[Family] = FAMILY
    measured = ("unwanted",)

    def load(self) -> None:
        """Load the weights, and encode the texts once."""
        super().load()
        self._image_text = ImageText(self.network, self.config)
        texts = (*self.config.unwanted, *self.config.wanted)
        read = self._image_text.read(texts)
        means = np.stack([read[text].mean(0) for text in texts])
        self._texts = means / np.linalg.norm(means, axis=1, keepdims=True)

    def measure(self, samples: Sequence[Sample]) -> list[dict[str, float | str]]:
        """Compare each image with all texts."""
        images = self._image_text.look([sample.picture for sample in samples])
        return [{"unwanted": self._share(image)} for image in images]

    def _share(self, image: np.ndarray) -> float:
        probabilities = self._image_text.probabilities(image, self._texts)
        unwanted = probabilities[: len(self.config.unwanted)].sum()
        return round(float(unwanted / max(probabilities.sum(), _TINY)), SCORE_DECIMALS)

    def judge(self, samples: SampleColumns) -> Verdicts:
        """Judge the stored shares."""
        verdicts = Verdicts(len(samples))
        verdicts.drop(samples.numbers["unwanted"] > self.config.most_unwanted, UNWANTED)
        return verdicts

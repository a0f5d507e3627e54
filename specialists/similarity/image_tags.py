"""Tags of an image: the names of a vocabulary that fit it best, by zero-shot classification.

Names are inserted into sentences and compared with the image (CLIP, arXiv 2103.00020, section 3.1;
SigLIP 2, arXiv 2502.14786).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field, field_validator

from florilegium.engine.core.annotation import Annotation
from florilegium.engine.core.sample import Sample
from florilegium.engine.core.stage import CONTENT, Specialist, StageConfig
from florilegium.specialists.pretrained.checkpoint import Family
from florilegium.specialists.pretrained.stage import Pretrained
from florilegium.specialists.similarity.image_text import FAMILY, ImageText, ImageTextConfig
from florilegium.specialists.words.vocabulary import Names, Vocabulary, vocabulary_of


class ImageTagsConfig(ImageTextConfig):
    """Options of `image_tags`."""

    vocabulary: Annotated[Names, CONTENT] = "package://florilegium/configs/objects.txt"
    """The names: a list, names with their phrases, or a text file of either, one `name` or `name:
    phrase, phrase` per line. The content counts, not the path."""
    templates: tuple[str, ...] = Field(default=("This is a photo of {}.",), min_length=1)
    """Sentences with `{}` for the name; their mean vector is compared."""
    top_k: int = Field(default=10, ge=1)
    """Maximum tags of an image."""
    least_score: float = Field(default=0.01, ge=0, le=1)
    """Minimum score, 0..1: for SigLIP the probability of the tag on its own, for CLIP relative to
    the rest of the vocabulary."""
    language: str = "en"
    """Language of the names, ISO 639-1; empty if unknown."""

    @field_validator("templates")
    @classmethod
    def _have_a_place(cls, templates: tuple[str, ...]) -> tuple[str, ...]:
        for template in templates:
            if template.count("{}") != 1:
                raise ValueError(f"{template!r} needs `{{}}` exactly once, for the name")
        return templates


class ImageTags(Pretrained[ImageTagsConfig], Specialist[ImageTagsConfig]):
    """The best names of a vocabulary for each image, best first.

    The score is that of the zero-shot pipeline of `transformers`: for SigLIP the probability that
    name and image belong together, for CLIP the softmax over the vocabulary.
    """

    Config: ClassVar[type[StageConfig]] = ImageTagsConfig
    family: ClassVar[Family] = FAMILY
    produces: tuple[str, ...] = ("tag",)

    def revision(self) -> str:
        """Name the weights and the vocabulary.

        Raises:
            ConfigError: the model or the vocabulary cannot be used.
        """
        return f"{super().revision()}, vocabulary {self._vocabulary.digest}"

    def load(self) -> None:
        """Load the weights and encode the vocabulary once."""
        super().load()
        self._image_text = ImageText(self.network, self.config)
        self._vectors: np.ndarray = self._encoded_vocabulary()

    def predict(self, samples: Sequence[Sample]) -> list[list[Annotation]]:
        """Compare each image with all names."""
        pictures = [sample.picture for sample in samples]
        return [self._tags(image) for image in self._image_text.look(pictures)]

    def _tags(self, image: np.ndarray) -> list[Annotation]:
        probabilities = self._image_text.probabilities(image, self._vectors)
        best = np.argsort(-probabilities, kind="stable")[: self.config.top_k]
        return [
            Annotation(
                kind="text",
                task="tag",
                text=self._vocabulary.names[number],
                label=self._vocabulary.names[number],
                language=self.config.language,
                score=float(probabilities[number]),
            )
            for number in best
            if probabilities[number] >= self.config.least_score
        ]

    def _encoded_vocabulary(self) -> np.ndarray:
        """Return the unit vector of each name, (names, width): the mean of all its sentences."""
        prompts = [
            [template.replace("{}", phrase) for template in self.config.templates for phrase in own]
            for own in self._vocabulary.phrases.values()
        ]
        vectors = self._image_text.read(prompt for each in prompts for prompt in each)
        means = np.stack(
            [np.concatenate([vectors[one] for one in each]).mean(0) for each in prompts]
        )
        return np.asarray(means / np.linalg.norm(means, axis=1, keepdims=True))

    @cached_property
    def _vocabulary(self) -> Vocabulary:
        return vocabulary_of(self.config.vocabulary)

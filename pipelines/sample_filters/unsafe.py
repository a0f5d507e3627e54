"""Drops images that must not be shown: nudity, violence, or any class that a model names.

`unsafe_class` asks an image classifier, `unsafe_prompt` an image-text model. Which model, which of
its classes and which thresholds is for the config to say: no model comes with the package.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, ClassVar, Self

import numpy as np
from pydantic import Field, model_validator

from florilegium.engine.core.annotation import SCORE_DECIMALS
from florilegium.engine.core.errors import nearest
from florilegium.engine.core.judgement import SampleColumns, Verdicts
from florilegium.engine.core.sample import Sample
from florilegium.engine.core.stage import CONTENT, THRESHOLD, SampleFilter, StageConfig
from florilegium.pipelines.filters.per_task import Fraction
from florilegium.specialists.pretrained.checkpoint import Checkpoint, Family
from florilegium.specialists.pretrained.config import PretrainedConfig
from florilegium.specialists.pretrained.stage import Pretrained
from florilegium.specialists.similarity import image_classes, image_text
from florilegium.specialists.similarity.image_classes import ImageClasses
from florilegium.specialists.similarity.image_text import ImageText, ImageTextConfig

Reason = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,63}$")]
DEFAULT_MOST = 0.5
DEFAULT_UNSAFE = {
    "nudity": ("a photo of a naked person", "a pornographic picture"),
    "violence": ("a photo of a bloody injury", "a photo of a dead body"),
}


class Judged(StageConfig):
    """Thresholds on probabilities of names."""

    most: Annotated[dict[str, Fraction], THRESHOLD] = Field(default={})
    """Probability of each name, 0..1, above which an image is dropped; 0.5 for names that a config
    omits."""
    reason: Annotated[Reason, THRESHOLD] = "unsafe"
    """The reason of what is dropped, in snake case."""

    @property
    def names(self) -> tuple[str, ...]:
        """The names whose probabilities are judged."""
        return ()

    @model_validator(mode="after")
    def _of_names(self) -> Self:
        for name in self.most:
            if name not in self.names:
                raise ValueError(f"most: {name!r} is not judged; {nearest(name, self.names)}")
        return self


class UnsafeClassConfig(PretrainedConfig, Judged):
    """Options of `unsafe_class`."""

    model: Annotated[str, CONTENT] = image_classes.FAMILY.example
    """A folder, `package://NAME/FOLDER` or a hub id of an image classifier whose classes name what
    must not be shown."""
    labels: tuple[str, ...] = Field(min_length=1)
    """Classes of the model for which images are dropped, as the checkpoint writes them."""

    @property
    def names(self) -> tuple[str, ...]:
        return self.labels


class UnsafePromptConfig(ImageTextConfig, Judged):
    """Options of `unsafe_prompt`."""

    unsafe: dict[str, tuple[str, ...]] = Field(default=DEFAULT_UNSAFE, min_length=1)
    """What images are dropped for: a name, and sentences that describe such images."""
    safe: tuple[str, ...] = Field(
        default=("a photo of a person", "a photo of an animal", "a photo of a place", "a picture"),
        min_length=1,
    )
    """Sentences that describe other images; for CLIP, all probabilities are relative to these."""

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self.unsafe)


class UnsafeClass(Pretrained[UnsafeClassConfig], SampleFilter[UnsafeClassConfig]):
    """Judge images by the probabilities of some classes of an image classifier."""

    Config: ClassVar[type[StageConfig]] = UnsafeClassConfig
    family: ClassVar[Family] = image_classes.FAMILY

    def __init__(self, config: UnsafeClassConfig) -> None:
        super().__init__(config)
        self.measured = config.labels

    def checkpoint(self) -> Checkpoint:
        """Find the checkpoint.

        Raises:
            ConfigError: it cannot be used, or does not have one of the labels.
        """
        checkpoint = super().checkpoint()
        image_classes.check_labels(checkpoint, self.config.labels)
        return checkpoint

    def load(self) -> None:
        """Load the weights."""
        super().load()
        self._classes = ImageClasses(self.network)

    def measure(self, samples: Sequence[Sample]) -> list[dict[str, float]]:
        """Classify each image."""
        found = self._classes.look([sample.picture for sample in samples])
        return [
            {name: round(one[name], SCORE_DECIMALS) for name in self.config.labels} for one in found
        ]

    def judge(self, samples: SampleColumns) -> Verdicts:
        return judged(samples, self.config)


class UnsafePrompt(Pretrained[UnsafePromptConfig], SampleFilter[UnsafePromptConfig]):
    """Judge images by how well sentences describe them, for each name the best of its sentences.

    Probabilities are those of the zero-shot pipeline of `transformers`: for SigLIP each sentence on
    its own, for CLIP the softmax over all.
    """

    Config: ClassVar[type[StageConfig]] = UnsafePromptConfig
    family: ClassVar[Family] = image_text.FAMILY

    def __init__(self, config: UnsafePromptConfig) -> None:
        super().__init__(config)
        self.measured = config.names

    def load(self) -> None:
        """Load the weights and encode the sentences once."""
        super().load()
        self._image_text = ImageText(self.network, self.config)
        own = [(name, text) for name, texts in self.config.unsafe.items() for text in texts]
        pairs = [*own, *(("", text) for text in self.config.safe)]
        read = self._image_text.read(text for _, text in pairs)
        self._vectors = np.stack([read[text].mean(axis=0) for _, text in pairs])
        self._names = np.array([name for name, _ in pairs])

    def measure(self, samples: Sequence[Sample]) -> list[dict[str, float]]:
        """Compare each image with all sentences."""
        images = self._image_text.look([sample.picture for sample in samples])
        return [self._best(self._image_text.probabilities(one, self._vectors)) for one in images]

    def _best(self, probabilities: np.ndarray) -> dict[str, float]:
        return {
            name: round(float(probabilities[self._names == name].max()), SCORE_DECIMALS)
            for name in self.config.names
        }

    def judge(self, samples: SampleColumns) -> Verdicts:
        return judged(samples, self.config)


def judged(samples: SampleColumns, config: Judged) -> Verdicts:
    """Drop samples with a probability above its threshold."""
    verdicts = Verdicts(len(samples))
    numbers: Mapping[str, np.ndarray] = samples.numbers
    for name in config.names:
        verdicts.drop(numbers[name] > config.most.get(name, DEFAULT_MOST), config.reason)
    return verdicts

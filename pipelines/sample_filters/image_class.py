"""Drops images of some classes, such as nudity or violence, by any image classifier.

Which model, which of its classes and which thresholds is for the config to say: no model comes with
the package. By an image-text model and sentences, `image_prompts` does the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar, Self

from pydantic import Field, model_validator

from florilegium.engine.core.annotation import SCORE_DECIMALS
from florilegium.engine.core.errors import nearest
from florilegium.engine.core.judgement import SampleColumns, Verdicts
from florilegium.engine.core.sample import Sample
from florilegium.engine.core.stage import CONTENT, THRESHOLD, SampleFilter, StageConfig
from florilegium.specialists.pretrained.checkpoint import Checkpoint, Family
from florilegium.specialists.pretrained.config import PretrainedConfig
from florilegium.specialists.pretrained.stage import Pretrained
from florilegium.specialists.similarity.image_classes import FAMILY, ImageClasses, check_labels

DEFAULT_MOST = 0.5
Fraction = Annotated[float, Field(ge=0, le=1)]


class ImageClassConfig(PretrainedConfig):
    """Options of `ImageClass`."""

    model: Annotated[str, CONTENT] = "Falconsai/nsfw_image_detection"
    """A folder, `package://NAME/FOLDER` or a hub id of an image classifier whose classes name what
    must not be shown."""
    labels: tuple[str, ...] = Field(default=("nsfw",), min_length=1)
    """Classes of the model for which images are dropped, as the checkpoint writes them."""
    most: Annotated[dict[str, Fraction], THRESHOLD] = Field(default={})
    """Probability of each class, 0..1, above which an image is dropped; 0.5 for classes that a
    config omits."""
    reason: Annotated[str, THRESHOLD, Field(pattern=r"^[a-z][a-z0-9_]{0,63}$")] = "unsafe"
    """The reason of what is dropped, in snake case."""

    @model_validator(mode="after")
    def _of_labels(self) -> Self:
        for name in self.most:
            if name not in self.labels:
                hint = nearest(name, self.labels)
                raise ValueError(f"most: {name!r} is none of the `labels`; {hint}")
        return self


class ImageClass(Pretrained[ImageClassConfig], SampleFilter[ImageClassConfig]):
    """Judge images by the probabilities of some classes of an image classifier."""

    Config: ClassVar[type[StageConfig]] = ImageClassConfig
    family: ClassVar[Family] = FAMILY
    measured: tuple[str, ...] = ("nsfw",)

    def __init__(self, config: ImageClassConfig) -> None:
        super().__init__(config)
        self.measured = config.labels

    def checkpoint(self) -> Checkpoint:
        """Find the checkpoint.

        Raises:
            ConfigError: it cannot be used, or does not have one of the labels.
        """
        checkpoint = super().checkpoint()
        check_labels(checkpoint, self.config.labels)
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
        """Drop samples with a probability above its threshold."""
        verdicts = Verdicts(len(samples))
        for name in self.config.labels:
            most = self.config.most.get(name, DEFAULT_MOST)
            verdicts.drop(samples.numbers[name] > most, self.config.reason)
        return verdicts

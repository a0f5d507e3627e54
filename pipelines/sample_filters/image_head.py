"""Drops images by a score: a linear head on the embedding of an image-text model.

LAION's predictors of aesthetics and watermarks are such heads. Their weights come as safetensors;
a pickled `.pth` runs code, and is refused.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Annotated, ClassVar

import numpy as np

from florilegium.engine.core.annotation import SCORE_DECIMALS
from florilegium.engine.core.errors import ConfigError
from florilegium.engine.core.judgement import SampleColumns, Verdicts
from florilegium.engine.core.sample import Sample
from florilegium.engine.core.stage import CONTENT, THRESHOLD, SampleFilter
from florilegium.specialists.pretrained.checkpoint import Family
from florilegium.specialists.pretrained.stage import Pretrained
from florilegium.specialists.pretrained.views import Given
from florilegium.specialists.similarity.image_text import FAMILY, ImageText, ImageTextConfig

LOW_SCORE, HIGH_SCORE = "low_score", "high_score"
_MOST_BYTES = 1 << 28
_LAYER = re.compile(r"(?:(?:\w+\.)*?(?:layers?\.)?(\d+)\.|(?:\w+\.)*)(weight|bias)")
"""The name of a tensor: of one layer `weight`, of several `layers.NUMBER.weight`."""


class ImageHeadConfig(ImageTextConfig):
    """Options of `ImageHead`."""

    head: Annotated[str, CONTENT] = ""
    """The safetensors file of the head, which has to be given: `weight` and `bias` of a linear
    layer with one output, or those of several, `layers.NUMBER.weight`, one after the other without
    anything between."""
    least_score: Annotated[float | None, THRESHOLD] = None
    """Least score, on the scale of the head; by default any."""
    most_score: Annotated[float | None, THRESHOLD] = None
    """Highest score, as of a watermark; by default any."""


class ImageHead(Pretrained[ImageHeadConfig], SampleFilter[ImageHeadConfig]):
    """Measure the score that a linear head gives the unit embedding of an image.

    The head belongs to one model: LAION's aesthetic predictors to OpenAI's CLIP ViT-L/14, on a
    scale of about 1 to 10. A head of several layers is multiplied out into one.
    """

    Config = ImageHeadConfig
    family: ClassVar[Family] = FAMILY
    measured = ("score",)

    def revision(self) -> str:
        """Name the weights of the model and of the head.

        Raises:
            ConfigError: one of them cannot be used.
        """
        return f"{super().revision()}, head {sha256(_read(self.config.head)).hexdigest()[:16]}"

    def load(self) -> None:
        """Load the weights.

        Raises:
            ConfigError: the head does not fit the model.
        """
        super().load()
        self._image_text = ImageText(self.network, self.config)
        self._weight, self._bias = read_head(self.config.head)
        (embedding,) = self._image_text.look([Given(np.zeros((32, 32, 3), np.uint8))])
        if embedding.shape != self._weight.shape:
            raise ConfigError(
                f"head = {self.config.head!r} wants embeddings of {len(self._weight)} numbers, "
                f"the model gives {len(embedding)}: give the model that the head was trained on"
            )

    def measure(self, samples: Sequence[Sample]) -> list[dict[str, float | str]]:
        """Score each image."""
        images = self._image_text.look([sample.picture for sample in samples])
        scores = (float(image @ self._weight + self._bias) for image in images)
        return [{"score": round(score, SCORE_DECIMALS)} for score in scores]

    def judge(self, samples: SampleColumns) -> Verdicts:
        """Judge the stored scores."""
        verdicts = Verdicts(len(samples))
        score = samples.numbers["score"]
        if self.config.least_score is not None:
            verdicts.drop(score < self.config.least_score, LOW_SCORE)
        if self.config.most_score is not None:
            verdicts.drop(score > self.config.most_score, HIGH_SCORE)
        return verdicts


def read_head(path: str) -> tuple[np.ndarray, float]:
    """Return the weight, float64, shape (width,), and the bias of a head, its layers multiplied.

    Raises:
        ConfigError: it is no such file, or its tensors are no chain of linear layers to one number.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    data = _read(path)
    try:
        tensors = load(data)
    except SafetensorError as error:
        raise ConfigError(
            f"head = {path!r} is no safetensors file ({error}): convert a .pth with "
            f"`safetensors.torch.save_file` where you trust it"
        ) from error
    if not tensors:
        raise ConfigError(f"head = {path!r} has no tensors")
    layers: dict[int, dict[str, np.ndarray]] = {}
    for name, tensor in tensors.items():
        match = _LAYER.fullmatch(name)
        if match is None:
            raise ConfigError(f"head = {path!r}: {name!r} is no weight or bias of a linear layer")
        layers.setdefault(int(match[1] or 0), {})[match[2]] = tensor.astype(np.float64)
    try:
        width = layers[min(layers)]["weight"].shape[1]
        weight, bias = np.eye(width), np.zeros(width)
        for _, layer in sorted(layers.items()):
            weight = layer["weight"] @ weight
            bias = layer["weight"] @ bias + layer.get("bias", 0.0)
    except (IndexError, KeyError, ValueError) as error:
        raise ConfigError(f"head = {path!r}: its layers do not fit each other: {error}") from error
    if weight.shape[0] != 1 or not np.isfinite(weight).all() or not np.isfinite(bias).all():
        raise ConfigError(f"head = {path!r} has no single finite score: {weight.shape[0]} outputs")
    return weight[0], float(bias[0])


def _read(path: str) -> bytes:
    if not path:
        raise ConfigError("image_head needs a `head`: name the safetensors file with its weights")
    try:
        file = Path(path)
        if file.stat().st_size > _MOST_BYTES:
            raise ConfigError(f"head = {path!r} has more than {_MOST_BYTES} bytes")
        return file.read_bytes()
    except OSError as error:
        raise ConfigError(f"head = {path!r} cannot be read: {error.strerror}") from error

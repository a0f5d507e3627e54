"""Similarity of images and texts by the two-tower models CLIP, MetaCLIP 2, SigLIP and SigLIP 2.

Images and texts become unit vectors in one space. For SigLIP the score is a probability, for CLIP
the cosine: thresholds of one family are meaningless for the other.
"""

from __future__ import annotations

import math
import re
import threading
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np

from florilegium.engine.core.errors import ConfigError
from florilegium.engine.core.stage import CONTENT
from florilegium.specialists.pretrained.checkpoint import Family, resolve
from florilegium.specialists.pretrained.config import PretrainedConfig
from florilegium.specialists.pretrained.loading import scalar_weight
from florilegium.specialists.pretrained.network import Network, preprocess, to_numpy, unbatched
from florilegium.specialists.pretrained.views import Crop, Given, Preprocess, View
from florilegium.specialists.regions.crops import CropConfig, crop_window

if TYPE_CHECKING:
    from torch import Tensor

    from florilegium.engine.core.sample import Sample

FAMILY = Family(
    title="an image-text model of the CLIP or SigLIP kind",
    example="google/siglip2-base-patch16-224",
    model_class="AutoModelForZeroShotImageClassification",
    model_types=("clip", "metaclip_2", "siglip", "siglip2"),
)
"""SigLIP 2 checkpoints of fixed size have the type `siglip`; `siglip2` are those of NaFlex."""

_LONGEST_ASPECT = 16
"""Maximum aspect ratio of images for models that crop the centre after resizing."""
_SENTENCE_END = re.compile(r"""(?:(?<=[.!?])|(?<=[.!?]["')]))\s+""")


class ImageTextConfig(PretrainedConfig):
    """Options of an image-text model."""

    model: Annotated[str, CONTENT] = FAMILY.example
    """A folder, `package://NAME/FOLDER` or a hub id: CLIP, MetaCLIP 2, SigLIP or SigLIP 2."""


def crop(sample: Sample, box_xyxy: Sequence[float], config: CropConfig) -> Crop | None:
    """Return the part of an image in a box with its margin, or `None` (`crop_window`)."""
    window = crop_window(box_xyxy, (sample.width, sample.height), config)
    return None if window is None else Crop(sample.picture, window)


class _PreprocessCentre(Preprocess):
    """Preprocesses images; of a strip, only the centre, where that is what the model sees."""

    def __call__(self, view: View) -> dict[str, Tensor]:
        image = view.pixels()
        if getattr(self.image_processor, "do_center_crop", False):
            image = _centre(image)
        return preprocess(self.image_processor, image)


class ImageText:
    """A loaded image-text model: it encodes images and texts, and compares them.

    Raises:
        ConfigError: the model cannot take images of `image_size`.
    """

    def __init__(self, network: Network, config: ImageTextConfig) -> None:
        self._network = network
        self._model = model = network.model
        self._tokenizer = network.processor.tokenizer
        self._preprocess = _PreprocessCentre(network.image_processor)
        self._limit: int = model.config.text_config.max_position_embeddings
        self._scale = math.exp(_scalar_weight(network, "logit_scale"))
        self._bias = _scalar_weight(network, "logit_bias") if hasattr(model, "logit_bias") else None
        # SigLIP was trained with padded texts and attends to the padding.
        self._padding = "do_not_pad" if self._bias is None else "max_length"
        self._resized = {} if config.image_size is None else {"interpolate_pos_encoding": True}
        # A fast tokenizer stores its settings: one thread at a time.
        self._tokenizer_lock = threading.Lock()
        if config.compile:
            model.vision_model.compile()
        if config.image_size is not None:
            self._try(config.model, config.image_size)

    def look(self, views: Sequence[View]) -> list[np.ndarray]:
        """Return the unit vector of each image or part of one, float32, shape (width,)."""
        return self._network.ask(views, self._preprocess, self._encode_images, _unit)

    def read(self, texts: Iterable[str]) -> dict[str, np.ndarray]:
        """Return the unit vectors of each distinct text, float32, shape (pieces, width).

        A text that is too long for the model (64 tokens for SigLIP, 77 for CLIP) is split into
        sentences; a sentence that is too long is truncated.
        """
        with self._tokenizer_lock:
            pieces = {text: self._pieces(text) for text in texts}
            distinct = list(dict.fromkeys(piece for each in pieces.values() for piece in each))
            tokens = [self._tokens(piece) for piece in distinct]
        encoded = self._network.run(tokens, self._encode_texts, _unit)
        vectors = dict(zip(distinct, encoded, strict=True))
        return {text: np.stack([vectors[one] for one in each]) for text, each in pieces.items()}

    def similarity(self, image: np.ndarray, texts: np.ndarray) -> float:
        """Return the similarity of an image and a text, 0..1: the mean over the text's pieces.

        For SigLIP the probability that they match, for CLIP the cosine, at least 0.
        """
        if self._bias is None:
            return float((texts @ image).clip(0, 1).mean())
        return float(_sigmoid(self._logits(image, texts)).mean())

    def probabilities(self, image: np.ndarray, texts: np.ndarray) -> np.ndarray:
        """Return the probability of each text for an image, 0..1, shape (texts,).

        As in the zero-shot pipeline of `transformers`: for SigLIP each text on its own, for CLIP
        the softmax over the texts.
        """
        logits = self._logits(image, texts)
        if self._bias is not None:
            return _sigmoid(logits)
        odds = np.exp(logits - logits.max(initial=-np.inf))
        return np.asarray(odds / odds.sum())

    def _logits(self, image: np.ndarray, texts: np.ndarray) -> np.ndarray:
        return np.asarray(texts @ image * self._scale + (self._bias or 0.0), dtype=np.float64)

    def _try(self, model: str, side: int) -> None:
        try:
            self.look([Given(np.zeros((side, side, 3), np.uint8))])
        except Exception as error:  # torch raises any exception
            raise ConfigError(
                f"model {model!r} cannot take images of {side} px: {error}; leave `image_size` out "
                "or choose another multiple of its patch"
            ) from error

    def _pieces(self, text: str) -> list[str]:
        tokens = self._tokenizer(text, verbose=False).input_ids
        return [text] if len(tokens) <= self._limit else sentences(text)

    def _tokens(self, text: str) -> dict[str, Tensor]:
        limits: dict[str, Any] = {"truncation": True, "max_length": self._limit}
        return unbatched(
            self._tokenizer([text], return_tensors="pt", padding=self._padding, **limits)
        )

    def _encode_images(self, batch: dict[str, Tensor], _: object) -> Any:
        return self._model.get_image_features(**batch, **self._resized).pooler_output

    def _encode_texts(self, batch: Mapping[str, Tensor], _: object) -> Any:
        return self._model.get_text_features(**batch).pooler_output


def load_image_text(config: ImageTextConfig) -> ImageText:
    """Load a model for use outside of a stage.

    Raises:
        ConfigError: it is missing or cannot be used.
    """
    checkpoint = resolve(config.model, FAMILY, config.revision, is_random=bool(config.caveat))
    return ImageText(Network(checkpoint, config), config)


def sentences(text: str) -> list[str]:
    """Split a text after full stops, question and exclamation marks before white space."""
    return [sentence for sentence in _SENTENCE_END.split(text.strip()) if sentence] or [text]


def _scalar_weight(network: Network, name: str) -> float:
    """Return a scalar weight with the precision of the checkpoint: in bfloat16, a scale of 117
    would be 116, and a probability of 0.76 would be 0.72."""
    stored = scalar_weight(network.checkpoint, name)
    return float(getattr(network.model, name).item()) if stored is None else stored


def _unit(features: Tensor, _: object) -> list[np.ndarray]:
    vectors = to_numpy(features)
    return list(vectors / np.linalg.norm(vectors, axis=-1, keepdims=True))


def _sigmoid(logits: np.ndarray) -> np.ndarray:
    # By tanh, which does not overflow; scipy's `expit` would add a dependency to the base.
    return np.asarray((1 + np.tanh(logits / 2)) / 2)


def _centre(image: np.ndarray) -> np.ndarray:
    """Crop the centre of a strip that is so long that resizing it would fill the memory."""
    height, width = image.shape[:2]
    longest = _LONGEST_ASPECT * min(height, width)
    top, left = max(0, height - longest) // 2, max(0, width - longest) // 2
    return image[top : height - top, left : width - left]

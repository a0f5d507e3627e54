"""How well a text fits an image: the two-tower models CLIP, MetaCLIP 2, SigLIP and SigLIP 2.

Images and texts become unit vectors in one space. SigLIP turns the cosine of two into a
probability; for CLIP, which only ranks, the cosine itself is the score. Thresholds of one family
therefore mean nothing to the other. Knows no annotations.
"""

from __future__ import annotations

import math
import re
import threading
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np

from engine.core.errors import ConfigError
from engine.core.stage import RUNTIME
from specialists.pretrained.checkpoint import Family
from specialists.pretrained.config import PretrainedConfig
from specialists.pretrained.loading import lone_weight
from specialists.pretrained.network import Network, finite, pictured, unbatched
from specialists.regions.crops import CropConfig, crop_window

if TYPE_CHECKING:
    from torch import Tensor

FAMILY = Family(
    title="an image-text model of the CLIP or SigLIP kind",
    example="google/siglip2-base-patch16-224",
    model_class="AutoModelForZeroShotImageClassification",
    model_types=("clip", "metaclip_2", "siglip", "siglip2"),
)
"""Fixed-size SigLIP 2 checkpoints call themselves `siglip`; `siglip2` are those of NaFlex."""

_LONGEST_ASPECT = 16
"""Long side over short of what a model sees that keeps the aspect and then cuts out the centre."""
_SENTENCE_END = re.compile(r"""(?:(?<=[.!?])|(?<=[.!?]["')]))\s+""")


class ImageTextConfig(PretrainedConfig):
    """Which image-text model, and how it is run."""

    model: Annotated[str, RUNTIME] = FAMILY.example
    """A folder, `package://NAME/FOLDER` or a hub id: CLIP, MetaCLIP 2, SigLIP or SigLIP 2."""


def crop(image: np.ndarray, box_xyxy: Sequence[float], config: CropConfig) -> np.ndarray | None:
    """Return a box's pixels with a margin, a view of the image, or nothing (`crop_window`)."""
    height, width = image.shape[:2]
    window = crop_window(box_xyxy, (width, height), config)
    return None if window is None else image[window.rows, window.columns]


class ImageText:
    """A loaded image-text model: it looks at images, reads texts and compares the two.

    Raises:
        ConfigError: the model cannot see images of the size that the options ask for.
    """

    def __init__(self, network: Network, config: ImageTextConfig) -> None:
        self._network = network
        self._model = model = network.model
        self._tokenizer = network.processor.tokenizer
        self._image_processor = network.processor.image_processor
        self._limit: int = model.config.text_config.max_position_embeddings
        self._scale = math.exp(_lone_weight(network, "logit_scale"))
        self._bias = _lone_weight(network, "logit_bias") if hasattr(model, "logit_bias") else None
        # SigLIP was trained on texts that are padded, and sees the padding.
        self._padding = "do_not_pad" if self._bias is None else "max_length"
        self._resized = {} if config.image_size is None else {"interpolate_pos_encoding": True}
        # A fast tokenizer keeps its settings in itself: one thread at a time.
        self._reading = threading.Lock()
        if config.compile:
            model.vision_model.compile()
        if config.image_size is not None:
            self._try(config.model, config.image_size)

    def look(self, images: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Return the unit vector of each RGB image, float32, shape (width,)."""
        return self._network.ask(images, self._pixels, self._see)

    def read(self, texts: Iterable[str]) -> dict[str, np.ndarray]:
        """Return the unit vectors of each distinct text, float32, shape (pieces, width).

        A text that is too long for the model (64 tokens for SigLIP, 77 for CLIP) is read sentence
        by sentence; of a sentence that is too long alone, the beginning is read.
        """
        with self._reading:
            pieces = {text: self._pieces(text) for text in texts}
            distinct = list(dict.fromkeys(piece for each in pieces.values() for piece in each))
            tokens = [self._tokens(piece) for piece in distinct]
        vectors = dict(zip(distinct, self._network.run(tokens, self._understand), strict=True))
        return {text: np.stack([vectors[one] for one in each]) for text, each in pieces.items()}

    def similarity(self, seen: np.ndarray, read: np.ndarray) -> float:
        """Return how well a text fits an image, 0..1: the mean over the pieces of the text.

        For SigLIP the probability that they belong together, for CLIP the cosine, at least 0.
        """
        if self._bias is None:
            return float((read @ seen).clip(0, 1).mean())
        return float(_sigmoid(self._logits(seen, read)).mean())

    def chances(self, seen: np.ndarray, read: np.ndarray) -> np.ndarray:
        """Return how likely each of some texts is for an image, 0..1, shape (texts,).

        As the zero-shot pipeline of `transformers` has it: for SigLIP each text on its own, for
        CLIP against the other texts, so that all add up to 1.
        """
        logits = self._logits(seen, read)
        if self._bias is not None:
            return _sigmoid(logits)
        odds = np.exp(logits - logits.max(initial=-np.inf))
        return np.asarray(odds / odds.sum())

    def _logits(self, seen: np.ndarray, read: np.ndarray) -> np.ndarray:
        return np.asarray(read @ seen * self._scale + (self._bias or 0.0), dtype=np.float64)

    def _try(self, model: str, side: int) -> None:
        try:
            self.look([np.zeros((side, side, 3), np.uint8)])
        except Exception as error:  # torch raises whatever it meets
            raise ConfigError(
                f"model {model!r} cannot see images of {side} px: {error}; leave `image_size` out "
                "or choose another multiple of its patch"
            ) from error

    def _pixels(self, image: np.ndarray) -> dict[str, Tensor]:
        if getattr(self._image_processor, "do_center_crop", False):
            image = _centre(image)
        return pictured(self._image_processor, image)

    def _pieces(self, text: str) -> list[str]:
        tokens = self._tokenizer(text, verbose=False).input_ids
        return [text] if len(tokens) <= self._limit else sentences(text)

    def _tokens(self, text: str) -> dict[str, Tensor]:
        limits: dict[str, Any] = {"truncation": True, "max_length": self._limit}
        return unbatched(
            self._tokenizer([text], return_tensors="pt", padding=self._padding, **limits)
        )

    def _see(self, batch: dict[str, Tensor], _: object) -> list[np.ndarray]:
        return _unit(self._model.get_image_features(**batch, **self._resized).pooler_output)

    def _understand(self, batch: Mapping[str, Tensor], _: object) -> list[np.ndarray]:
        return _unit(self._model.get_text_features(**batch).pooler_output)


def sentences(text: str) -> list[str]:
    """Cut a text after full stops, question and exclamation marks that white space follows."""
    return [sentence for sentence in _SENTENCE_END.split(text.strip()) if sentence] or [text]


def _lone_weight(network: Network, name: str) -> float:
    """Return a weight of one number as the checkpoint has it: rounded to bfloat16, a scale of 117
    would be 116, and a chance of 0.76 one of 0.72."""
    stored = lone_weight(network.checkpoint, name)
    return float(getattr(network.model, name).item()) if stored is None else stored


def _unit(features: Tensor) -> list[np.ndarray]:
    vectors = finite(features)
    return list(vectors / np.linalg.norm(vectors, axis=-1, keepdims=True))


def _sigmoid(logits: np.ndarray) -> np.ndarray:
    # By tanh, which does not overflow.
    return np.asarray((1 + np.tanh(logits / 2)) / 2)


def _centre(image: np.ndarray) -> np.ndarray:
    """Return the middle of a strip so long that resizing it would fill the memory."""
    height, width = image.shape[:2]
    longest = _LONGEST_ASPECT * min(height, width)
    top, left = max(0, height - longest) // 2, max(0, width - longest) // 2
    return image[top : height - top, left : width - left]

"""Probabilities of classes of whole images, by any image classifier in `transformers`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from florilegium.engine.core.errors import ConfigError, nearest
from florilegium.specialists.pretrained.checkpoint import Checkpoint, Family
from florilegium.specialists.pretrained.network import Network, to_numpy
from florilegium.specialists.pretrained.views import Preprocess, View

if TYPE_CHECKING:
    from torch import Tensor

FAMILY = Family(
    title="an image classifier",
    example="google/vit-base-patch16-224",
    model_class="AutoModelForImageClassification",
    processor_class="AutoImageProcessor",
)


def labels_of(checkpoint: Checkpoint) -> tuple[str, ...]:
    """Return the names of the classes of a checkpoint, in their order.

    Raises:
        ConfigError: it names none.
    """
    config = json.loads((checkpoint.folder / "config.json").read_text("utf-8"))
    names = config.get("id2label")
    if not isinstance(names, dict) or not names:
        raise ConfigError(f"model {checkpoint.model!r} does not name its classes (`id2label`)")
    return tuple(str(names[number]) for number in sorted(names, key=int))


def check_labels(checkpoint: Checkpoint, wanted: Sequence[str]) -> None:
    """Refuse names of classes that a checkpoint does not have.

    Raises:
        ConfigError: with the nearest name.
    """
    known = labels_of(checkpoint)
    for label in wanted:
        if label not in known:
            raise ConfigError(
                f"model {checkpoint.model!r} has no class {label!r}; {nearest(label, known)}"
            )


class ImageClasses:
    """A loaded classifier.

    Probabilities are those of the pipeline of `transformers`: a sigmoid for a checkpoint with one
    class or of the problem type `multi_label_classification`, else the softmax over all classes.
    """

    def __init__(self, network: Network) -> None:
        self._network = network
        config = network.model.config
        self.labels = labels_of(network.checkpoint)
        self._is_multi_label = (
            config.problem_type == "multi_label_classification" or config.num_labels == 1
        )
        self._preprocess = Preprocess(network.image_processor)

    def look(self, views: Sequence[View]) -> list[dict[str, float]]:
        """Return the probability of each class by its name, for each image."""
        found = self._network.ask(views, self._preprocess, self._logits, self._probabilities)
        return [dict(zip(self.labels, one.tolist(), strict=True)) for one in found]

    def _logits(self, batch: dict[str, Tensor], _: object) -> Any:
        return self._network.model(**batch).logits

    def _probabilities(self, logits: Tensor, _: object) -> list[np.ndarray]:
        values = to_numpy(logits).astype(np.float64)
        if self._is_multi_label:
            return list((1 + np.tanh(values / 2)) / 2)
        odds = np.exp(values - values.max(axis=-1, keepdims=True))
        return list(odds / odds.sum(axis=-1, keepdims=True))

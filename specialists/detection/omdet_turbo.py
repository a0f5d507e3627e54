"""OmDet-Turbo (arXiv 2403.06892): its input is a list of names, and a sentence with all of them.

Every box is scored for every name. Overlapping boxes are left to filters, so the non-maximum
suppression of the processor, which needs torchvision, is not used.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np

from florilegium.engine.core.errors import ConfigError
from florilegium.specialists.detection.queries import NamedBoxes, NameQueries, corners
from florilegium.specialists.pretrained.checkpoint import Checkpoint
from florilegium.specialists.pretrained.loading import load_part, load_pretrained
from florilegium.specialists.pretrained.network import Network, to_numpy
from florilegium.specialists.pretrained.precision import to_full_precision
from florilegium.specialists.pretrained.views import Preprocess

if TYPE_CHECKING:
    from torch import Tensor

    from florilegium.engine.core.sample import Sample

_LONGEST = 77
"""Maximum tokens of a name or of the sentence, as in the processor of the family."""
_STRIDE = 32
"""Stride in pixels of the coarsest feature map."""
_CACHED_NAMES = 4096
"""Names whose text features the model caches."""


def load_omdet_turbo(checkpoint: Checkpoint, **how: str) -> tuple[Any, Any]:
    """Load (model, image processor and tokenizer).

    Raises:
        ConfigError: one of them is missing or damaged.
    """
    texts = replace(checkpoint, family=replace(checkpoint.family, processor_class="AutoTokenizer"))
    model, tokenizer = load_pretrained(texts, **how)
    try:
        image_processor = load_part(checkpoint, "AutoImageProcessor")
    except Exception as error:  # the library raises any exception
        raise ConfigError(
            f"model {checkpoint.model!r} has no image processor: {error}; save it again with "
            "save_pretrained, model and processor"
        ) from error
    model.language_cache_class.capacity = _CACHED_NAMES
    return model, SimpleNamespace(image_processor=image_processor, tokenizer=tokenizer)


class OmDetTurbo:
    """Detects names by OmDet-Turbo, `at_once` per forward pass.

    Raises:
        ConfigError: the network cannot take images of this size.
    """

    def __init__(self, network: Network, *, at_once: int) -> None:
        self._network = network
        self._processor = network.processor
        self._at_once = at_once
        side = dict(self._processor.image_processor.size).get("height") or 0
        if side % _STRIDE:
            raise ConfigError(
                f"OmDet-Turbo cannot take images of {side} px; use a multiple of {_STRIDE}"
            )
        to_full_precision(network, network.model.decoder)
        self._keys: dict[str, list[tuple[int, ...]]] = {}
        self._keep_keys_on_host(network.model)
        self._tokenizer_lock = threading.Lock()  # a tokenizer stores its last padding

    def find(
        self, samples: Sequence[Sample], queries: Sequence[NameQueries], *, least: float
    ) -> list[list[NamedBoxes]]:
        """Detect names in each sample: all names of each box above a score."""
        pictures = [sample.picture for sample in samples]
        images = self._network.prepare(pictures, Preprocess(self._network.image_processor))
        parts = [
            (row, part) for row, whole in enumerate(queries) for part in whole.parts(self._at_once)
        ]
        inputs = [
            {"pixel_values": images[row]["pixel_values"], **self._texts(part)}
            for row, part in parts
        ]

        def forward(batch: dict[str, Tensor], numbers: list[int]) -> tuple[Tensor, Tensor]:
            output = self._forward(batch, [inputs[number] for number in numbers])
            return output.decoder_coord_logits, output.decoder_class_logits.float().sigmoid()

        def finish(outputs: tuple[Tensor, Tensor], numbers: Sequence[int]) -> list[NamedBoxes]:
            boxes, fit = map(to_numpy, outputs)
            boxes = corners(boxes)
            return [
                _found(boxes[row], fit[row], parts[number][1], samples[parts[number][0]], least)
                for row, number in enumerate(numbers)
            ]

        found: list[list[NamedBoxes]] = [[] for _ in samples]
        for (row, _), one in zip(parts, self._network.run(inputs, forward, finish), strict=True):
            found[row].append(one)
        return found

    def _texts(self, part: NameQueries) -> dict[str, Tensor]:
        with self._tokenizer_lock:
            texts = self._processor.tokenizer(
                [f"Detect {', '.join(part.prompts)}.", *part.prompts],
                padding="max_length",
                truncation=True,
                max_length=_LONGEST,
                return_tensors="pt",
            )
        inputs = {}
        for name in ("input_ids", "attention_mask"):
            inputs[f"tasks_{name}"] = texts[name][0]
            inputs[f"classes_{name}"] = texts[name][1:]
        return inputs

    def _forward(self, batch: dict[str, Tensor], on_host: Sequence[Mapping[str, Tensor]]) -> Any:
        import torch

        images, names, _ = batch["classes_input_ids"].shape
        for name in ("classes_input_ids", "classes_attention_mask"):
            batch[name] = batch[name].flatten(0, 1)
        self._keys = {
            kind: [key for one in on_host for key in _keys(one, kind)]
            for kind in ("classes", "tasks")
        }
        # On the host, where the model reads these numbers.
        structure = torch.full((images,), names)
        return self._network.model(**batch, classes_structure=structure)

    def _keep_keys_on_host(self, model: Any) -> None:
        """Give a model the keys of its caches: it would copy the tokens of each text of a batch
        from the device, and wait each time."""

        def of_kind(kind: str, embeddings: Callable[..., Any]) -> Callable[..., Any]:
            def with_keys(*texts: Tensor) -> Any:
                model._get_cache_key_at_index = lambda *at: self._keys[kind][at[-1]]
                return embeddings(*texts)

            return with_keys

        model.get_cached_class_embeddings = of_kind("classes", model.get_cached_class_embeddings)
        model.get_cached_task_embeddings = of_kind("tasks", model.get_cached_task_embeddings)


def _keys(inputs: Mapping[str, Tensor], kind: str) -> list[tuple[int, ...]]:
    """Return the tokens of each text of an input, without padding."""
    ids, mask = (inputs[f"{kind}_{name}"] for name in ("input_ids", "attention_mask"))
    rows = zip(ids.reshape(-1, ids.shape[-1]), mask.reshape(-1, ids.shape[-1]), strict=True)
    return [tuple(row[is_text != 0].tolist()) for row, is_text in rows]


def _found(
    box_xyxy: np.ndarray, fit: np.ndarray, queries: NameQueries, sample: Sample, least: float
) -> NamedBoxes:
    """Return boxes with names; at most as many pairs as there are boxes."""
    fit = queries.of_names(fit)
    # A box whose best name is a negative is discarded.
    fit = fit * queries.is_no_negative(fit.argmax(axis=1))[:, None]
    best = np.argsort(-fit, axis=None, kind="stable")[: len(fit)]
    box, name = np.unravel_index(best[fit.flat[best] > least], fit.shape)
    return NamedBoxes(
        queries=queries,
        box_xyxy=box_xyxy[box] * np.tile((sample.width, sample.height), 2),
        name=name,
        score=fit[box, name],
    )

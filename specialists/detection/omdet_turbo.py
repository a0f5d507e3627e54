"""A loaded OmDet-Turbo (arXiv 2403.06892): names and a sentence about all of them, asked at once.

Every box is scored for every name. Overlapping boxes are left to filters, which is why
torchvision, whose suppression the processor of `transformers` calls, is not needed.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np

from engine.core.errors import ConfigError
from specialists.detection.wanted import Found, Wanted, corners
from specialists.pretrained.checkpoint import Checkpoint
from specialists.pretrained.loading import load_part, load_pretrained
from specialists.pretrained.network import Network, finite, pictured
from specialists.pretrained.precision import to_full_precision

if TYPE_CHECKING:
    from torch import Tensor

    from engine.core.sample import Sample

_LONGEST = 77
"""Tokens of a name or of the sentence, as the processor of the family has it."""
_STRIDE = 32
"""Pixels of an image that become one of its coarsest features."""
_REMEMBERED = 4096
"""Names whose reading the model remembers."""


def load_omdet_turbo(checkpoint: Checkpoint, **how: str) -> tuple[Any, Any]:
    """Load (model, image processor and tokenizer).

    Raises:
        ConfigError: one of them is missing or damaged.
    """
    texts = replace(checkpoint, family=replace(checkpoint.family, processor_class="AutoTokenizer"))
    model, tokenizer = load_pretrained(texts, **how)
    try:
        image_processor = load_part(checkpoint, "AutoImageProcessor")
    except Exception as error:  # the library raises whatever it meets
        raise ConfigError(
            f"model {checkpoint.model!r} has no image processor: {error}; save it again with "
            "save_pretrained, model and processor"
        ) from error
    model.language_cache_class.capacity = _REMEMBERED
    return model, SimpleNamespace(image_processor=image_processor, tokenizer=tokenizer)


class OmDetTurbo:
    """Finds names by OmDet-Turbo, so many in one question.

    Raises:
        ConfigError: images are not prepared in a size that the network takes.
    """

    def __init__(self, network: Network, *, at_once: int) -> None:
        self._network = network
        self._processor = network.processor
        self._at_once = at_once
        side = dict(self._processor.image_processor.size).get("height") or 0
        if side % _STRIDE:
            raise ConfigError(
                f"OmDet-Turbo cannot see images of {side} px; take a multiple of {_STRIDE}"
            )
        to_full_precision(network, network.model.decoder)
        self._reading = threading.Lock()  # a tokenizer keeps how it was last asked to pad

    def find(
        self, samples: Sequence[Sample], wanted: Sequence[Wanted], *, least: float
    ) -> list[list[Found]]:
        """Find what is wanted in each sample: all names of each box above a score."""
        image_processor = self._processor.image_processor
        seen = self._network.prepare(samples, lambda one: pictured(image_processor, one.image))
        asked = [
            (row, part) for row, whole in enumerate(wanted) for part in whole.parts(self._at_once)
        ]
        inputs = [
            {"pixel_values": seen[row]["pixel_values"], **self._question(part)}
            for row, part in asked
        ]

        def look(batch: dict[str, Tensor], numbers: list[int]) -> list[Found]:
            said = self._ask(batch)
            boxes = corners(finite(said.decoder_coord_logits))
            fit = finite(said.decoder_class_logits.float().sigmoid())
            return [
                _found(boxes[place], fit[place], asked[number][1], samples[asked[number][0]], least)
                for place, number in enumerate(numbers)
            ]

        found: list[list[Found]] = [[] for _ in samples]
        for (row, _), one in zip(asked, self._network.run(inputs, look), strict=True):
            found[row].append(one)
        return found

    def _question(self, part: Wanted) -> dict[str, Tensor]:
        with self._reading:
            texts = self._processor.tokenizer(
                [f"Detect {', '.join(part.prompts)}.", *part.prompts],
                padding="max_length",
                truncation=True,
                max_length=_LONGEST,
                return_tensors="pt",
            )
        question = {}
        for name in ("input_ids", "attention_mask"):
            question[f"tasks_{name}"] = texts[name][0]
            question[f"classes_{name}"] = texts[name][1:]
        return question

    def _ask(self, batch: dict[str, Tensor]) -> Any:
        images, names, _ = batch["classes_input_ids"].shape
        for name in ("classes_input_ids", "classes_attention_mask"):
            batch[name] = batch[name].flatten(0, 1)
        structure = batch["tasks_input_ids"].new_full((images,), names)
        return self._network.model(**batch, classes_structure=structure)


def _found(
    box_xyxy: np.ndarray, fit: np.ndarray, wanted: Wanted, sample: Sample, least: float
) -> Found:
    """Return boxes with their names, as many pairs at most as there are boxes."""
    fit = wanted.of_names(fit)
    fit = fit * wanted.is_said(fit.argmax(axis=1))[:, None]  # a negative takes its boxes away
    best = np.argsort(-fit, axis=None, kind="stable")[: len(fit)]
    box, name = np.unravel_index(best[fit.flat[best] > least], fit.shape)
    return Found(
        wanted=wanted,
        box_xyxy=box_xyxy[box] * np.tile((sample.width, sample.height), 2),
        name=name,
        score=fit[box, name],
    )

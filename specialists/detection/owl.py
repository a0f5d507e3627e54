"""A loaded OWL-ViT or OWLv2 (arXiv 2306.09683): each prompt is asked of each patch of an image.

Prompts do not hear each other: each is read once, images once for all prompts. Boxes come from
the processor, as OWLv2 sees an image with grey below or beside it that makes it square.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from engine.core.image import shrunk
from specialists.detection.wanted import Found, Wanted
from specialists.pretrained.network import Network, exact, pictured
from specialists.pretrained.precision import to_full_precision

if TYPE_CHECKING:
    from torch import Tensor

    from engine.core.sample import Sample

_LARGEST_PX = 2048
"""Long side of an image beyond which it is shrunk before it is made square, which costs memory."""


class Owl:
    """Finds names by OWL-ViT or OWLv2.

    `fixed` are prompts that are asked again and again: they are read now.
    """

    def __init__(self, network: Network, fixed: Iterable[str] = ()) -> None:
        self._network = network
        self._model = model = network.model
        self._processor = network.processor
        to_full_precision(network, model.box_head, model.class_head)
        side = model.num_patches_height, model.num_patches_width
        model.box_bias = model.compute_box_bias(*side).to(network.device)
        self._longest: int = model.config.text_config.max_position_embeddings
        size = self._processor.image_processor.size
        self._is_resized = size["height"] != model.config.vision_config.image_size
        self._reading = threading.Lock()  # a tokenizer keeps how it was last asked to pad
        self._known: dict[str, Tensor] = {}
        self._known = self._read(fixed)

    def find(
        self, samples: Sequence[Sample], wanted: Sequence[Wanted], *, least: float
    ) -> list[list[Found]]:
        """Find what is wanted in each sample: the best name of each box above a score."""
        import torch

        inputs = self._network.prepare(samples, self._pixels)
        read = self._read(prompt for one in wanted for prompt in one.prompts)
        queries = [torch.stack([read[prompt] for prompt in one.prompts]) for one in wanted]
        resized: dict[str, Any] = {"interpolate_pos_encoding": self._is_resized}

        def look(batch: dict[str, Tensor], numbers: list[int]) -> list[list[Found]]:
            features = self._model.image_embedder(**batch, **resized)[0]
            patches = features.flatten(1, 2)
            boxes = exact(self._model.box_predictor(patches, features, **resized))
            found = []
            for row, number in enumerate(numbers):
                query = queries[number].to(patches.device)[None]
                logits, _ = self._model.class_predictor(patches[row : row + 1], query)
                said = SimpleNamespace(logits=exact(logits), pred_boxes=boxes[row][None])
                found.append([self._found(said, samples[number], wanted[number], least)])
            return found

        return self._network.run(inputs, look)

    def _found(self, said: Any, sample: Sample, wanted: Wanted, least: float) -> Found:
        (best,) = self._processor.image_processor.post_process_object_detection(
            said, threshold=least, target_sizes=[(sample.height, sample.width)]
        )
        return Found(
            wanted=wanted,
            box_xyxy=best["boxes"].cpu().numpy(),
            name=wanted.owner[best["labels"].cpu().numpy()],
            score=best["scores"].cpu().numpy(),
        )

    def _pixels(self, sample: Sample) -> dict[str, Tensor]:
        image = sample.image
        if max(image.shape) > _LARGEST_PX:
            image = shrunk(image, _LARGEST_PX)
        return pictured(self._processor.image_processor, image)

    def _read(self, prompts: Iterable[str]) -> dict[str, Tensor]:
        """Return unit vectors of prompts, and of those that were read before."""
        new = [prompt for prompt in dict.fromkeys(prompts) if prompt not in self._known]
        if not new:
            return self._known
        with self._reading:
            encoded = self._processor.tokenizer(
                new,
                padding="max_length",
                truncation=True,
                max_length=self._longest,
                return_tensors="pt",
            )
        rows = [{name: encoded[name][row] for name in encoded} for row in range(len(new))]
        towers = getattr(self._model, self._model.base_model_prefix)

        def read(batch: dict[str, Tensor], _: object) -> list[Tensor]:
            vectors = towers.get_text_features(**batch).pooler_output
            return list((vectors / vectors.norm(dim=-1, keepdim=True)).float().cpu())

        return self._known | dict(zip(new, self._network.run(rows, read), strict=True))

"""OWL-ViT and OWLv2 (arXiv 2306.09683): each prompt is compared with each patch of an image.

Prompts are independent: each is encoded once, and each image once for all prompts. Boxes come from
the processor, as OWLv2 pads images to squares.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping, Sequence
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from florilegium.engine.core.image.resizing import shrunk
from florilegium.specialists.detection.queries import NamedBoxes, NameQueries
from florilegium.specialists.pretrained.network import Network, preprocess, to_float32
from florilegium.specialists.pretrained.precision import to_full_precision
from florilegium.specialists.pretrained.views import Preprocess, View

if TYPE_CHECKING:
    from torch import Tensor

    from florilegium.engine.core.sample import Sample

_LARGEST_PX = 2048
"""Maximum long side of an image before it is padded to a square, to save memory."""


class _Shrunk(Preprocess):
    """Preprocesses images, large ones in a smaller size."""

    def __call__(self, view: View) -> dict[str, Tensor]:
        image = view.pixels()
        if max(image.shape) > _LARGEST_PX:
            image = shrunk(image, _LARGEST_PX)
        return preprocess(self.image_processor, image)


class Owl:
    """Detects names by OWL-ViT or OWLv2; the prompts `fixed` are encoded once, at the start."""

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
        self._tokenizer_lock = threading.Lock()  # a tokenizer stores its last padding
        self._known: dict[str, Tensor] = {}
        self._known = self._encoded(fixed)

    def find(
        self, samples: Sequence[Sample], queries: Sequence[NameQueries], *, least: float
    ) -> list[list[NamedBoxes]]:
        """Detect names in each sample: the best name of each box above a score."""
        import torch

        pictures = [sample.picture for sample in samples]
        inputs = self._network.prepare(pictures, _Shrunk(self._network.image_processor))
        encoded = self._encoded(prompt for one in queries for prompt in one.prompts)
        vectors = {
            prompts: torch.stack([encoded[prompt] for prompt in prompts])
            for prompts in {one.prompts for one in queries}
        }
        resized: dict[str, Any] = {"interpolate_pos_encoding": self._is_resized}

        def forward(batch: dict[str, Tensor], numbers: list[int]) -> tuple[Tensor, list[Tensor]]:
            features = self._model.image_embedder(**batch, **resized)[0]
            patches = features.flatten(1, 2)
            boxes = self._model.box_predictor(patches, features, **resized)
            asked = self._on_device(vectors, [queries[number].prompts for number in numbers])
            logits = [
                self._model.class_predictor(patches[row : row + 1], query[None])[0]
                for row, query in enumerate(asked)
            ]
            return boxes, logits

        def finish(
            outputs: tuple[Tensor, list[Tensor]], numbers: Sequence[int]
        ) -> list[list[NamedBoxes]]:
            boxes, logits = outputs
            boxes = to_float32(boxes)
            return [
                [self._found(boxes[row], logits[row], samples[number], queries[number], least)]
                for row, number in enumerate(numbers)
            ]

        return self._network.run(inputs, forward, finish)

    def _on_device(
        self, vectors: Mapping[tuple[str, ...], Tensor], asked: Sequence[tuple[str, ...]]
    ) -> list[Tensor]:
        """Return the vectors of prompts for each image of a batch; each list is moved once."""
        import torch

        distinct = list(dict.fromkeys(asked))
        moved = self._network.to_device(torch.cat([vectors[prompts] for prompts in distinct]))
        parts = dict(zip(distinct, torch.split(moved, [*map(len, distinct)]), strict=True))
        return [parts[prompts] for prompts in asked]

    def _found(
        self, boxes: Tensor, logits: Tensor, sample: Sample, queries: NameQueries, least: float
    ) -> NamedBoxes:
        (best,) = self._processor.image_processor.post_process_object_detection(
            SimpleNamespace(logits=to_float32(logits), pred_boxes=boxes[None]),
            threshold=least,
            target_sizes=[(sample.height, sample.width)],
        )
        return NamedBoxes(
            queries=queries,
            box_xyxy=best["boxes"].numpy(),
            name=queries.owner[best["labels"].numpy()],
            score=best["scores"].numpy(),
        )

    def _encoded(self, prompts: Iterable[str]) -> dict[str, Tensor]:
        """Return the unit vectors of prompts, and those of `fixed`."""
        new = [prompt for prompt in dict.fromkeys(prompts) if prompt not in self._known]
        if not new:
            return self._known
        with self._tokenizer_lock:
            encoded = self._processor.tokenizer(
                new,
                padding="max_length",
                truncation=True,
                max_length=self._longest,
                return_tensors="pt",
            )
        rows = [{name: encoded[name][row] for name in encoded} for row in range(len(new))]
        towers = getattr(self._model, self._model.base_model_prefix)

        def encode(batch: dict[str, Tensor], _: object) -> Tensor:
            vectors = towers.get_text_features(**batch).pooler_output
            return (vectors / vectors.norm(dim=-1, keepdim=True)).float()

        vectors = self._network.run(rows, encode, lambda encoded, _: list(encoded))
        return self._known | dict(zip(new, vectors, strict=True))

"""Loops by hand over models that look: detectors, tags, masks."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
from PIL import Image
from pycocotools import mask as coco_mask

from florilegium.specialists.detection.detector import DetectorConfig
from florilegium.specialists.detection.open_vocabulary import OpenVocabularyConfig
from florilegium.specialists.grounding.grounding import GroundingConfig
from florilegium.specialists.segmentation.segment_anything import SegmentAnythingConfig
from florilegium.specialists.similarity.image_tags import ImageTagsConfig
from florilegium.specialists.words.vocabulary import vocabulary_of
from tests.benchmarks.gpu.by_hand import Loop
from tests.benchmarks.gpu.stages import CAPTION, GRID, boxes


class DetectorLoop(Loop[DetectorConfig]):
    """Objects by an object detector."""

    def annotate(self, images: list[Image.Image]) -> list[list[Any]]:
        inputs = self.placed(self.processor(images=images, return_tensors="pt"))
        found = self.processor.post_process_object_detection(
            _float(self.model(**inputs)),
            threshold=self.config.least_score,
            target_sizes=[image.size[::-1] for image in images],
        )
        names = self.model.config.id2label
        return [
            _regions(one, [names[label] for label in one["labels"].tolist()], image)
            for one, image in zip(found, images, strict=True)
        ]


class OpenVocabularyLoop(Loop[OpenVocabularyConfig]):
    """Boxes of given names by OWLv2; names are read again with each batch."""

    def annotate(self, images: list[Image.Image]) -> list[list[Any]]:
        names = list(vocabulary_of(self.config.classes).names)
        inputs = self.placed(
            self.processor(text=[names for _ in images], images=images, return_tensors="pt")
        )
        found = self.processor.post_process_grounded_object_detection(
            outputs=_float(self.model(**inputs)),
            threshold=self.config.least_score,
            target_sizes=[image.size[::-1] for image in images],
            text_labels=[names for _ in images],
        )
        return [
            _regions(one, one["text_labels"], image)
            for one, image in zip(found, images, strict=True)
        ]


class GroundingLoop(Loop[GroundingConfig]):
    """Phrases of a caption by Grounding DINO; images and texts of a batch are padded."""

    def annotate(self, images: list[Image.Image]) -> list[list[Any]]:
        captions = [CAPTION.lower() for _ in images]
        inputs = self.processor(images=images, text=captions, return_tensors="pt", padding=True)
        inputs = self.placed(inputs)
        found = self.processor.post_process_grounded_object_detection(
            _float(self.model(**inputs)),
            inputs["input_ids"],
            threshold=self.config.least_score,
            text_threshold=self.config.least_score,
            target_sizes=[image.size[::-1] for image in images],
        )
        return [
            _regions(one, one["text_labels"], image)
            for one, image in zip(found, images, strict=True)
        ]


class SegmentAnythingLoop(Loop[SegmentAnythingConfig]):
    """Masks of boxes by SAM, as COCO run lengths; they are enlarged on the device."""

    def annotate(self, images: list[Image.Image]) -> list[list[Any]]:
        asked = [[list(box) for box in boxes(image.size, GRID)] for image in images]
        inputs = self.processor(images=images, input_boxes=asked, return_tensors="pt")
        output = self.model(
            pixel_values=inputs["pixel_values"].to(self.device, self.dtype),
            input_boxes=inputs["input_boxes"].to(self.device),
            multimask_output=False,
        )
        masks = self.processor.post_process_masks(
            output.pred_masks.float(), inputs["original_sizes"], inputs["reshaped_input_sizes"]
        )
        scores = output.iou_scores.float().cpu()
        return [
            [
                {"mask": coco_mask.encode(np.asfortranarray(mask)), "score": score}
                for mask, score in zip(own[:, 0].cpu().numpy(), iou[:, 0].tolist(), strict=True)
                if mask.any()
            ]
            for own, iou in zip(masks, scores, strict=True)
        ]


class ImageTagsLoop(Loop[ImageTagsConfig]):
    """Names of a vocabulary by CLIP; they are read once, before the first image."""

    def __init__(self, stage: Any) -> None:
        import torch

        super().__init__(stage)
        self._names = vocabulary_of(self.config.vocabulary).names
        prompts = [self.config.templates[0].replace("{}", name) for name in self._names]
        tokens = self.processor.tokenizer(prompts, padding=True, return_tensors="pt")
        with torch.inference_mode():
            read = self.model.get_text_features(**self.placed(tokens)).pooler_output
        self._read = read / read.norm(dim=-1, keepdim=True)

    def annotate(self, images: list[Image.Image]) -> list[list[Any]]:
        inputs = self.placed(self.processor.image_processor(images=images, return_tensors="pt"))
        seen = self.model.get_image_features(**inputs).pooler_output
        seen = seen / seen.norm(dim=-1, keepdim=True)
        logits = (seen @ self._read.T).float() * self.model.logit_scale.exp()
        best = logits.softmax(dim=-1).topk(min(self.config.top_k, len(self._names)))
        return [
            [
                {"label": self._names[number], "score": score}
                for number, score in zip(numbers, scores, strict=True)
                if score >= self.config.least_score
            ]
            for numbers, scores in zip(best.indices.tolist(), best.values.tolist(), strict=True)
        ]


def _float(output: Any) -> Any:
    """Return outputs of a detector in the type in which they are read."""
    return SimpleNamespace(logits=output.logits.float(), pred_boxes=output.pred_boxes.float())


def _regions(found: Any, labels: list[str], image: Image.Image) -> list[Any]:
    """Return objects with boxes inside an image; where nothing is inside, there is none."""
    boxes_xyxy = found["boxes"].cpu().numpy().clip(0, np.tile(image.size, 2))
    is_inside = (boxes_xyxy[:, 2:] > boxes_xyxy[:, :2]).all(axis=1)
    rows = zip(labels, boxes_xyxy.tolist(), found["scores"].tolist(), is_inside, strict=True)
    return [
        {"label": label, "box": box, "score": score} for label, box, score, inside in rows if inside
    ]

"""What `transformers` itself makes of an image and its boxes, to compare a specialist with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from pycocotools.mask import decode
from transformers import AutoModelForMaskGeneration, ProcessorMixin

from florilegium.engine.core.annotation import Annotation
from florilegium.engine.core.sample import Sample


@dataclass(frozen=True, kw_only=True)
class Expected:
    """Logits (n, height, width) of the masks of n boxes, and their predicted IoUs (n,)."""

    logits: np.ndarray
    iou: np.ndarray

    @property
    def stability(self) -> np.ndarray:
        """Intersection over union of the masks at logits of 1 and -1, counted pixel by pixel."""
        inner, outer = self.logits > 1, self.logits > -1
        both = (inner & outer).sum(axis=(1, 2))
        return np.asarray(both / (inner | outer).sum(axis=(1, 2)))


def expected(
    folder: Path,
    processor_class: type[ProcessorMixin],
    sample: Sample,
    *,
    multimask: bool = False,
    dtype: torch.dtype = torch.float32,
) -> Expected:
    """Follow the usage example of the model's page: one image, all boxes, no embeddings kept."""
    model = AutoModelForMaskGeneration.from_pretrained(folder, dtype=dtype).eval()
    processor = processor_class.from_pretrained(folder)
    boxes = [list(one.box_xyxy) for one in sample.annotations]
    inputs = processor(
        images=Image.fromarray(sample.image), input_boxes=[boxes], return_tensors="pt"
    )
    with torch.inference_mode():
        predicted = model(
            pixel_values=inputs["pixel_values"].to(dtype),
            input_boxes=inputs["input_boxes"],
            multimask_output=multimask,
        )
    sizes = [inputs[name] for name in ("original_sizes", "reshaped_input_sizes") if name in inputs]
    logits = processor.post_process_masks(predicted.pred_masks.float(), *sizes, binarize=False)[0]
    iou, best = predicted.iou_scores[0].float().max(dim=1)
    chosen = torch.arange(len(best)), best
    return Expected(logits=logits[chosen].numpy(), iou=iou.numpy())


def with_boxes(sample: Sample, count: int = 3) -> Sample:
    """Return a sample with boxes here and there, the last one the whole image."""
    random = np.random.default_rng(sample.width)
    corners = np.sort(random.random((count, 2, 2)), axis=1).reshape(-1, 4)
    corners[-1] = 0, 0, 1, 1
    boxes = corners * np.tile((sample.width, sample.height), 2)
    annotations = [
        Annotation(
            kind="region",
            task="object_detection",
            label=f"thing {row}",
            box_xyxy=tuple(box),
            id=f"box-{row}",
        )
        for row, box in enumerate(boxes.round(2).tolist())
    ]
    return replace(sample, annotations=tuple(annotations))


def pixels_of(masks: Sequence[Annotation]) -> np.ndarray:
    """Return the pixels of masks, bool, (n, height, width)."""
    rles = [
        {"size": list(one.mask_rle.size), "counts": one.mask_rle.counts.encode()}
        for one in masks
        if one.mask_rle
    ]
    assert len(rles) == len(masks)
    return np.asarray(decode(rles).transpose(2, 0, 1).astype(bool))


def assert_as_expected(predicted: Sequence[Annotation], wanted: Expected) -> None:
    """All masks alike but for single pixels on their edges, scores to four decimals."""
    masks = pixels_of(predicted)
    truth = wanted.logits > 0
    assert masks.shape == truth.shape
    assert (masks != truth).mean() < 1e-4
    np.testing.assert_allclose([one.score for one in predicted], wanted.iou.clip(0, 1), atol=1e-4)
    np.testing.assert_allclose([one.support for one in predicted], wanted.stability, atol=1e-4)
    np.testing.assert_allclose([one.box_xyxy for one in predicted], [*map(tight, truth)], atol=1)


def assert_alike(predicted: Sequence[Annotation], again: Sequence[Annotation]) -> None:
    """The same masks but for single pixels on their edges, the same scores to four decimals."""
    assert len(predicted) == len(again)
    assert (pixels_of(predicted) != pixels_of(again)).mean() < 1e-4
    for name in ("score", "support"):
        ours, theirs = ([getattr(one, name) for one in each] for each in (predicted, again))
        np.testing.assert_allclose(ours, theirs, atol=1e-4)


def tight(mask: np.ndarray) -> list[int]:
    """Return the box around the pixels of a mask."""
    rows, columns = np.nonzero(mask)
    return [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]

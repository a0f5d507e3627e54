"""Measuring the detection of a student on drawn scenes, at IoU 0.5."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from florilegium.pipelines.shape_world.pretrain.scenes import Drawing
from florilegium.pipelines.shape_world.score.boxes import MIN_IOU
from florilegium.pipelines.shape_world.score.matching import MatchCounts, pairs
from florilegium.specialists.regions.overlap import box_overlap

_SCALE = 100
"""The processor rounds boxes to whole pixels: pretend an image this much larger."""


def generate(
    model: Any, processor: Any, drawings: Sequence[Drawing], prompt: str, *, tokens: int = 96
) -> list[str]:
    """Return the answer to a prompt for each drawing, by greedy search, with special tokens."""
    import torch
    from PIL import Image

    answers: list[str] = []
    for start in range(0, len(drawings), 64):
        images = [Image.fromarray(each.pixels) for each in drawings[start : start + 64]]
        inputs = processor(text=[prompt] * len(images), images=images, return_tensors="pt")
        with torch.no_grad():
            generated = model.generate(**inputs, max_new_tokens=tokens)
        answers += processor.batch_decode(generated, skip_special_tokens=False)
    return answers


def measure_detection(model: Any, processor: Any, drawings: Sequence[Drawing]) -> MatchCounts:
    """Compare the answers to `<OD>` with the truth; a box is right if its name and region are."""
    counts = MatchCounts()
    for drawing, text in zip(drawings, generate(model, processor, drawings, "<OD>"), strict=True):
        width, height = drawing.size_wh
        size = (width * _SCALE, height * _SCALE)
        parsed = processor.post_process_generation(text, task="<OD>", image_size=size)["<OD>"]
        boxes = np.array(parsed["bboxes"], dtype=np.float64).reshape(-1, 4) / _SCALE
        labels = np.array(parsed["labels"], dtype=str)
        iou, _ = box_overlap(boxes, drawing.boxes_xyxy.astype(np.float64))
        is_named = labels[:, None] == np.array(drawing.names, dtype=str)
        right, _ = pairs(iou, is_named & (iou >= MIN_IOU))
        counts += MatchCounts(right=len(right), predicted=len(boxes), true=len(drawing.kinds))
    return counts

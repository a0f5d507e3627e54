"""How well a student finds things in drawn scenes: precision, recall, F1 at IoU 0.5."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipelines.shape_world.pretrain.scenes import Drawing

_FINER = 100
"""The processor cuts boxes to whole pixels; of an image this much larger they lose nothing."""


@dataclass(frozen=True, kw_only=True)
class Found:
    """Counts over many scenes: right boxes, said boxes, true boxes."""

    right: int
    said: int
    true: int

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall, 0..1."""
        return 2 * self.right / max(self.said + self.true, 1)


def generate(
    model: Any, processor: Any, drawings: Sequence[Drawing], prompt: str, *, tokens: int = 96
) -> list[str]:
    """Answer one prompt about each drawing, greedily; special tokens are kept."""
    import torch
    from PIL import Image

    answers: list[str] = []
    for start in range(0, len(drawings), 64):
        images = [Image.fromarray(each.pixels) for each in drawings[start : start + 64]]
        asked = processor(text=[prompt] * len(images), images=images, return_tensors="pt")
        with torch.no_grad():
            said = model.generate(**asked, max_new_tokens=tokens)
        answers += processor.batch_decode(said, skip_special_tokens=False)
    return answers


def measure_detection(model: Any, processor: Any, drawings: Sequence[Drawing]) -> Found:
    """Compare `<OD>` with the truth: a box is right when its name and its place are (IoU 0.5)."""
    right = said = 0
    for drawing, text in zip(drawings, generate(model, processor, drawings, "<OD>"), strict=True):
        width, height = drawing.size_wh
        size = (width * _FINER, height * _FINER)
        parsed = processor.post_process_generation(text, task="<OD>", image_size=size)["<OD>"]
        boxes = np.array(parsed["bboxes"], dtype=np.float64).reshape(-1, 4) / _FINER
        right += _matches(parsed["labels"], boxes, drawing)
        said += len(boxes)
    return Found(right=right, said=said, true=sum(len(each.kinds) for each in drawings))


def _matches(labels: Sequence[str], boxes: np.ndarray, drawing: Drawing) -> int:
    """Count pairs of a said and a true box, the best overlap first, each used once."""
    overlap = _overlaps(boxes, drawing.boxes_xyxy.astype(np.float64))
    overlap *= np.array(labels, dtype=str)[:, None] == np.array(drawing.names, dtype=str)
    count = 0
    while overlap.size and overlap.max() >= 0.5:
        said, true = np.unravel_index(overlap.argmax(), overlap.shape)
        overlap[said], overlap[:, true] = 0.0, 0.0
        count += 1
    return count


def _overlaps(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    corner = np.minimum(first[:, None, 2:], second[:, 2:]) - np.maximum(
        first[:, None, :2], second[:, :2]
    )
    shared = corner.clip(0).prod(axis=2)
    areas = [(boxes[:, 2:] - boxes[:, :2]).clip(0).prod(axis=1) for boxes in (first, second)]
    return shared / (areas[0][:, None] + areas[1] - shared)

"""Training the vision tower with a dense detection head, used in training only.

The head is a small CenterNet (Zhou et al., "Objects as Points", 2019): each cell of the grid
predicts, for each name, whether it contains the centre of a thing, and the thing's box, colour and
pattern.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from florilegium.pipelines.shape_world.pretrain.batches import DrawingBatches, as_pixels
from florilegium.pipelines.shape_world.pretrain.scenes import Drawing
from florilegium.pipelines.shape_world.scene import COLOURS, NAMES, PATTERNS

_BOX_OFFSET_PRIOR = 0.14
"""The distance from a cell's centre to a side of the box, as a share of the image, that an output
of 0 stands for: about the mean radius of a shape."""
_CENTRE_BIAS = -4.0
"""Initial logit of a centre, a probability of 0.018: few cells contain one (as RetinaNet, Lin et
al., 2017)."""
_BOX_WEIGHT, _ATTRIBUTE_WEIGHT = 4.0, 0.3
"""Weights of the distance of boxes, and of colours and patterns, in the loss; chosen by hand."""
_FOCAL_EXPONENT = 2
"""Gamma of the focal loss (Lin et al., 2017)."""


class DenseHead(nn.Module):
    """Features (batch, dim, g, g) -> names, boxes, colours, patterns of each cell.

    It is linear, so that the projector, which is linear too, can read the same from the features.
    """

    SIZES = (len(NAMES), 4, len(COLOURS), len(PATTERNS))

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.predict = nn.Conv2d(dim, sum(self.SIZES), 1)
        nn.init.constant_(self.predict.get_parameter("bias")[: len(NAMES)], _CENTRE_BIAS)

    def forward(self, features: Tensor) -> tuple[Tensor, ...]:
        return self.predict(features).split(self.SIZES, dim=1)


def train_tower(
    model: Any,
    drawings: Sequence[Drawing],
    *,
    steps: int,
    batch: int,
    rate: float,
    seed: int,
    report: Callable[[str, int, float], None],
) -> DenseHead:
    """Train the tower of `model` in place; return the head."""
    torch.manual_seed(seed)
    tower = model.model.vision_tower.train()
    tower.to(memory_format=torch.channels_last)
    head = DenseHead(tower.config.embed_dim[-1])
    parameters = [*tower.parameters(), *head.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=rate, weight_decay=0.02, betas=(0.9, 0.98))
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, rate, total_steps=steps, pct_start=0.06, anneal_strategy="cos"
    )
    batches = DrawingBatches(drawings, size=batch, steps=steps, seed=seed)
    for step, own in enumerate(batches):
        features = tower(as_pixels(own)).last_hidden_state
        loss = dense_loss(head(features), own)
        optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        schedule.step()
        report("tower", step, float(loss.detach()))
    tower.eval()
    return head


def dense_loss(outputs: tuple[Tensor, ...], drawings: Sequence[Drawing]) -> Tensor:
    """Return the loss of the head's outputs: focal loss for names, L1 and IoU for boxes,
    cross-entropy for colours and patterns."""
    names, boxes, colours, patterns = outputs
    grid, px = names.shape[-1], drawings[0].size_wh[0]
    index, kinds, truth = _cells(drawings, grid)
    heat = torch.zeros_like(names)
    heat[index[0], kinds[:, 0], index[1], index[2]] = 1.0
    probability = names.sigmoid()
    entropy = F.binary_cross_entropy_with_logits(names, heat, reduction="none")
    error = torch.where(heat > 0, 1 - probability, probability)
    focal = entropy * error.pow(_FOCAL_EXPONENT)
    cell = (index[0], slice(None), index[1], index[2])
    centre = (torch.stack([index[2], index[1]], dim=1) + 0.5) / grid
    offset = _BOX_OFFSET_PRIOR * (1 + boxes[cell])
    box = torch.cat([centre - offset[:, :2], centre + offset[:, 2:]], dim=1)
    count = max(len(truth), 1)
    return (
        focal.sum() / count
        + _BOX_WEIGHT * (box - truth / px).abs().sum() / count
        + (1 - _overlap(box, truth / px)).sum() / count
        + _ATTRIBUTE_WEIGHT * F.cross_entropy(colours[cell], kinds[:, 1], reduction="sum") / count
        + _ATTRIBUTE_WEIGHT * F.cross_entropy(patterns[cell], kinds[:, 2], reduction="sum") / count
    )


def cells_of(drawing: Drawing, grid: int) -> np.ndarray:
    """Return row and column of the cell that contains the centre of each thing, (things, 2)."""
    centre = (drawing.boxes_xyxy[:, 1::-1] + drawing.boxes_xyxy[:, :1:-1]) / 2
    return (centre * grid / drawing.size_wh[0]).astype(np.int64).clip(0, grid - 1)


def _cells(drawings: Sequence[Drawing], grid: int) -> tuple[Tensor, Tensor, Tensor]:
    counts = [len(drawing.kinds) for drawing in drawings]
    cells = np.concatenate([cells_of(drawing, grid) for drawing in drawings])
    index = np.column_stack([np.repeat(np.arange(len(drawings)), counts), cells]).T
    kinds = np.concatenate([drawing.kinds for drawing in drawings])
    boxes = np.concatenate([drawing.boxes_xyxy for drawing in drawings])
    return torch.from_numpy(index), torch.from_numpy(kinds), torch.from_numpy(boxes)


def _overlap(first: Tensor, second: Tensor) -> Tensor:
    """Return the intersection over union of pairs of boxes, (n, 4) each; differentiable."""
    corner = torch.minimum(first[:, 2:], second[:, 2:]) - torch.maximum(first[:, :2], second[:, :2])
    shared = corner.clamp(min=0).prod(dim=1)
    areas = [(box[:, 2:] - box[:, :2]).clamp(min=0).prod(dim=1) for box in (first, second)]
    return shared / (areas[0] + areas[1] - shared + 1e-6)

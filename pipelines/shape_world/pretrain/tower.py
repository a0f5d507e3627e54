"""The first step: the vision tower learns to see, under a dense head that is thrown away.

The head is a small CenterNet (Zhou et al., 2019): every cell of the grid says whether the
middle of a thing lies in it, of which name, and, where one does, its box, colour and pattern.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from pipelines.shape_world.pretrain.batches import Batches, as_pixels
from pipelines.shape_world.pretrain.scenes import Drawing
from pipelines.shape_world.scene import COLOURS, NAMES, PATTERNS

_USUAL_REACH = 0.14
"""From the middle of a cell to a side of a box, as a share of the image; what zero means."""


class DenseHead(nn.Module):
    """Features (batch, dim, g, g) -> names, boxes, colours, patterns of each cell.

    It is linear, so that what it reads the projector can read too.
    """

    SIZES = (len(NAMES), 4, len(COLOURS), len(PATTERNS))

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.say = nn.Conv2d(dim, sum(self.SIZES), 1)
        few_cells_hold_a_thing = -4.0
        nn.init.constant_(self.say.get_parameter("bias")[: len(NAMES)], few_cells_hold_a_thing)

    def forward(self, features: Tensor) -> tuple[Tensor, ...]:
        return self.say(features).split(self.SIZES, dim=1)


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
    """Train `model`'s tower in place; return the head, for those who want to look through it."""
    torch.manual_seed(seed)
    tower = model.model.vision_tower.train()
    tower.to(memory_format=torch.channels_last)
    head = DenseHead(tower.config.embed_dim[-1])
    parameters = [*tower.parameters(), *head.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=rate, weight_decay=0.02, betas=(0.9, 0.98))
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, rate, total_steps=steps, pct_start=0.06, anneal_strategy="cos"
    )
    for step, seen in enumerate(Batches(drawings, size=batch, steps=steps, seed=seed)):
        features = tower(as_pixels(seen)).last_hidden_state
        loss = dense_loss(head(features), seen)
        optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        schedule.step()
        report("tower", step, float(loss.detach()))
    tower.eval()
    return head


def dense_loss(said: tuple[Tensor, ...], drawings: Sequence[Drawing]) -> Tensor:
    """Focal loss for the names; distance and overlap for the boxes; entropy for the rest."""
    names, boxes, colours, patterns = said
    grid, px = names.shape[-1], drawings[0].size_wh[0]
    index, kinds, truth = _cells(drawings, grid)
    heat = torch.zeros_like(names)
    heat[index[0], kinds[:, 0], index[1], index[2]] = 1.0
    chance = names.sigmoid()
    entropy = F.binary_cross_entropy_with_logits(names, heat, reduction="none")
    focal = entropy * torch.where(heat > 0, 1 - chance, chance).square()
    place = (index[0], slice(None), index[1], index[2])
    middle = (torch.stack([index[2], index[1]], dim=1) + 0.5) / grid
    reach = _USUAL_REACH * (1 + boxes[place])
    box = torch.cat([middle - reach[:, :2], middle + reach[:, 2:]], dim=1)
    count = max(len(truth), 1)
    return (
        focal.sum() / count
        + 4.0 * (box - truth / px).abs().sum() / count
        + (1 - _overlap(box, truth / px)).sum() / count
        + 0.3 * F.cross_entropy(colours[place], kinds[:, 1], reduction="sum") / count
        + 0.3 * F.cross_entropy(patterns[place], kinds[:, 2], reduction="sum") / count
    )


def cells_of(drawing: Drawing, grid: int) -> np.ndarray:
    """Return row and column of the cell in which the middle of each thing lies, (things, 2)."""
    middle = (drawing.boxes_xyxy[:, 1::-1] + drawing.boxes_xyxy[:, :1:-1]) / 2
    return (middle * grid / drawing.size_wh[0]).astype(np.int64).clip(0, grid - 1)


def _cells(drawings: Sequence[Drawing], grid: int) -> tuple[Tensor, Tensor, Tensor]:
    counts = [len(drawing.kinds) for drawing in drawings]
    cells = np.concatenate([cells_of(drawing, grid) for drawing in drawings])
    index = np.column_stack([np.repeat(np.arange(len(drawings)), counts), cells]).T
    kinds = np.concatenate([drawing.kinds for drawing in drawings])
    boxes = np.concatenate([drawing.boxes_xyxy for drawing in drawings])
    return torch.from_numpy(index), torch.from_numpy(kinds), torch.from_numpy(boxes)


def _overlap(first: Tensor, second: Tensor) -> Tensor:
    """Intersection over union of pairs of boxes, (n, 4) each."""
    corner = torch.minimum(first[:, 2:], second[:, 2:]) - torch.maximum(first[:, :2], second[:, :2])
    shared = corner.clamp(min=0).prod(dim=1)
    areas = [(box[:, 2:] - box[:, :2]).clamp(min=0).prod(dim=1) for box in (first, second)]
    return shared / (areas[0] + areas[1] - shared + 1e-6)

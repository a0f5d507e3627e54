"""The lessons of the text half: first under a frozen tower, then both halves together.

While the tower is frozen, varied drawings go through it once and are used a few times.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pipelines.shape_world.pretrain.augmentation import varied
from pipelines.shape_world.pretrain.batches import Batches, as_pixels
from pipelines.shape_world.pretrain.questions import BESIDES, CAPTIONS
from pipelines.shape_world.pretrain.scenes import Drawing
from pipelines.shape_world.pretrain.student import Teacher

Report = Callable[[str, int, float], None]
_REUSED = 3
"""How often a varied drawing is looked at while the tower is frozen."""
_ALONE = 0.15
"""Share of the steps under a frozen tower in which only the encoder learns."""
_ASIDE = 0.7
"""Share of the steps that ask for something besides detection."""
_OTHERS = 8
"""At most so many drawings of a batch are asked a second question."""


def train_frozen(
    teacher: Teacher,
    drawings: Sequence[Drawing],
    *,
    steps: int,
    batch: int,
    rate: float,
    seed: int,
    report: Report,
) -> None:
    """Train projector, encoder and decoder; the tower stays as it is."""
    rng = np.random.default_rng((seed, 1))
    alone = int(_ALONE * steps)
    parameters = [*_text_half(teacher.model), *teacher.copy.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=rate, weight_decay=0.01, betas=(0.9, 0.98))
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min((step + 1) / 200, 1.0) * (1 - 0.6 * step / steps)
    )
    lessons = _remembered(teacher.model.model.vision_tower, drawings, batch, rng)
    for step in range(steps):
        seen, shown = next(lessons)
        if step < alone:
            loss = teacher.copying_loss(seen, shown)
        else:
            loss = _step(teacher, seen, shown, rng)
        _learn(loss, parameters, optimizer)
        schedule.step()
        report("frozen", step, float(loss.detach()))


def train_together(
    teacher: Teacher,
    drawings: Sequence[Drawing],
    *,
    steps: int,
    batch: int,
    rate: float,
    seed: int,
    report: Report,
) -> None:
    """Train everything, the tower at half the rate, down to a rate of nothing."""
    rng = np.random.default_rng((seed, 2))
    tower = teacher.model.model.vision_tower.train()
    text = [*_text_half(teacher.model), *teacher.copy.parameters()]
    groups: list[dict[str, Any]] = [
        {"params": text},
        {"params": list(tower.parameters()), "lr": 0.5 * rate},
    ]
    optimizer = torch.optim.AdamW(groups, lr=rate, weight_decay=0.01, betas=(0.9, 0.98))
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer,
        lambda step: min((step + 1) / 100, 1.0) * 0.5 * (1 + np.cos(np.pi * step / steps)),
    )
    for step, shown in enumerate(Batches(drawings, size=batch, steps=steps, seed=seed + 1)):
        loss = _step(teacher, tower(as_pixels(shown)).last_hidden_state, shown, rng)
        _learn(loss, [*text, *tower.parameters()], optimizer)
        schedule.step()
        report("together", step, float(loss.detach()))
    teacher.model.eval()


def _step(
    teacher: Teacher, seen: Tensor, shown: Sequence[Drawing], rng: np.random.Generator
) -> Tensor:
    """Ask about every drawing for detection, and about some of them for one other task."""
    loss = teacher.detection_loss(seen, shown)
    if rng.random() > _ASIDE:
        return loss
    shares = np.array(list(BESIDES.values()))
    task = str(rng.choice(list(BESIDES), p=shares / shares.sum()))
    fit = [row for row, each in enumerate(shown) if each.captions or task not in CAPTIONS]
    rows = fit[:_OTHERS]
    if rows:
        others = [shown[row] for row in rows]
        loss = loss + 0.6 * teacher.other_loss(seen[rows], others, task, rng)
    return loss


def _learn(loss: Tensor, parameters: Sequence[nn.Parameter], optimizer: Any) -> None:
    optimizer.zero_grad(set_to_none=True)
    torch.autograd.backward(loss)
    nn.utils.clip_grad_norm_(parameters, 1.0)
    optimizer.step()


def _text_half(model: Any) -> list[nn.Parameter]:
    inner = model.model
    return [*inner.multi_modal_projector.parameters(), *inner.language_model.parameters()]


def _remembered(
    tower: Any, drawings: Sequence[Drawing], batch: int, rng: np.random.Generator
) -> Iterator[tuple[Tensor, list[Drawing]]]:
    """Yield features and their drawings without end, a third of them new each time round."""
    size = min(len(drawings), 256 * batch)
    order = _shuffled(len(drawings), rng)
    while True:
        kept: list[Drawing] = []
        seen: list[Tensor] = []
        for _ in range(0, size, 64):
            donors = rng.integers(len(drawings), size=64)
            shown = [varied(drawings[next(order)], drawings[donor], rng) for donor in donors]
            with torch.no_grad():
                seen.append(tower(as_pixels(shown)).last_hidden_state.contiguous())
            kept += [replace(each, pixels=each.pixels[:0]) for each in shown]
        features = torch.cat(seen)
        for _ in range(_REUSED):
            for rows in rng.permutation(len(kept))[: len(kept) // batch * batch].reshape(-1, batch):
                yield features[torch.from_numpy(rows)], [kept[row] for row in rows]


def _shuffled(count: int, rng: np.random.Generator) -> Iterator[int]:
    while True:
        yield from rng.permutation(count).tolist()

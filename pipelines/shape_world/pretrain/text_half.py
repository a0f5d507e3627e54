"""Training the text half (projector, encoder, decoder): with a frozen tower, then with the tower.

While the tower is frozen, its features of a drawing are computed once and used a few times.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from florilegium.pipelines.shape_world.pretrain.augmentation import varied
from florilegium.pipelines.shape_world.pretrain.batches import DrawingBatches, as_pixels
from florilegium.pipelines.shape_world.pretrain.prompts import CAPTIONS, SECOND_TASKS
from florilegium.pipelines.shape_world.pretrain.scenes import Drawing
from florilegium.pipelines.shape_world.pretrain.student import Teacher

Report = Callable[[str, int, float], None]
_USES_OF_FEATURES = 3
"""How often the features of an augmented drawing are used while the tower is frozen."""
_CACHED_BATCHES = 256
"""DrawingBatches of features that are computed at a time while the tower is frozen."""
_TOWER_BATCH = 64
"""Drawings in a forward pass of the frozen tower."""
_ENCODER_ONLY_SHARE = 0.15
"""Share of the steps with a frozen tower that train the encoder without the decoder."""
_SECOND_TASK_SHARE = 0.7
"""Share of the steps that train a second task besides detection."""
_SECOND_TASK_DRAWINGS = 8
"""Maximum drawings of a batch that are used for the second task."""
_SECOND_TASK_WEIGHT = 0.6
"""Weight of the second task in the loss."""
_FROZEN_WARMUP, _TOGETHER_WARMUP = 200, 100
"""Steps in which the learning rate rises."""
_FROZEN_DECAY = 0.6
"""Share by which the learning rate falls, linearly, with a frozen tower."""
_TOWER_RATE = 0.5
"""Learning rate of the tower over that of the text half."""
_ADAMW: dict[str, Any] = {"weight_decay": 0.01, "betas": (0.9, 0.98)}
"""The second beta is that of Vaswani et al. (2017). All other numbers were chosen by hand."""


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
    """Train projector, encoder and decoder; the tower is not trained."""
    rng = np.random.default_rng((seed, 1))
    encoder_only = int(_ENCODER_ONLY_SHARE * steps)
    parameters = [*_text_half(teacher.model), *teacher.copy.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=rate, **_ADAMW)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer,
        lambda step: min((step + 1) / _FROZEN_WARMUP, 1.0) * (1 - _FROZEN_DECAY * step / steps),
    )
    cached = _cached_features(teacher.model.model.vision_tower, drawings, batch, rng)
    for step in range(steps):
        features, own = next(cached)
        if step < encoder_only:
            loss = teacher.encoder_loss(features, own)
        else:
            loss = _loss(teacher, features, own, rng)
        _update(loss, parameters, optimizer)
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
    """Train all parts, the tower at a lower rate; the rates fall to 0."""
    rng = np.random.default_rng((seed, 2))
    tower = teacher.model.model.vision_tower.train()
    text = [*_text_half(teacher.model), *teacher.copy.parameters()]
    groups: list[dict[str, Any]] = [
        {"params": text},
        {"params": list(tower.parameters()), "lr": _TOWER_RATE * rate},
    ]
    optimizer = torch.optim.AdamW(groups, lr=rate, **_ADAMW)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer,
        lambda step: (
            min((step + 1) / _TOGETHER_WARMUP, 1.0) * 0.5 * (1 + np.cos(np.pi * step / steps))
        ),
    )
    batches = DrawingBatches(drawings, size=batch, steps=steps, seed=seed + 1)
    for step, own in enumerate(batches):
        loss = _loss(teacher, tower(as_pixels(own)).last_hidden_state, own, rng)
        _update(loss, [*text, *tower.parameters()], optimizer)
        schedule.step()
        report("together", step, float(loss.detach()))
    teacher.model.eval()


def _loss(
    teacher: Teacher, features: Tensor, drawings: Sequence[Drawing], rng: np.random.Generator
) -> Tensor:
    """Return the loss of detection on all drawings, and of a second task on some of them."""
    loss = teacher.detection_loss(features, drawings)
    if rng.random() > _SECOND_TASK_SHARE:
        return loss
    shares = np.array(list(SECOND_TASKS.values()))
    task = str(rng.choice(list(SECOND_TASKS), p=shares / shares.sum()))
    fit = [row for row, each in enumerate(drawings) if each.captions or task not in CAPTIONS]
    rows = fit[:_SECOND_TASK_DRAWINGS]
    if rows:
        others = [drawings[row] for row in rows]
        loss = loss + _SECOND_TASK_WEIGHT * teacher.task_loss(features[rows], others, task, rng)
    return loss


def _update(loss: Tensor, parameters: Sequence[nn.Parameter], optimizer: Any) -> None:
    optimizer.zero_grad(set_to_none=True)
    torch.autograd.backward(loss)
    nn.utils.clip_grad_norm_(parameters, 1.0)
    optimizer.step()


def _text_half(model: Any) -> list[nn.Parameter]:
    inner = model.model
    return [*inner.multi_modal_projector.parameters(), *inner.language_model.parameters()]


def _cached_features(
    tower: Any, drawings: Sequence[Drawing], batch: int, rng: np.random.Generator
) -> Iterator[tuple[Tensor, list[Drawing]]]:
    """Yield batches of features and their drawings without end, each `_USES_OF_FEATURES` times."""
    size = min(len(drawings), _CACHED_BATCHES * batch)
    order = _shuffled(len(drawings), rng)
    while True:
        kept: list[Drawing] = []
        parts: list[Tensor] = []
        for _ in range(0, size, _TOWER_BATCH):
            donors = rng.integers(len(drawings), size=_TOWER_BATCH)
            variants = [varied(drawings[next(order)], drawings[donor], rng) for donor in donors]
            with torch.no_grad():
                parts.append(tower(as_pixels(variants)).last_hidden_state.contiguous())
            kept += [replace(each, pixels=each.pixels[:0]) for each in variants]
        features = torch.cat(parts)
        for _ in range(_USES_OF_FEATURES):
            for rows in rng.permutation(len(kept))[: len(kept) // batch * batch].reshape(-1, batch):
                yield features[torch.from_numpy(rows)], [kept[row] for row in rows]


def _shuffled(count: int, rng: np.random.Generator) -> Iterator[int]:
    while True:
        yield from rng.permutation(count).tolist()

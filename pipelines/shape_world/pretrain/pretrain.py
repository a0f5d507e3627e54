"""Pretraining the tiny student: draw easy scenes, train the tower, then the text half, then both.

It trains on scenes of difficulty `easy` only, and is measured on `full` ones, too, on which it will
be used. The same config gives the same weights on the same kind of machine.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from florilegium.pipelines.shape_world.pretrain.architecture import (
    TINY,
    ModelSize,
    build_tiny,
    save_tiny,
    scale_positions,
)
from florilegium.pipelines.shape_world.pretrain.batches import as_pixels
from florilegium.pipelines.shape_world.pretrain.measure import measure_detection
from florilegium.pipelines.shape_world.pretrain.progress import TrainingLog
from florilegium.pipelines.shape_world.pretrain.scenes import Drawing, drawings, vocabulary
from florilegium.pipelines.shape_world.pretrain.student import Teacher
from florilegium.pipelines.shape_world.pretrain.text_half import train_frozen, train_together
from florilegium.pipelines.shape_world.pretrain.tower import train_tower
from florilegium.pipelines.shape_world.scene import Difficulty, WorldConfig

log = logging.getLogger(__name__)

TRAINING_SEED, HELD_OUT_SEED, FULL_SEED = 990_001, 990_002, 990_003
"""Seeds of worlds that nothing else uses."""


@dataclass(frozen=True, kw_only=True)
class PretrainConfig:
    """The steps and learning rates of the pretraining, chosen by hand. The default takes about half
    an hour on one core."""

    scenes: int = 12_000
    """Easy scenes to train on."""
    tower_steps: int = 5000
    """Steps of the vision tower with the dense head."""
    frozen_steps: int = 4000
    """Steps of the text half with the frozen tower."""
    together_steps: int = 2000
    """Steps of both halves together."""
    batch: int = 16
    """Scenes per step."""
    tower_rate: float = 2e-3
    text_rate: float = 1.5e-3
    together_rate: float = 5e-4
    seed: int = 0

    def scaled(self, share: float) -> PretrainConfig:
        """Return the same config with a share of the steps, at least one of each kind."""
        counts = ("tower_steps", "frozen_steps", "together_steps")
        steps = {name: max(int(getattr(self, name) * share), 1) for name in counts}
        return PretrainConfig(**{**asdict(self), **steps})


def pretrain(
    folder: str | Path,
    config: PretrainConfig,
    *,
    size: ModelSize = TINY,
    keep: str | Path | None = None,
    measured_on: int = 300,
) -> dict[str, float]:
    """Train a student, save it in `folder`, return its F1 on held-out scenes, easy and full.

    `keep` is a folder for intermediate students. The global random state is restored.
    """
    with torch.random.fork_rng(devices=()):
        model, processor = _trained(config, size, Path(keep) if keep else None)
    save_tiny(folder, model, processor)
    return measured(model, processor, size=size, count=measured_on)


def _trained(config: PretrainConfig, size: ModelSize, keep: Path | None) -> tuple[Any, Any]:
    drawn = _drawn(config.scenes, TRAINING_SEED, "easy", size)
    log.info("drew %d easy scenes", len(drawn))
    model, processor = build_tiny(vocabulary(), size=size, seed=config.seed)
    report = TrainingLog(model, processor, _drawn(64, HELD_OUT_SEED, "easy", size), keep)
    common: dict[str, Any] = {"batch": config.batch, "seed": config.seed, "report": report}
    train_tower(model, drawn, steps=config.tower_steps, rate=config.tower_rate, **common)
    scale_positions(model, _amplitude(model, drawn[:64]))
    torch.manual_seed(config.seed)
    teacher = Teacher(model, processor.tokenizer)
    train_frozen(teacher, drawn, steps=config.frozen_steps, rate=config.text_rate, **common)
    train_together(teacher, drawn, steps=config.together_steps, rate=config.together_rate, **common)
    return model, processor


def measured(
    model: Any, processor: Any, *, size: ModelSize = TINY, count: int = 300
) -> dict[str, float]:
    """Return F1 at IoU 0.5 of `<OD>` on `count` held-out easy scenes and as many full ones."""
    easy = _drawn(count, HELD_OUT_SEED, "easy", size)
    full = _drawn(count, FULL_SEED, "full", size)
    return {
        "easy": measure_detection(model, processor, easy).f1 or 0.0,
        "full": measure_detection(model, processor, full).f1 or 0.0,
    }


def _drawn(count: int, seed: int, difficulty: Difficulty, size: ModelSize) -> list[Drawing]:
    return list(drawings(WorldConfig(count=count, seed=seed, px=size.px, difficulty=difficulty)))


def _amplitude(model: Any, drawn: Sequence[Drawing]) -> float:
    """Return the root mean square of the tower's features."""
    with torch.no_grad():
        features = model.model.vision_tower(as_pixels(drawn)).last_hidden_state
    return float(features.square().mean().sqrt())

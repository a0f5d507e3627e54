"""Makes the tiny student from nothing: draws easy scenes, teaches the tower, then the text.

Only scenes of difficulty `easy` are learnt from. `full` scenes are drawn at the very end to
measure on, for that is the world the student will meet. The same plan gives the same weights
on the same kind of machine.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from pipelines.shape_world.pretrain.architecture import (
    TINY,
    Size,
    build_tiny,
    save_tiny,
    scale_positions,
)
from pipelines.shape_world.pretrain.batches import as_pixels
from pipelines.shape_world.pretrain.lessons import train_frozen, train_together
from pipelines.shape_world.pretrain.measure import measure_detection
from pipelines.shape_world.pretrain.progress import Progress
from pipelines.shape_world.pretrain.scenes import Drawing, drawings, vocabulary
from pipelines.shape_world.pretrain.student import Teacher
from pipelines.shape_world.pretrain.tower import train_tower
from pipelines.shape_world.scene import Difficulty, WorldConfig

log = logging.getLogger(__name__)

TRAINING_SEED, HELD_OUT_SEED, FULL_SEED = 990_001, 990_002, 990_003
"""Worlds that nothing else uses."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How long each step takes. The default needs about half an hour of one core."""

    scenes: int = 12_000
    """Easy scenes to draw and learn from."""
    tower_steps: int = 5000
    """Steps of the vision tower under the dense head."""
    frozen_steps: int = 4000
    """Steps of the text half under the frozen tower."""
    together_steps: int = 2000
    """Steps of both halves together."""
    batch: int = 16
    """Scenes in a step."""
    tower_rate: float = 2e-3
    text_rate: float = 1.5e-3
    together_rate: float = 5e-4
    seed: int = 0

    def scaled(self, share: float) -> Plan:
        """The same plan with `share` of the steps of each kind, at least one."""
        counts = ("tower_steps", "frozen_steps", "together_steps")
        steps = {name: max(int(getattr(self, name) * share), 1) for name in counts}
        return Plan(**{**asdict(self), **steps})


def pretrain(
    folder: str | Path,
    plan: Plan,
    *,
    size: Size = TINY,
    keep: str | Path | None = None,
    measured_on: int = 300,
) -> dict[str, float]:
    """Make a student, save it in `folder`, return its F1 on held-out scenes, easy and full.

    `keep` is a folder for early students, for those who cannot wait. The global random state
    is left as it was.
    """
    with torch.random.fork_rng(devices=()):
        model, processor = _taught(plan, size, Path(keep) if keep else None)
    save_tiny(folder, model, processor)
    return measured(model, processor, size=size, count=measured_on)


def _taught(plan: Plan, size: Size, keep: Path | None) -> tuple[Any, Any]:
    drawn = _drawn(plan.scenes, TRAINING_SEED, "easy", size)
    log.info("drew %d easy scenes", len(drawn))
    model, processor = build_tiny(vocabulary(), size=size, seed=plan.seed)
    report = Progress(model, processor, _drawn(64, HELD_OUT_SEED, "easy", size), keep)
    common: dict[str, Any] = {"batch": plan.batch, "seed": plan.seed, "report": report}
    train_tower(model, drawn, steps=plan.tower_steps, rate=plan.tower_rate, **common)
    scale_positions(model, _amplitude(model, drawn[:64]))
    torch.manual_seed(plan.seed)
    teacher = Teacher(model, processor.tokenizer)
    train_frozen(teacher, drawn, steps=plan.frozen_steps, rate=plan.text_rate, **common)
    train_together(teacher, drawn, steps=plan.together_steps, rate=plan.together_rate, **common)
    return model, processor


def measured(
    model: Any, processor: Any, *, size: Size = TINY, count: int = 300
) -> dict[str, float]:
    """Return F1 at IoU 0.5 of `<OD>` on `count` held-out easy scenes and as many full ones."""
    easy = _drawn(count, HELD_OUT_SEED, "easy", size)
    full = _drawn(count, FULL_SEED, "full", size)
    return {
        "easy": measure_detection(model, processor, easy).f1,
        "full": measure_detection(model, processor, full).f1,
    }


def _drawn(count: int, seed: int, difficulty: Difficulty, size: Size) -> list[Drawing]:
    return list(drawings(WorldConfig(count=count, seed=seed, px=size.px, difficulty=difficulty)))


def _amplitude(model: Any, seen: Sequence[Drawing]) -> float:
    """Root mean square of the tower's features."""
    with torch.no_grad():
        features = model.model.vision_tower(as_pixels(seen)).last_hidden_state
    return float(features.square().mean().sqrt())

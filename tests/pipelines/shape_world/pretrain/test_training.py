"""Each step of pretraining learns, and touches only what it should."""

from __future__ import annotations

import copy
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from florilegium.pipelines.shape_world.pretrain.architecture import TINIEST, build_tiny
from florilegium.pipelines.shape_world.pretrain.measure import measure_detection
from florilegium.pipelines.shape_world.pretrain.pretrain import PretrainConfig, pretrain
from florilegium.pipelines.shape_world.pretrain.scenes import Drawing
from florilegium.pipelines.shape_world.pretrain.student import Teacher
from florilegium.pipelines.shape_world.pretrain.text_half import train_frozen, train_together
from florilegium.pipelines.shape_world.pretrain.tower import cells_of, train_tower

Tiny = tuple[Any, Any]


class Losses(list[float]):
    """A report that keeps every loss."""

    def __call__(self, phase: str, step: int, loss: float) -> None:
        self.append(loss)

    @property
    def falls(self) -> bool:
        third = len(self) // 3
        return bool(np.mean(self[-third:]) < 0.97 * np.mean(self[:third]))


@pytest.fixture
def student(tiniest: Tiny) -> Any:
    return copy.deepcopy(tiniest[0])


def _weights(module: Any) -> dict[str, torch.Tensor]:
    return {name: weight.clone() for name, weight in module.state_dict().items()}


def _changed(module: Any, before: dict[str, torch.Tensor]) -> bool:
    return any(not torch.equal(weight, before[name]) for name, weight in _weights(module).items())


def test_training_the_tower_leaves_the_text_half_unchanged(
    student: Any, easy: list[Drawing]
) -> None:
    text = _weights(student.model.language_model)
    losses = Losses()
    train_tower(student, easy, steps=45, batch=4, rate=2e-3, seed=0, report=losses)
    assert losses.falls
    assert not _changed(student.model.language_model, text)


def test_training_the_text_half_leaves_a_frozen_tower_unchanged(
    student: Any, tiniest: Tiny, easy: list[Drawing]
) -> None:
    tower = _weights(student.model.vision_tower)
    losses = Losses()
    teacher = Teacher(student, tiniest[1].tokenizer)
    train_frozen(teacher, easy, steps=60, batch=4, rate=3e-3, seed=0, report=losses)
    # The first steps teach the encoder alone; their loss is another.
    assert Losses(losses[12:]).falls
    assert not _changed(student.model.vision_tower, tower)


def test_training_together_changes_both_halves(
    student: Any, tiniest: Tiny, easy: list[Drawing]
) -> None:
    halves = (student.model.vision_tower, student.model.language_model)
    before = [_weights(half) for half in halves]
    teacher = Teacher(student, tiniest[1].tokenizer)
    train_together(teacher, easy, steps=2, batch=4, rate=1e-3, seed=0, report=Losses())
    assert all(_changed(half, old) for half, old in zip(halves, before, strict=True))
    assert not student.training


def test_a_location_near_the_truth_costs_less_than_one_far_away(
    student: Any, tiniest: Tiny
) -> None:
    teacher = Teacher(student, tiniest[1].tokenizer)
    logits = torch.zeros(3, len(tiniest[1].tokenizer))
    for row, bin_ in enumerate((500, 506, 700)):
        logits[row, teacher.first + bin_] = 10.0
    wanted = torch.tensor([teacher.first + 500])
    exact, near, far = (float(teacher._entropy(row[None], wanted, 1.0)) for row in logits)
    assert exact < near < far


def test_a_thing_belongs_to_the_cell_of_its_centre(easy: list[Drawing]) -> None:
    for drawing in easy:
        for (row, column), (x1, y1, x2, y2) in zip(
            cells_of(drawing, 4), drawing.boxes_xyxy, strict=True
        ):
            assert row * 8 <= (y1 + y2) / 2 <= (row + 1) * 8
            assert column * 8 <= (x1 + x2) / 2 <= (column + 1) * 8


def test_pretraining_is_reproducible_to_the_last_bit(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    config = PretrainConfig(scenes=24, batch=4, tower_steps=4, frozen_steps=8, together_steps=3)
    for name in ("first", "second"):
        figures = pretrain(tmp_path / name, config, size=TINIEST, measured_on=4)
        assert set(figures) == {"easy", "full"}
    first, second = ((tmp_path / name / "model.safetensors") for name in ("first", "second"))
    assert first.read_bytes() == second.read_bytes()


def test_an_untrained_student_finds_nothing(tiniest: Tiny, easy: list[Drawing]) -> None:
    found = measure_detection(*tiniest, easy[:8])
    assert found.true == sum(len(drawing.kinds) for drawing in easy[:8])
    assert found.f1 is not None
    assert found.f1 < 0.1


def test_another_seed_gives_other_weights() -> None:
    students = [build_tiny(size=TINIEST, seed=seed)[0].lm_head.weight for seed in (0, 1)]
    assert not torch.equal(*students)

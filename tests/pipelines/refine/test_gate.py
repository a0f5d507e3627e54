"""Which labels students are trained on, which students label, and which round is promoted.

Labelling and training are replaced by fakes that record their arguments.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from florilegium.pipelines.dataset.lineage import Round
from florilegium.pipelines.refine import loop
from florilegium.pipelines.refine.labelling import LabelledRound
from florilegium.pipelines.refine.quality import Quality
from florilegium.pipelines.refine.stages import Stages
from florilegium.pipelines.training.config import TrainConfig
from tests.pipelines.refine.conftest import Configure


@dataclass
class Steps:
    """What the loop asked for: trainings, the stages of each round, and who was promoted."""

    rounds: list[Round] = field(default_factory=list)
    trained: list[tuple[str, str, str, int | None, int]] = field(default_factory=list)
    """Labels, start and checkpoint, each from the output on; the fold held out, and of how many."""
    models: list[list[str]] = field(default_factory=list)
    promoted: list[int] = field(default_factory=list)


Refine = Callable[..., Steps]


@pytest.fixture
def refined(configure: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Refine:
    """Refine by the qualities that rounds are given, boxes alone or kind by kind."""
    output = tmp_path / "out"

    def make(*qualities: float | dict[str, float | None], **options: Any) -> Steps:
        steps, values = Steps(), iter(qualities)

        def place(path: object) -> str:
            return str(path).removeprefix(f"{output}/")

        def train(
            labels: str,
            config: TrainConfig,
            target: Path,
            *,
            fold: int | None,
            folds: int,
            **_: Any,
        ) -> SimpleNamespace:
            steps.trained.append((place(labels), place(config.model), place(target), fold, folds))
            return SimpleNamespace(digest=f"digest of {fold}", steps=2, losses={})

        def label(_: Any, folder: Any, stages: Stages, *__: Any, **___: Any) -> LabelledRound:
            steps.models.append([place(one) for one in stages.get("student", {}).get("model", [])])
            graph = SimpleNamespace(recipe=f"recipe of {folder.url[-1]}", specialists=())
            return LabelledRound(run=SimpleNamespace(graph=graph), calibrations={})

        def measure(*_: Any) -> Quality:
            value = next(values)
            kinds = value if isinstance(value, dict) else {"boxes": value}
            return Quality(measured_by="truth", by_kind=kinds)

        def promote(_: Any, best: Round, rounds: Sequence[Round], **__: Any) -> None:
            steps.promoted.append(best.number)
            assert [one.number for one in rounds] == list(range(len(qualities)))

        monkeypatch.setattr(loop, "train", train)
        monkeypatch.setattr(loop, "label", label)
        monkeypatch.setattr(loop, "measure", measure)
        monkeypatch.setattr(loop._Loop, "promote", promote)
        given = {"rounds": len(qualities) - 1, "margin": 0.0, **options}
        steps.rounds = loop.refine(configure(output, **given))
        return steps

    return make


def gate(steps: Steps) -> list[tuple[int, int, bool]]:
    """Number, parent and promotion of each round."""
    return [(one.number, one.parent, one.is_promoted) for one in steps.rounds]


def test_only_a_better_round_is_promoted_and_becomes_the_next_parent(
    refined: Refine,
) -> None:
    steps = refined(0.5, 0.5, 0.6, 0.6)
    assert gate(steps) == [(0, -1, True), (1, 0, False), (2, 0, True), (3, 2, False)]
    assert steps.promoted == [2]
    assert [one.reason for one in steps.rounds] == [
        "it is the first round",
        "the mean quality changes by +0.0000, so round 0 stays promoted",
        "the mean quality gains 0.1000 on round 0",
        "the mean quality changes by +0.0000, so round 2 stays promoted",
    ]
    assert [one.recipe for one in steps.rounds] == [f"recipe of {number}" for number in range(4)]


def test_students_learn_from_the_promoted_round_each_without_its_own_fold(
    refined: Refine, untrained: Path
) -> None:
    steps = refined(0.5, 0.6, 0.6, 0.7, folds=2)
    first, second, third = (steps.trained[place : place + 2] for place in (0, 2, 4))
    start = first[0][1]
    assert start == str(untrained)
    assert first == [
        ("rounds/0", start, f"rounds/1/students/fold_{fold}", fold, 2) for fold in (0, 1)
    ]
    for number, found in ((2, second), (3, third)):
        assert found == [
            ("rounds/1", f"rounds/1/students/fold_{fold}", f"rounds/{number}/students/fold_{fold}",
             fold, 2)
            for fold in (0, 1)
        ]  # fmt: skip
    assert steps.models[0] == []
    for number in (1, 2, 3):
        folds = [f"rounds/{number}/students/fold_{fold}" for fold in (0, 1)]
        assert steps.models[number] == folds, "the model of a fold stands at its place"
    assert [(one.fold, one.digest) for one in steps.rounds[1].students] == [
        (0, "digest of 0"), (1, "digest of 1"),
    ]  # fmt: skip


def test_cold_students_restart_and_a_single_fold_holds_nothing_out(refined: Refine) -> None:
    steps = refined(0.5, 0.6, 0.7, folds=1, is_warm=False)
    assert len({start for _, start, *_ in steps.trained}) == 1
    assert [fold for *_, fold, _ in steps.trained] == [None, None]


@pytest.mark.parametrize(("second", "rounds"), [(0.75, 3), (0.749, 2)])
def test_the_loop_continues_while_a_round_gains_the_margin(
    refined: Refine, second: float, rounds: int
) -> None:
    steps = refined(*(0.5, second, 0.9)[:rounds], margin=0.25, rounds=2)
    assert len(steps.rounds) == rounds
    assert steps.rounds[1].is_promoted


def test_a_loss_in_one_kind_offsets_a_gain_in_another(refined: Refine) -> None:
    """Rounding in the last digits is no gain: 0.8 - 0.5 is a hair more than 0.5 - 0.2."""
    steps = refined(
        {"boxes": 0.5, "ocr": 0.5},
        {"boxes": 0.8, "ocr": 0.2},
        {"boxes": 0.8, "ocr": 0.3},
    )
    assert gate(steps) == [(0, -1, True), (1, 0, False), (2, 0, True)]

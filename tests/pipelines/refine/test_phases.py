"""What a refinement will take: phase by phase, from costs that are given here."""

from __future__ import annotations

from typing import Any

import pytest

from florilegium.engine.core.stage import StageConfig
from florilegium.engine.planning.graph import Graph, Node
from florilegium.engine.planning.pools import Machines
from florilegium.pipelines.cost.cost import Cost
from florilegium.pipelines.cost.measure import Measured
from florilegium.pipelines.refine.config import RefineOptions
from florilegium.pipelines.refine.phases import (
    Phase,
    Spending,
    distillation_lines,
    phases,
    phases_table,
)
from tests.stages import Brightest, Remote

SHARE = 0.01
OPTIONS = RefineOptions(
    rounds=2,
    folds=2,
    students={"student": {}, "writer": {}},
    train={"model": "m", "tasks": {"caption": 1}, "steps": 100, "batch_size": 8, "workers": 4},
    fine_tune={"writer": {"tasks": {"detailed_caption": 1}, "steps": 5, "workers": 0}},
)


def node(name: str, fingerprint: str, *, num_gpus: float = 0, share: float = 1.0) -> Node[Any]:
    stage: Any = (Remote if name == "annotator" else Brightest)(StageConfig(num_gpus=num_gpus))
    return Node(name=name, use="it", stage=stage, fingerprint=fingerprint, sample_share=share)


def cost(name: str, seconds: float, **more: Any) -> Cost:
    """Measured on ten images."""
    return Cost(
        name=name, images=10, seconds=seconds, load_s=1, base_mib=1, memory_mib=1, **more
    )  # fmt: skip


DETECTOR, BOXES = node("detector", "d", num_gpus=0.5), node("boxes", "b0")
ANNOTATOR = node("annotator", "a", share=SHARE)
LATER = (DETECTOR, node("boxes", "b1"), ANNOTATOR, node("student", "s", num_gpus=0.5))
COSTS = (
    cost("detector", 3.6),
    cost("boxes", 0.36),
    cost("annotator", 36, requests=20, price=0.5, sample_share=SHARE),
    cost("student", 7.2),
)


def measured(*costs: Cost) -> Measured:
    return Measured(
        graph=Graph(specialists=LATER, filters=()), machines=Machines(cpus=4, gpus_by_node=(1,)),
        costs=costs, images=100_000, image_bytes=1, shard_bytes=1, layer_bytes=1,
    )  # fmt: skip


@pytest.fixture
def found() -> list[Phase]:
    first = Graph(specialists=(DETECTOR, BOXES, ANNOTATOR), filters=())
    taken = measured(*COSTS)
    return list(phases(taken, OPTIONS, first=first, later=taken.graph))


def test_a_round_trains_fine_tunes_and_labels(found: list[Phase]) -> None:
    round_1 = ["train", "fine-tune", "relabel"]
    assert [(one.round, one.name) for one in found] == [
        (0, "label"),
        *((1, name) for name in round_1),
        *((2, name) for name in round_1),
    ]
    train, tune = found[1:3]
    assert (train.steps, train.examples, train.spending) == (200, 200 * 8 * 4, None)
    assert (tune.stages, tune.steps, tune.examples) == (("writer",), 10, 10 * 8)


def test_the_hours_of_a_phase_are_those_of_the_stages_that_are_asked(found: list[Phase]) -> None:
    begin, again = found[0], found[3]
    assert begin.stages == ("detector", "boxes", "annotator")
    assert begin.spending is not None
    assert begin.spending.gpu_hours == pytest.approx(100_000 * 0.36 / 3600)
    assert begin.spending.cpu_hours == pytest.approx(100_000 * 0.036 / 3600)
    assert begin.spending.requests == pytest.approx(2 * 1000)
    assert begin.spending.price == pytest.approx(0.05 * 1000)
    assert again.stages == ("boxes", "student")  # what nothing has changed for is not asked
    assert again.spending is not None
    assert again.spending.gpu_hours == pytest.approx(100_000 * 0.72 / 3600)
    assert (again.spending.requests, again.spending.price) == (0, 0)


def test_what_distillation_saves_is_told_in_requests_and_money() -> None:
    lines = list(distillation_lines(measured(*COSTS)))
    assert lines == [
        "distilled  annotator: 1,000 of 100,000 images",
        "           2,000 requests at a price of 50.00, 0.00 GPU-hours, 0.00 CPU-hours",
        "saved      198,000 requests at a price of 4,950.00, 0.00 GPU-hours, 0.00 CPU-hours, as "
        "students write the others",
    ]
    assert list(distillation_lines(measured(cost("detector", 1)))) == []


def test_hours_that_were_not_measured_are_not_made_up() -> None:
    table = phases_table(
        [Phase(round=1, name="train", steps=5), Phase(round=1, name="label", spending=Spending())]
    )
    hours = next(column for column in table.columns if column.header == "GPU-hours")
    assert list(hours.cells) == ["unmeasured", "0.00"]

"""What a refinement will take, phase by phase, from the measured cost of its stages.

A round trains students and lets them label; a stage is asked again where what it reads has changed.
Training is not measured: its steps are known, its hours are not.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass

from rich.table import Table

from florilegium.engine.core.counted import counted
from florilegium.engine.planning.graph import Graph
from florilegium.pipelines.cost.cost import Cost
from florilegium.pipelines.cost.measure import Measured
from florilegium.pipelines.refine.config import RefineOptions
from florilegium.pipelines.training.config import TrainConfig

_HOUR_S = 3600


@dataclass(frozen=True, kw_only=True)
class Spending:
    """Time of GPUs and of CPU workers, requests to services and their price."""

    gpu_hours: float = 0.0
    cpu_hours: float = 0.0
    requests: float = 0.0
    price: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Phase:
    """One phase of a round. `spending` is `None` for a training, which has `steps`; `stages` are
    those that are asked, or the student that is fine-tuned."""

    round: int
    name: str
    stages: tuple[str, ...] = ()
    steps: int = 0
    examples: int = 0
    spending: Spending | None = None


def phases(
    measured: Measured, options: RefineOptions, *, first: Graph, later: Graph
) -> Iterator[Phase]:
    """Yield all phases of a refinement that runs all its rounds.

    Args:
        measured: of `later`, with the students as they start.
        first: the graph of round 0.
        later: the graph of a round with students.
    """
    known = {node.fingerprint for node in first.layered}
    begin = [node.name for node in first.layered]
    again = tuple(node.name for node in later.layered if node.fingerprint not in known)
    yield Phase(round=0, name="label", stages=tuple(begin), spending=spending_of(measured, begin))
    for number in range(1, options.rounds + 1):
        yield _training(number, "train", (), options.train, options.folds)
        for name in options.fine_tune:
            yield _training(number, "fine-tune", (name,), options.tuning(name), options.folds)
        spending = spending_of(measured, again)
        yield Phase(round=number, name="relabel", stages=again, spending=spending)


def _training(
    number: int, name: str, students: tuple[str, ...], config: TrainConfig, folds: int
) -> Phase:
    steps = config.steps * folds
    batch = config.batch_size * config.gradient_accumulation * max(config.workers, 1)
    return Phase(round=number, name=name, stages=students, steps=steps, examples=steps * batch)


def spending_of(
    measured: Measured, names: Collection[str], *, of_all_images: bool = False
) -> Spending:
    """Return what these stages take for the whole source, or would, if asked about all of it."""
    on_gpu = {n.name for n in measured.graph.layered if n.wants_gpu and not n.is_on_cpu}
    remote = {n.name for n in measured.graph.layered if n.stage.is_remote}
    costs = [cost for cost in measured.costs if cost.name in names]

    def total(of: str, costs: Collection[Cost]) -> float:
        shares = ((one, 1 / one.sample_share if of_all_images else 1.0) for one in costs)
        return measured.images * sum(one.per_image(getattr(one, of)) * s for one, s in shares)

    on_cpu = [cost for cost in costs if cost.name not in on_gpu | remote]
    return Spending(
        gpu_hours=total("seconds", [cost for cost in costs if cost.name in on_gpu]) / _HOUR_S,
        cpu_hours=total("seconds", on_cpu) / _HOUR_S,
        requests=total("requests", costs),
        price=total("price", costs),
    )


def phases_table(found: Collection[Phase]) -> Table:
    """Return the phases of all rounds; what is not measured is left empty."""
    table = Table(title="refinement, phase by phase")
    table.add_column("round", justify="right")
    table.add_column("phase")
    columns = ("stages", "GPU-hours", "CPU-hours", "steps", "examples", "requests", "price")
    for column in columns:
        table.add_column(column, justify="right")
    for one in found:
        spent = one.spending
        table.add_row(
            str(one.round),
            one.name,
            str(len(one.stages)) if spent else "".join(one.stages),
            f"{spent.gpu_hours:,.2f}" if spent else "unmeasured",
            f"{spent.cpu_hours:,.2f}" if spent else "",
            f"{one.steps:,}" if one.steps else "",
            f"{one.examples:,}" if one.examples else "",
            f"{spent.requests:,.0f}" if spent else "",
            f"{spent.price:,.2f}" if spent and spent.price else "",
        )
    return table


def distillation_lines(measured: Measured) -> Iterator[str]:
    """Yield what the stages that are asked about a share take, and what asking them about all
    images would take more."""
    names = [cost.name for cost in measured.costs if cost.sample_share < 1]
    if not names:
        return
    spent = spending_of(measured, names)
    whole = spending_of(measured, names, of_all_images=True)
    seen = measured.images * max(one.sample_share for one in measured.costs if one.name in names)
    yield f"distilled  {', '.join(names)}: {seen:,.0f} of {counted(measured.images, 'image')}"
    yield f"           {_described(spent)}"
    saved = Spending(
        gpu_hours=whole.gpu_hours - spent.gpu_hours,
        cpu_hours=whole.cpu_hours - spent.cpu_hours,
        requests=whole.requests - spent.requests,
        price=whole.price - spent.price,
    )
    yield f"saved      {_described(saved)}, as students write the others"


def _described(spent: Spending) -> str:
    price = f" at a price of {spent.price:,.2f}" if spent.price else ""
    return (
        f"{spent.requests:,.0f} requests{price}, {spent.gpu_hours:,.2f} GPU-hours, "
        f"{spent.cpu_hours:,.2f} CPU-hours"
    )

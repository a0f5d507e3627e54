"""The tables that commands print."""

from __future__ import annotations

from rich.table import Table

from engine.errors import PlanError
from engine.manifest import Totals
from engine.registry import find_stage, stage_names
from engine.run import Run
from engine.stage import Specialist
from pipelines.status import Status


def plan_table(run: Run) -> Table:
    """Return the stages of a run in the order in which they will speak."""
    table = Table(title="plan")
    for column in ("stage", "class", "reads", "produces", "pool", "fingerprint"):
        table.add_column(column)
    for node in run.graph.nodes:
        says = node.stage.produces if isinstance(node.stage, Specialist) else ("verdicts",)
        table.add_row(
            node.name,
            node.use,
            ", ".join(node.inputs),
            ", ".join(says),
            node.pool,
            node.fingerprint,
        )
    return table


def totals_table(totals: Totals) -> Table:
    """Return what a dataset holds, by task."""
    table = Table()
    table.add_column("task")
    table.add_column("kept", justify="right")
    table.add_column("dropped", justify="right")
    for task, sides in totals.tasks.items():
        table.add_row(task, str(sides["kept"]), str(sides["dropped"]))
    table.add_section()
    table.add_row("all", str(totals.annotations_kept), str(totals.annotations_dropped))
    return table


def status_table(status: Status) -> Table:
    """Return how far a dataset is."""
    table = Table(show_header=False)
    for name, value in status.to_json().items():
        table.add_row(name.replace("_", " "), str(value))
    return table


def stages_table() -> Table:
    """Return all installed stages."""
    table = Table()
    for column in ("name", "reads", "produces", "needs"):
        table.add_column(column)
    for name in stage_names():
        try:
            stage = find_stage(name)
        except PlanError as error:
            table.add_row(name, "", "", f"broken: {error}")
            continue
        says = stage.produces if issubclass(stage, Specialist) else ("verdicts",)
        needs = ", ".join(stage.needs)
        if stage.needs and stage.extra:
            needs += f" (extra: {stage.extra})"
        table.add_row(name, "\n".join(map(str, stage.reads)), "\n".join(says), needs)
    return table

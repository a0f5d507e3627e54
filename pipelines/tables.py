"""The tables that commands print."""

from __future__ import annotations

from typing import Any

from rich.table import Table

from engine.errors import UsageError
from engine.manifest import Manifest, Totals
from engine.registry import find_stage, stage_names
from engine.run import Run
from engine.stage import Input, Specialist, Stage
from pipelines.status import Status


def plan_table(run: Run) -> Table:
    """Return the stages of a run in the order in which they will speak."""
    table = Table(title="plan")
    for column in ("stage", "class", "reads", "produces", "pool", "fingerprint"):
        table.add_column(column, overflow="fold")
    for node in run.graph.nodes:
        says = node.stage.produces if isinstance(node.stage, Specialist) else ("verdicts",)
        table.add_row(
            node.name,
            node.use,
            "\n".join(node.inputs),
            "\n".join(says),
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
        table.add_column(column, overflow="fold")
    for name in stage_names():
        try:
            stage_class = find_stage(name)
            stage = stage_class(stage_class.Config())
        except UsageError as error:
            table.add_row(name, "", "", f"broken: {error}")
            continue
        says = stage.produces if isinstance(stage, Specialist) else ("verdicts",)
        reads = "\n".join(" or\n".join(one.tasks) + _mark(one) for one in stage.reads)
        table.add_row(name, reads, "\n".join(says), _needs(stage))
    return table


def _mark(wanted: Input) -> str:
    return " (where there is any)" if wanted.optional else ""


def _needs(stage: Stage[Any]) -> str:
    """Return the packages that a stage needs beyond the base installation."""
    needs = [", ".join(stage.needs)] if stage.needs else []
    if stage.extra:
        needs.append(f"extra: {stage.extra}")
    family = getattr(stage, "family", None)
    if family is not None and family.needs_torchvision:
        needs.append(f"extra torchvision for {', '.join(family.needs_torchvision)}")
    return "\n".join(needs)


def loss_lines(manifest: Manifest) -> list[str]:
    """Return the dead letters by reason, with the message of the first of each."""
    first = {letter.reason: letter for _, letter in reversed(manifest.dead_letters)}
    return [
        f"  {reason} {count}: {first[reason].key}, {first[reason].stage}: {first[reason].message}"
        for reason, count in manifest.totals.failures.items()
    ]

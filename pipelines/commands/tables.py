"""The tables that commands print."""

from __future__ import annotations

import re
from collections.abc import Iterable

from rich.cells import cell_len
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from florilegium.engine.core.annotation import SOURCE
from florilegium.engine.core.counted import counted
from florilegium.engine.execution.preparation import Run
from florilegium.engine.results.manifest import Totals
from florilegium.engine.untrusted.escaped import LONGEST, cut
from florilegium.pipelines.cluster.jobs import Job
from florilegium.pipelines.dataset.status import Status
from florilegium.pipelines.reference.plugin import Broken, Plugin
from florilegium.pipelines.terminal.console import Terminal

_WORD = re.compile(r"^ *\S+|\S+|^$", re.MULTILINE)
_UNBOUNDED = 10_000


def print_table(console: Terminal, table: Table) -> None:
    """Print a table without cutting any text, however narrow the terminal is.

    Names are not broken, so that they can be searched; the table becomes wider instead. Only on a
    terminal that is too narrow, names wrap to the next line.
    """
    for column in table.columns:
        column.overflow = "fold"
        texts = [_plain(console, cell) for cell in (column.header, *column.cells)]
        column.min_width = max(cell_len(word) for text in texts for word in _WORD.findall(text))
        # Else rich would take missing width from columns of names, too.
        lines = [line for text in texts for line in text.split("\n")]
        column.no_wrap = column.min_width == max(map(cell_len, lines))
    unbounded = console.options.update(max_width=_UNBOUNDED)
    least = console.measure(table, options=unbounded).minimum
    if least > console.width and not console.is_terminal:
        table.width = least
    elif least > console.width:
        for column in table.columns:
            column.min_width, column.no_wrap = None, False
    console.print(table, crop=False)


def _plain(console: Terminal, cell: RenderableType) -> str:
    return (cell if isinstance(cell, Text) else console.render_str(str(cell))).plain


def plan_table(run: Run) -> Table:
    """Return the stages of a run in their order of execution."""
    table = Table(title="plan", show_lines=True, show_edge=False, pad_edge=False)
    for column in ("stage", "reads", "produces", "pool"):
        table.add_column(column)
    for node in run.graph.nodes:
        output = node.stage.produces or ("verdicts",)
        output = ("not imported",) if node.is_unseen else output
        use = node.use if len(node.use) <= LONGEST else cut(node.use)
        name = node.name if node.use == node.name else f"{node.name}\n  {use}"
        where = f"{node.pool}\n  {node.fingerprint}"
        judges = (*node.gate.sample_filters, *node.gate.filters)
        before = ["after", *(f"  {one}" for one in judges)] if judges else []
        labels = [] if node.tasks.isdisjoint(run.source_tasks) else [SOURCE]
        reads = [*labels, *node.upstream, *before]
        table.add_row(name, "\n".join(reads), "\n".join(output), where)
    return table


def totals_table(totals: Totals) -> Table:
    """Return the numbers of kept and dropped annotations, by task."""
    table = Table()
    table.add_column("task")
    table.add_column("kept", justify="right")
    table.add_column("dropped", justify="right")
    for task, sides in totals.shown_tasks.items():
        table.add_row(task, str(sides["kept"]), str(sides["dropped"]))
    table.add_section()
    table.add_row("all", str(totals.annotations_kept), str(totals.annotations_dropped))
    return table


def status_table(status: Status) -> Table:
    """Return how much of a dataset is done."""
    table = Table(show_header=False)
    for name, value in status.to_json().items():
        if name not in ("slices", "held_back", "sample_drops"):
            table.add_row(name.replace("_", " "), str(value))
    for name, count in status.sample_drops.items():
        table.add_row("dropped by a sample filter", f"{count} {name}")
    for one in status.slices:
        table.add_row(f"slice {one.slice}", f"{one.shards_done} of {counted(one.shards, 'shard')}")
    for line in status.held_back:
        table.add_row("a version is held back", line)
    return table


def jobs_table(jobs: Iterable[Job]) -> Table:
    """Return jobs of a cluster: how each one is or ended, and where its dataset is."""
    table = Table()
    for column in ("job", "status", "exit code", "dataset"):
        table.add_column(column)
    for job in jobs:
        table.add_row(job.name, job.status, str(job.code) if job.is_over else "", job.output)
    return table


def plugins_table(what: str, plugins: Iterable[Plugin | Broken]) -> Table:
    """Return installed plugins of a kind, with what each one does."""
    table = Table(show_edge=False, pad_edge=False)
    table.add_column(what)
    table.add_column("what it does")
    for one in plugins:
        table.add_row(one.name, one.title if isinstance(one, Plugin) else f"broken: {one.error}")
    return table

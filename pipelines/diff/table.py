"""A difference between rounds as escaped text for a terminal."""

from __future__ import annotations

from collections.abc import Iterator

from rich.table import Table
from rich.text import Text

from florilegium.engine.core.annotation import Annotation
from florilegium.engine.core.counted import counted
from florilegium.engine.untrusted.escaped import escaped
from florilegium.pipelines.diff.changes import Change
from florilegium.pipelines.diff.difference import Diff, SampleDiff

_MAX_CHANGES = 8  # of a sample that are printed
_LONGEST = 100  # characters of a text
_STYLES = {"added": "green", "changed": "yellow", "dropped": "red"}


def diff_table(diff: Diff) -> Table:
    """Return the counts by task."""
    table = Table(title=f"round {diff.before} → round {diff.after}")
    table.add_column("task")
    for name in ("before", "after", "same", "added", "changed", "dropped"):
        table.add_column(name, justify="right", style=_STYLES.get(name, ""))
    for task, counts in diff.tasks.items():
        table.add_row(Text(task), *map(str, counts.to_json().values()))
    table.add_section()
    table.add_row("all", *map(str, diff.total.to_json().values()))
    return table


def diff_lines(diff: Diff) -> Iterator[Text]:
    """Yield lines on the samples that changed most, with their changes."""
    yield Text(f"{counted(diff.samples_changed, 'sample')} changed")
    if diff.compared < diff.shards:
        yield Text(f"compared on {diff.compared} of {counted(diff.shards, 'shard')}")
    for sample in diff.samples:
        yield from _sample_lines(sample)


def _sample_lines(sample: SampleDiff) -> Iterator[Text]:
    yield Text(f"\n{_shown(sample.key)}  {sample.shard}", style="bold")
    changes = sorted(sample.found.changes, key=lambda change: -change.weight)
    for change in changes[:_MAX_CHANGES]:
        line = Text("  ")
        line.append(f"{change.how:<8}", style=_STYLES[change.how])
        line.append(f"{change.task}  ", style="dim")
        line.append(_described(change))
        yield line
    if len(changes) > _MAX_CHANGES:
        yield Text(f"  and {len(changes) - _MAX_CHANGES} more", style="dim")


def _described(change: Change) -> str:
    if change.is_reworded:
        return f"{_words(change.before)} → {_words(change.after)}"
    moved = "" if change.overlap is None else f"  moved, overlap {change.overlap:.2f}"
    return f"{_words(change.after or change.before)}{moved}"


def _words(annotation: Annotation | None) -> str:
    return _shown(annotation.words if annotation else "")


def _shown(text: str) -> str:
    cut = text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"
    return f"'{escaped(cut)}'"

"""What a refresh changed, as tables and lines for a terminal."""

from __future__ import annotations

from collections.abc import Iterator

from rich.table import Table
from rich.text import Text

from florilegium.engine.core.counted import counted
from florilegium.pipelines.dataset.refreshed import ImageCounts, Refreshed, TaskCounts

_MAX_DRIFTS = 8


def changes_table(record: Refreshed) -> Table:
    """Return the counts of images and of the annotations of each task."""
    table = Table(title="version before → new version")
    table.add_column("")
    for name in ("before", "after", "added", "changed", "dropped"):
        table.add_column(name, justify="right")
    rows: dict[str, ImageCounts | TaskCounts] = {"images": record.images, **record.annotations}
    for name, one in rows.items():
        counts = (one.before, one.after, one.added, one.changed, one.dropped)
        table.add_row(Text(name), *map(str, counts))
    return table


def change_lines(record: Refreshed) -> Iterator[str]:
    """Yield what the table has no room for."""
    images = record.images
    if images.renamed:
        yield f"{counted(images.renamed, 'image')} renamed"
    if failed := images.lost - images.taken_down:
        yield f"{counted(failed, 'image')} dropped that became dead letters"
    if images.taken_down:
        yield f"{counted(images.taken_down, 'image')} taken down"
    drifted = [(one.version, name) for name, one in record.drift.items() if one.version]
    for value, name in sorted(drifted, reverse=True)[:_MAX_DRIFTS]:
        yield f"drift of {name}: {value:.3f} (Jensen-Shannon divergence, 0..1)"
    asked = ", ".join(f"{stage} {count}" for stage, count in record.spent.asked.items() if count)
    yield f"images asked about: {asked or 'none'}"
    if money := record.spent.total_money:
        yield f"money spent: {money:g}"

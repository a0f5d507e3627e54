"""Putting the report together: one HTML file that asks for nothing from outside.

Texts of the dataset are made visible and escaped wherever the template prints them; a content
security policy lets no script run but ours. The same dataset gives the same bytes, wherever it
lies.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from functools import cache
from hashlib import sha256
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from engine.core.counted import counted
from engine.core.task import GREY
from engine.core.tasks import TABLE, names_of
from engine.records.manifest import Totals
from engine.records.publication import FileStats, ShardStats
from engine.safety.escaped import visible
from engine.storage.folder import Folder
from pipelines.dataset.files import REPORT, STATISTICS
from pipelines.dataset.resolved import read_resolved
from pipelines.report import figures, summary
from pipelines.report.palette import colour
from pipelines.report.paper import TABLE_2, TABLE_3
from pipelines.report.plates import choose_plates
from pipelines.report.rounds import read_rounds
from pipelines.report.statistics import Statistics, measure, write_statistics

if TYPE_CHECKING:
    from jinja2 import Template

_KEPT = "\n\u200c\u200d\ufe0e\ufe0f\u00a0\u2002\u2003\u2009\u202f\u3000"
"""Joiners that scripts and emoji need, and spaces: what a page may show as it is."""
_DIRECTIONS = "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e"
"""Marks of direction that act to the end of their element, where that is isolated."""
_OFF = names_of(lambda task: task.kind == "region" and not task.words and not task.is_of_region)
"""Nameless and many, as proposals are: shown when asked for."""


def write_report(output: Folder, shards: Sequence[ShardStats]) -> dict[str, FileStats]:
    """Draw the report of these shards, `report.html`, and publish its `statistics.json`; return
    both files by name.

    Raises:
        StorageError: a shard cannot be read, or the report cannot be written.
    """
    statistics = measure(output, shards)
    numbers = write_statistics(output, statistics)
    page = _template().render(**_content(output, shards, statistics)).encode("utf-8", "replace")
    output.publish(REPORT, page)
    return {REPORT: FileStats.of(memoryview(page)), STATISTICS: numbers}


def _content(
    output: Folder, shards: Sequence[ShardStats], statistics: Statistics
) -> dict[str, Any]:
    totals = Totals.of(shards)
    speakers = {name: number for number, name in enumerate(totals.specialists)}
    plates = list(choose_plates(output, shards, speakers))
    shown = {one.annotation.task for plate in plates for one in plate.statements}
    used = {*totals.tasks, *shown}
    return {
        "totals": totals,
        "shards": len(shards),
        "measured": statistics.measured,
        "speakers": speakers,
        "colours": [colour(number) for number in range(len(speakers))],
        "tasks": summary.bars(totals.shown_tasks),
        "specialists": summary.bars(totals.specialists),
        "funnel": summary.funnel(totals, _filters(output)),
        "losses": summary.losses(shards, totals.failures),
        "table_2": [(key, row, TABLE_2[key]) for key, row in statistics.types.table_2().items()],
        "table_3": [(name, row, TABLE_3[name]) for name, row in statistics.types.table_3().items()],
        "shapes": [
            (
                kind,
                (figures.side_histogram(boxes), figures.aspect_histogram(boxes)),
                figures.heat_map(boxes),
            )
            for kind, boxes in statistics.distributions.boxes.items()
            if boxes.side.any()
        ],
        "captions": figures.caption_histograms(statistics.distributions),
        "rounds": read_rounds(output),
        "plates": plates,
        "shown_tasks": sorted(shown),
        "off_tasks": _OFF,
        "task_colours": {task: TABLE[task].colour if task in TABLE else GREY for task in used},
        "style": _resource("style.css"),
        "rounds_style": _resource("rounds.css"),
        "script": _resource("script.js"),
        "script_digest": _digest(_resource("script.js")),
    }


def _filters(output: Folder) -> list[str]:
    """Return the filters in the order in which they judge, as the run's config has them."""
    filters = read_resolved(output).get("filters")
    return list(filters) if isinstance(filters, dict) else []


def _template() -> Template:
    from jinja2 import Environment, FunctionLoader, StrictUndefined

    environment = Environment(
        loader=FunctionLoader(_resource),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_shown,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["counted"] = counted
    environment.filters["isolated"] = _isolated
    environment.filters["thousands"] = "{:,}".format
    environment.filters["mean"] = lambda value: "" if value is None else f"{value:.2f}"
    environment.filters["large"] = lambda value: "" if value is None else f"{value / 1e6:,.0f} M"
    return environment.get_template("template.html.j2")


def _shown(value: Any) -> Any:
    """Make what is printed visible, before it is escaped for HTML: a mark of direction in a label
    would turn around what stands beside it. What is markup already is ours, or was here before."""
    is_text = isinstance(value, str) and not hasattr(value, "__html__")
    return visible(value, keep=_KEPT) if is_text else value


def _isolated(text: str) -> Any:
    """Let a text within `bdi` or `dir="auto"` have its marks of direction, which end with it."""
    from markupsafe import escape

    return escape(visible(text, keep=_KEPT + _DIRECTIONS))


@cache
def _resource(name: str) -> str:
    return files(__package__).joinpath(name).read_text("utf-8")


def _digest(script: str) -> str:
    """Return the digest by which the page's policy knows its script."""
    return base64.b64encode(sha256(script.encode()).digest()).decode()

"""Rendering the report: one HTML file without external resources.

The template escapes all texts of the dataset, and shows control characters as escapes; a content
security policy allows no script but ours. The same dataset gives the same bytes in any location.
"""

from __future__ import annotations

import base64
from functools import cache
from hashlib import sha256
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from florilegium.engine.core.counted import counted
from florilegium.engine.core.task import GREY
from florilegium.engine.core.tasks import TABLE, names_of
from florilegium.engine.results.manifest import Totals
from florilegium.engine.results.publication import FileStats
from florilegium.engine.results.shard_table import ShardTable
from florilegium.engine.sources.takedown import TAKEN_DOWN
from florilegium.engine.storage.folder import Folder
from florilegium.engine.untrusted.escaped import visible
from florilegium.pipelines.dataset.files import REPORT, STATISTICS
from florilegium.pipelines.dataset.resolved import read_resolved
from florilegium.pipelines.report import figures, summary
from florilegium.pipelines.report.palette import colour
from florilegium.pipelines.report.paper import NOT_COMPARABLE, TABLE_2, TABLE_3
from florilegium.pipelines.report.plates import FIRST, choose_plates, richest_first
from florilegium.pipelines.report.rounds import read_rounds
from florilegium.pipelines.report.statistics import Statistics, measure, write_statistics

if TYPE_CHECKING:
    from jinja2 import Environment

_KEPT = "\n\u200c\u200d\ufe0e\ufe0f\u00a0\u2002\u2003\u2009\u202f\u3000"
"""Joiners that scripts and emoji need, and spaces: printed unescaped."""
_DIRECTIONS = "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e"
"""Marks of text direction; in an isolated element they act to its end only."""
_OFF = names_of(lambda task: task.kind == "region" and not task.words and not task.is_of_region)
"""Tasks that are hidden until their box is ticked: many regions without labels."""


def write_report(output: Folder, shards: ShardTable) -> dict[str, FileStats]:
    """Write the report of these shards, `report.html`, and `statistics.json`; return both files by
    name.

    Raises:
        StorageError: a shard cannot be read, or the report cannot be written.
    """
    statistics = measure(output, shards)
    numbers = write_statistics(output, statistics)
    page = rendered("template.html.j2", **_content(output, shards, statistics))
    output.publish(REPORT, page)
    return {REPORT: FileStats.of(memoryview(page)), STATISTICS: numbers}


def _content(output: Folder, shards: ShardTable, statistics: Statistics) -> dict[str, Any]:
    totals = Totals.of(shards)
    specialist_numbers = {name: number for number, name in enumerate(totals.specialists)}
    plates = richest_first(list(choose_plates(output, shards, specialist_numbers)))
    shown = {one.annotation.task for plate in plates for one in plate.annotations}
    used = {*totals.tasks, *shown}
    return {
        "totals": totals,
        "shards": len(shards),
        "measured": statistics.measured,
        "specialist_numbers": specialist_numbers,
        "colours": [colour(number) for number in range(len(specialist_numbers))],
        "tasks": summary.bars(totals.shown_tasks),
        "specialists": summary.bars(totals.specialists),
        "funnel": summary.funnel(totals, filters_of(output, "filters")),
        "sample_funnel": summary.sample_funnel(
            totals,
            filters_of(output, "sample_filters"),
            (one for _, one in shards.dead_letters()),
        ),
        "samples_dropped": sum(totals.sample_drops.values()),
        "read": totals.inputs - sum(totals.failures.values()),
        "losses": summary.losses((one for _, one in shards.dead_letters()), totals.failures),
        "taken_down": totals.failures.get(TAKEN_DOWN, 0),
        "table_2": [(key, row, TABLE_2[key]) for key, row in statistics.types.table_2().items()],
        "table_3": [(name, row, TABLE_3[name]) for name, row in statistics.types.table_3().items()],
        "not_comparable": NOT_COMPARABLE,
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
        "questions": statistics.questions.by_kind(),
        "other_questions": statistics.questions.others,
        "rounds": read_rounds(output),
        "plates": plates,
        "first": FIRST,
        "shown_tasks": sorted(shown),
        "off_tasks": _OFF,
        "task_colours": {task: TABLE[task].colour if task in TABLE else GREY for task in used},
        "style": resource("style.css"),
        "rounds_style": resource("rounds.css"),
        "script": resource("script.js"),
        "script_digest": script_digest(),
    }


def filters_of(output: Folder, section: str) -> list[str]:
    """Return the filters of a section in the order of the run's config, in which they judge."""
    filters = read_resolved(output).get(section)
    return list(filters) if isinstance(filters, dict) else []


def rendered(template: str, **content: Any) -> bytes:
    """Return a page made from a template of this room."""
    return _environment().get_template(template).render(**content).encode("utf-8", "replace")


@cache
def _environment() -> Environment:
    from jinja2 import Environment, FunctionLoader, StrictUndefined

    environment = Environment(
        loader=FunctionLoader(resource),
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
    return environment


def _shown(value: Any) -> Any:
    """Escape control characters before HTML is escaped: a mark of direction in a label would
    reverse the text beside it. Markup is the template's own, or was escaped before."""
    is_text = isinstance(value, str) and not hasattr(value, "__html__")
    return visible(value, keep=_KEPT) if is_text else value


def _isolated(text: str) -> Any:
    """Escape a text inside `bdi` or `dir="auto"`, which may keep its marks of direction."""
    from markupsafe import escape

    return escape(visible(text, keep=_KEPT + _DIRECTIONS))


@cache
def resource(name: str) -> str:
    """Return the text of a file of this room."""
    return files(__package__).joinpath(name).read_text("utf-8")


def script_digest() -> str:
    """Return the digest that allows the page's script in a content security policy."""
    return base64.b64encode(sha256(resource("script.js").encode()).digest()).decode()

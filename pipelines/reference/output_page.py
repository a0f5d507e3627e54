"""Pages about what a build writes and how a command ends."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import pyarrow as pa

from florilegium.engine.core import errors
from florilegium.engine.core.columns import Column
from florilegium.engine.core.documented import attribute_docs
from florilegium.engine.results.contract import SAMPLE_COLUMNS, SHARD_COLUMNS
from florilegium.engine.results.manifest import DEAD_LETTERS, MANIFEST
from florilegium.pipelines.dataset.files import (
    CARD,
    HELD_BACK,
    LINEAGE,
    REFRESH,
    REPORT,
    RUN,
    STATISTICS,
)
from florilegium.pipelines.reference.markdown import block, code, heading, prose, table
from florilegium.pipelines.reference.model_schema import joined
from florilegium.pipelines.telemetry.documentation import documentation
from florilegium.pipelines.terminal.exit_codes import ExitCode

_FILES = (
    (MANIFEST, "names the shards of the current version, with totals, configurations and digests"),
    (
        "shards/NUMBER-DIGEST.tar",
        "for each sample: the image, `json` and `txt`, its brief caption",
    ),
    ("shards/NUMBER-DIGEST.parquet", "every annotation, dropped ones too, with all verdicts"),
    (
        "shards/NUMBER-DIGEST_stats.json",
        "counts and digests; where it is, the shard is finished",
    ),
    (DEAD_LETTERS, "inputs that became no samples: stage, reason, message, traceback"),
    (RUN, "the config, with which the dataset is built again"),
    (CARD, "the dataset card: what is in it, how to load it, what each field means"),
    (REPORT, "the page to look at"),
    (STATISTICS, "the numbers of the report"),
    (LINEAGE, "the rounds of a refinement"),
    (REFRESH, "what the last published refresh changed"),
    (HELD_BACK, "the same of a version that waits"),
)


def output_page() -> str:
    """Return the page of the output: files, and the fields in them with types and meanings."""
    text = heading(1, "Output")
    text += "Take the shards from the manifest: other files may be those of an earlier version.\n\n"
    text += table(("file", "what it is"), ((code(name), doc) for name, doc in _FILES))
    text += heading(2, "The JSON of a sample", "output", "sample")
    text += f"One object for each image, `KEY.json` in the tar.\n\n{_columns(SAMPLE_COLUMNS)}"
    text += heading(2, "The columns of a shard", "output", "shard")
    text += 'One row for each annotation. Lists are empty and texts `""` where there is nothing; '
    return f"{text}only what is marked may be null.\n\n{_columns(SHARD_COLUMNS)}"


def _columns(columns: Iterable[Column]) -> str:
    return table(("field", "type", "meaning"), _rows(columns))


def _rows(columns: Iterable[Column], above: str = "") -> Iterator[tuple[str, str, str]]:
    for column in columns:
        name = f"{above}{column.name}"
        null = ", or null" if column.is_nullable else ""
        yield code(name), f"{_type(column)}{null}", prose(column.doc)
        is_list = pa.types.is_list(column.type)
        yield from _rows(column.fields, f"{name}[]." if is_list else f"{name}.")


def _type(column: Column) -> str:
    if not pa.types.is_list(column.type):
        return "object" if column.fields else str(column.type)
    inner = "objects" if column.fields else str(column.type.value_type)
    lengths = " or ".join(map(str, column.lengths))
    return f"list of {lengths} {inner}" if lengths else f"list of {inner}"


def exit_codes_page() -> str:
    """Return the page of exit codes, and the errors behind them."""
    docs = attribute_docs(ExitCode)
    rows = ((str(one.value), prose(joined(docs[one.name]))) for one in ExitCode)
    tree = (errors.__doc__ or "").partition("\n\n")[2].partition("\n\nA message")[0]
    text = heading(1, "Exit codes") + table(("code", "meaning"), rows)
    text += heading(2, "Errors", "errors")
    text += "All errors that this package raises on purpose derive from one:\n\n"
    return text + block(tree, "text")


def metrics_page() -> str:
    """Return the page of metrics."""
    return documentation()

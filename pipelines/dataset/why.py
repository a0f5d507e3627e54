"""Why an image has its labels: all its annotations with every verdict, as escaped text."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pyarrow.compute as pc
from rich.text import Text

from florilegium.engine.core.sample import dropped_by
from florilegium.engine.results.shard_files import read_rows
from florilegium.engine.results.takedowns import TAKEDOWNS
from florilegium.engine.sources.takedown import TAKEN_DOWN
from florilegium.engine.storage.folder import Folder
from florilegium.engine.untrusted.escaped import escaped
from florilegium.pipelines.dataset.find import find_image


def explain(output: Folder, wanted: str) -> Iterator[Text]:
    """Yield lines with the annotations of an image, their specialists and their verdicts.

    `wanted` is its key, its path or its digest, as for `find_image`.

    Raises:
        ConfigError: no image, or several, match.
        StorageError: a shard cannot be read.
    """
    image = find_image(output, wanted)
    yield Text(f"{escaped(image.key)}  {escaped(image.source)}", style="bold")
    if image.digests:
        yield Text(f"  shard {image.shard}, sha256 {image.digests[0]}", style="dim")
    if image.letter is not None:
        trace = filter(None, image.letter["traceback"].split("\n"))
        letter = escaped(dict(image.letter))
        judge = dropped_by(letter["stage"])
        yield Text("  dropped by a sample filter" if judge else "  dead letter", style="bold red")
        yield Text(f"  {judge or letter['stage']}: {letter['reason']}: {letter['message']}")
        yield from (Text(f"    {escaped(line)}", style="dim") for line in trace)
        if letter["reason"] == TAKEN_DOWN:
            yield Text(f"  {TAKEDOWNS}/ has the receipt of what was deleted", style="dim")
    rows = escaped(rows_of_image(output, image.shard, image.key))
    if not rows and image.letter is None:
        yield Text("  it has no annotations")
    yield from _lines(rows)


def rows_of_image(output: Folder, shard: str, key: str) -> list[dict[str, Any]]:
    """Return the annotations of an image in all columns of its shard's Parquet file.

    Raises:
        StorageError: the shard cannot be read.
    """
    table = read_rows(output, shard)
    return table.filter(pc.equal(table["key"], key)).to_pylist()


def _lines(rows: list[dict[str, Any]]) -> Iterator[Text]:
    task = None
    for row in sorted(rows, key=lambda row: row["task"]):
        if row["task"] != task:
            task = row["task"]
            yield Text(f"\n  {task}", style="bold cyan")
        yield _statement(row)
        yield from (_verdict(verdict) for verdict in row["verdicts"])


def _statement(row: dict[str, Any]) -> Text:
    line = Text("    ")
    line.append("kept    " if row["kept"] else "dropped ", style="green" if row["kept"] else "red")
    line.append(row["text"] or row["label"])
    if row["text"] and row["label"] and row["label"] != row["text"]:
        line.append(f"  ({row['label']})")
    if row["box_xyxy"]:
        line.append("  [" + ", ".join(f"{edge:g}" for edge in row["box_xyxy"]) + "]", style="dim")
    if row["score"] is not None:
        line.append(f"  score {row['score']:.3g}")
    if row["support"] is not None:
        line.append(f"  support {row['support']:.3f}")
    if row["confidence"] is not None:
        line.append(f"  confidence {row['confidence']:.3f}")
    who = " ".join(filter(None, (row["specialist"], row["model"], row["revision"])))
    line.append(f"  by {who}", style="dim")
    line.append(f"  {row['id']}", style="dim")
    if row["parent_id"]:
        line.append(f" from {row['parent_id']}", style="dim")
    if row["merged_from"]:
        line.append(f" merged from {', '.join(row['merged_from'])}", style="dim")
    return line


def _verdict(verdict: dict[str, Any]) -> Text:
    line = Text("            ")
    line.append(f"{verdict['filter']}: ")
    line.append(
        "keep" if verdict["keep"] else verdict["reason"], style="" if verdict["keep"] else "red"
    )
    numbers = [f"{one['name']} {one['value']:.4g}" for one in verdict["measurement"]]
    if numbers:
        line.append("  " + ", ".join(numbers), style="dim")
    return line

"""Why an image has the labels it has: everything said about it and every verdict, as text.

What strangers wrote is shown escaped.
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from typing import Any

import pyarrow.compute as pc
from rich.text import Text

from engine.errors import ConfigError, nearest
from engine.escaped import escaped
from engine.manifest import read_dead_letters
from engine.parquet import from_parquet
from engine.publication import SHARDS
from engine.storage import Folder


def explain(output: Folder, key: str) -> Iterator[Text]:
    """Yield lines that tell what was said about a sample, by whom, and what became of it.

    Raises:
        ConfigError: no sample has this key.
    """
    keys: set[str] = set()
    found = False
    for name in output.names(SHARDS):
        if not name.endswith(".parquet"):
            continue
        rows = _rows(output, f"{SHARDS}/{name}", key, keys)
        if rows:
            found = True
            yield Text(f"{escaped(key)}  {SHARDS}/{escaped(name)}", style="bold")
            yield from _lines(rows)
    for letter in read_dead_letters(output):
        if letter["key"] == key:
            found = True
            trace = (letter.get("traceback") or "").splitlines()  # earlier versions kept none
            letter = escaped(letter)
            yield Text(f"{letter['key']}  dead letter", style="bold red")
            yield Text(f"  {letter['source']}")
            yield Text(f"  {letter['stage']}: {letter['reason']}: {letter['message']}")
            yield from (Text(f"    {escaped(line)}", style="dim") for line in trace)
        keys.add(letter["key"])
    if not found and key in _silent(output):
        found = True
        yield Text(f"{escaped(key)}  nothing was said about it", style="bold")
    if not found:
        raise ConfigError(f"nothing was said about {key!r}, {_hint(key, keys)}")


def _rows(output: Folder, path: str, key: str, keys: set[str]) -> list[dict[str, Any]]:
    """Return the rows of a sample, ready to be shown; the keys of the shard go into `keys`."""
    with output.opened(path) as file:
        found = pc.unique(from_parquet(file, columns=["key"])["key"]).to_pylist()
    keys.update(found)
    if key not in found:
        return []
    with output.opened(path) as file:
        table = from_parquet(file)
    return escaped(table.filter(pc.equal(table["key"], key)).to_pylist())


def _silent(output: Folder) -> set[str]:
    """Return the keys of all samples, from the names in the tars."""
    keys: set[str] = set()
    for name in output.names(SHARDS):
        if name.endswith(".tar"):
            with (
                output.opened(f"{SHARDS}/{name}") as file,
                tarfile.open(fileobj=file, mode="r:") as tar,
            ):
                keys.update(member.name.partition(".")[0] for member in tar)
    return keys


def _hint(key: str, keys: set[str]) -> str:
    close = nearest(key, map(escaped, keys))
    if len(keys) <= 20 or close.startswith("did"):
        return close
    return f"there are {len(keys)} other keys"


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
        line.append(f"  score {row['score']:.3f}")
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
        line.append(f" confirmed by {', '.join(row['merged_from'])}", style="dim")
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

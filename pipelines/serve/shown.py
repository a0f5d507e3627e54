"""Annotations as the page draws them, from rows of a shard's Parquet file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from florilegium.engine.results.contract import SHARD_SCHEMA
from florilegium.pipelines.serve.answers import Answer

MOST_SHOWN = 300
"""Annotations of one image in the gallery, at most; the page of the image has all."""
MOST_CHARACTERS = 300
"""Characters of a text in the gallery, at most; the page of the image has all."""
DRAWN = (
    *("key", "width", "height", "id", "kind", "task", "text", "label", "box_xyxy", "quad"),
    *("mask_rle", "score", "confidence", "specialist", "kept"),
)
"""The columns that are drawn."""
DETAILS = tuple(SHARD_SCHEMA.names)
"""The columns of the page of one image: all."""


class Mask(Answer):
    """A mask in COCO's compressed run lengths; `size` is (height, width)."""

    size: tuple[int, int]
    counts: str


class Shown(Answer):
    """An annotation in the gallery; coordinates are pixels of the upright image."""

    id: str
    kind: str
    task: str
    text: str
    label: str
    box_xyxy: tuple[float, ...]
    quad: tuple[float, ...]
    mask_rle: Mask | None
    score: float | None
    confidence: float | None
    specialist: str
    kept: bool


class Verdict(Answer):
    """What one filter says; `measurement` are the numbers behind it."""

    filter: str
    keep: bool
    reason: str
    measurement: tuple[tuple[str, float], ...]


class Explained(Shown):
    """An annotation with where it comes from and every verdict."""

    support: float | None
    language: str
    parent_id: str
    span: tuple[int, ...]
    merged_from: tuple[str, ...]
    model: str
    revision: str
    round: int
    verdicts: tuple[Verdict, ...]


class Card(Answer):
    """An image in the gallery; `shard` is the index of its shard.

    Sizes are pixels of the upright image, `None` where it has no annotation. `hits` are the ids
    of the annotations that were asked for, `score` is what the images are ranked by, if they are.
    """

    key: str
    shard: int
    width: int | None = None
    height: int | None = None
    annotations: tuple[Shown, ...] = ()
    total: int = 0
    """Annotations that it has; more than are drawn, perhaps."""
    hits: tuple[str, ...] = ()
    score: float | None = None


def rows_of(table: pa.Table, keys: Iterable[str]) -> pa.Table:
    """Return the rows of samples with these keys."""
    return table.filter(pc.is_in(table["key"], value_set=pa.array(sorted(keys), pa.string())))


def cards(
    shard: int, keys: Iterable[str], table: pa.Table, hits: Mapping[str, tuple[str, ...]]
) -> list[Card]:
    """Return cards of samples, from the rows of their shard in `DRAWN`."""
    by_key: dict[str, list[dict[str, Any]]] = {key: [] for key in keys}
    for row in rows_of(table, by_key).to_pylist():
        by_key[row["key"]].append(row)
    return [_card(shard, key, rows, hits.get(key, ())) for key, rows in by_key.items()]


def _card(shard: int, key: str, rows: list[dict[str, Any]], hits: tuple[str, ...]) -> Card:
    wanted = frozenset(hits)
    ranked = sorted(rows, key=lambda row: (row["id"] not in wanted, not row["kept"]))
    return Card(
        key=key,
        shard=shard,
        width=rows[0]["width"] if rows else None,
        height=rows[0]["height"] if rows else None,
        annotations=tuple(shown(row) for row in ranked[:MOST_SHOWN]),
        total=len(rows),
        hits=hits,
    )


def shown(row: Mapping[str, Any]) -> Shown:
    """Return a row as it is drawn in the gallery, long texts cut."""
    words = {name: _cut(row[name]) for name in ("text", "label")}
    return Shown(**{name: row[name] for name in Shown.model_fields} | words)


def _cut(text: str) -> str:
    return text if len(text) <= MOST_CHARACTERS else f"{text[: MOST_CHARACTERS - 1]}…"


def explained(row: Mapping[str, Any]) -> Explained:
    """Return a row as the page of its image shows it."""
    verdicts = tuple(
        Verdict(
            filter=one["filter"],
            keep=one["keep"],
            reason=one["reason"],
            measurement=tuple((each["name"], each["value"]) for each in one["measurement"]),
        )
        for one in row["verdicts"]
    )
    names = [name for name in Explained.model_fields if name != "verdicts"]
    return Explained(**{name: row[name] for name in names}, verdicts=verdicts)

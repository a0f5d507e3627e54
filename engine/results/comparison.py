"""What a sample filter found when it compared the samples of a run: a Parquet file for each.

    compared/duplicates-DIGEST.parquet     a row for each sample, in the order of shards

A row has what the filter was given (the record, what it measured) and what it found. So a later
build compares new shards with old ones without opening these again. The file is named by the filter
with its thresholds, and by the samples and the verdicts of each shard: where it is there, nothing
has to be compared. The verdicts of a shard have a digest, which is part of the recipe that a shard
was made by.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

import numpy as np
import pyarrow as pa

from florilegium.engine.core.judgement import SampleColumns
from florilegium.engine.core.sample import DeadLetter, Record, digest_of
from florilegium.engine.core.stage import SampleFilter
from florilegium.engine.planning.gates import Configurations, gate_digests

COMPARED = "compared"
"""The folder of comparisons within a dataset."""
_DIGITS = 16
_RECORD = (
    *((name, pa.string()) for name in ("key", "sha256")),
    *((name, pa.int64()) for name in ("width_px", "height_px")),
    *((name, pa.string()) for name in ("source", "metadata")),
)
_SHARD = (
    ("shard", pa.int64()),
    *((name, pa.string()) for name in ("samples_digest", "before", "verdicts")),
    ("is_whole", pa.bool_()),
)
"""Columns that are the same in all rows of a shard: its number; the digest of all its samples; the
verdicts of the comparing filters before, as in its recipe; those of this one; and whether a budget
reached all samples."""


@dataclass(frozen=True, kw_only=True)
class MeasuredShard:
    """The samples of a shard that passed the filters before one that compares, as rows of
    `given_schema`. `reading` as in `ShardStats`; `is_whole` as the column. `samples` counts those
    on which no stage failed; `dead_letters` are of the others, and of inputs that became none."""

    number: int
    samples_digest: str
    reading: str
    is_whole: bool
    samples: int
    dead_letters: tuple[DeadLetter, ...]
    rows: pa.Table


@dataclass(frozen=True, kw_only=True, eq=False)
class Compared:
    """What a filter found for the samples of one shard: numbers and texts by name, a row each."""

    verdicts: str
    rows: Mapping[tuple[str, str], int]
    """The row of each sample, by key and digest of its bytes."""
    numbers: Mapping[str, np.ndarray] = field(default_factory=dict)
    texts: Mapping[str, np.ndarray] = field(default_factory=dict)

    def row(self, record: Record) -> int:
        """Return the row of a sample; -1 for one that was not compared."""
        return self.rows.get((record.key, record.sha256), -1)


def given_schema(stage: SampleFilter[Any]) -> pa.Schema:
    """Return the columns of what a filter is given to compare."""
    measured = [(f"measured.{one.name}", one.type) for one in stage.rows.fields]
    return pa.schema([*_RECORD, *measured])


def found_schema(stage: SampleFilter[Any]) -> pa.Schema:
    """Return the columns of what a filter finds."""
    numbers = [(f"compared.{name}", pa.float64()) for name in stage.compared]
    texts = [(f"compared.{name}", pa.string()) for name in stage.compared_texts]
    return pa.schema([*numbers, *texts])


def file_schema(stage: SampleFilter[Any]) -> pa.Schema:
    """Return the columns of a comparison."""
    return pa.schema([*pa.schema([*_SHARD]), *given_schema(stage), *found_schema(stage)])


def given_table(samples: SampleColumns, stage: SampleFilter[Any]) -> pa.Table:
    """Return samples as rows of `given_schema`."""
    schema = given_schema(stage)
    record = [getattr(samples, name) for name, _ in _RECORD]
    measured = [
        *(samples.numbers[name] for name in stage.measured),
        *(samples.texts[name] for name in stage.measured_texts),
    ]
    columns = zip([*record, *measured], schema.types, strict=True)
    return pa.Table.from_arrays([pa.array(one, kind) for one, kind in columns], schema=schema)


def columns_given(table: pa.Table, stage: SampleFilter[Any]) -> SampleColumns:
    """Return rows of `given_schema` as a filter compares them."""
    record = {name: table.column(name).to_numpy(zero_copy_only=False) for name, _ in _RECORD}
    return SampleColumns(
        **record,
        numbers=numbers_in(table, "measured", stage.measured),
        texts=texts_in(table, "measured", stage.measured_texts),
    )


def numbers_in(table: pa.Table, kind: str, names: Sequence[str]) -> dict[str, np.ndarray]:
    """Return columns of numbers by name; `kind` is `measured` or `compared`."""
    columns = {name: table.column(f"{kind}.{name}") for name in names}
    return {name: one.to_numpy(zero_copy_only=False) for name, one in columns.items()}


def texts_in(table: pa.Table, kind: str, names: Sequence[str]) -> dict[str, np.ndarray]:
    """Return columns of texts by name; `kind` as in `numbers_in`."""
    columns = {name: table.column(f"{kind}.{name}") for name in names}
    return {
        name: one.to_numpy(zero_copy_only=False).astype(object) for name, one in columns.items()
    }


def verdicts_of(table: pa.Table) -> str:
    """Return a digest of what was found for the samples of a shard; `table` has their rows."""
    names = [name for name in table.column_names if name.startswith("compared.")]
    columns = [table.column(name).to_pylist() for name in ("key", "sha256", *names)]
    return sha256(json.dumps(columns).encode()).hexdigest()[:_DIGITS]


def comparing_stages(stages: Configurations, order: Iterable[str]) -> list[tuple[str, str]]:
    """Return the names of the filters that compare, in their order, and a digest of what each is
    and what judges before it; `stages` and `order` as a manifest has them."""
    if not any(stage.get("compares") for stage in stages.values()):
        return []
    gates = gate_digests(stages)
    return [
        (stages[one]["name"], digest_of([one, gates[one], json.dumps(stages[one], sort_keys=True)]))
        for one in order
        if stages[one].get("compares")
    ]


def comparison_file(name: str, identity: str, shards: Iterable[tuple[int, str, str]]) -> str:
    """Return the file of a comparison; `shards` are the number, the digest of the samples and that
    of the verdicts of each, in their order."""
    digest = sha256(identity.encode())
    for number, samples_digest, verdicts in shards:
        digest.update(f"\n{number} {samples_digest} {verdicts}".encode())
    return f"{COMPARED}/{name}-{digest.hexdigest()[:_DIGITS]}.parquet"


def comparison_files(
    stages: Configurations, order: Iterable[str], shards: Iterable[tuple[int, str, str]]
) -> list[str]:
    """Return the files of the comparisons that finished shards were made by; `shards` are the
    number, the digest of the samples and the recipe of each, in their order."""
    comparing = comparing_stages(stages, order)
    rows = [*shards] if comparing else []
    found = []
    for place, (name, identity) in enumerate(comparing):
        own = ((number, samples, _part(recipe, place)) for number, samples, recipe in rows)
        found.append(comparison_file(name, identity, own))
    return found


def with_verdicts(recipe: str, verdicts: Sequence[str]) -> str:
    """Return the recipe of a shard: that of the run, and the verdicts of the filters that compare,
    in their order."""
    return "-".join((recipe, *verdicts))


def recipe_of_run(recipe: str) -> str:
    """Return the recipe of the run in that of a shard."""
    return recipe.partition("-")[0]


def _part(recipe: str, place: int) -> str:
    return recipe.split("-")[place + 1] if recipe.count("-") > place else ""

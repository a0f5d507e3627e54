"""A finished dataset, read back: its samples with their images, its annotations as tables.

    for sample in open_dataset("out/mine"):
        print(sample.key, sample.pixels().shape, [one.task for one in sample.annotations])

Images and kept annotations come from the tars, dropped annotations and verdicts from the Parquet
files beside them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, get_args

import pyarrow as pa

from florilegium.engine.core.annotation import ANNOTATION_NAMES
from florilegium.engine.core.errors import UsageError, nearest
from florilegium.engine.results.contract import SHARD_SCHEMA
from florilegium.engine.results.dataset_sample import (
    DatasetSample,
    annotations_by_key,
    read_samples,
    verdicts_by_key,
)
from florilegium.engine.results.manifest import MANIFEST, read_manifest
from florilegium.engine.results.publication import SHARDS
from florilegium.engine.results.selection import ALL_KEPT, Selection, VerdictChoice
from florilegium.engine.results.shard_files import EVERYTHING, Wanted, damaged_file, read_rows
from florilegium.engine.storage.folder import Folder


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """A finished dataset; at first its kept annotations are selected, all of them.

    Iterate over it for its samples, shard by shard in stored order, one in memory at a time; a
    sample of which no annotation is selected comes, too.
    """

    folder: Folder
    manifest: Mapping[str, Any] = field(repr=False)
    selection: Selection = ALL_KEPT

    @classmethod
    def of(cls, folder: Folder) -> Dataset:
        """Open the dataset in a folder.

        Raises:
            UsageError: it is not finished, or nothing is there.
            StorageError: its manifest is damaged.
        """
        return cls(folder=folder, manifest=manifest_of(folder))

    @property
    def shards(self) -> tuple[str, ...]:
        """The names of the shards, in stored order."""
        return tuple(shard["name"] for shard in self.manifest["shards"])

    @property
    def source(self) -> tuple[str, ...]:
        """The URLs of the sources of the images."""
        return tuple(self.manifest["source"])

    def __len__(self) -> int:
        """Return the number of samples."""
        return sum(shard["samples"] for shard in self.manifest["shards"])

    def __iter__(self) -> Iterator[DatasetSample]:
        """Yield all samples.

        Raises:
            StorageError: a shard cannot be read, or lacks samples.
        """
        for shard in self.shards:
            yield from self.samples(shard)

    def select(
        self,
        *,
        tasks: str | Iterable[str] | None = None,
        specialists: str | Iterable[str] | None = None,
        verdict: VerdictChoice | None = None,
        least_confidence: float | None = None,
    ) -> Dataset:
        """Return the dataset with fewer annotations, or with dropped ones; `None` changes nothing.

        Args:
            tasks: only annotations of these tasks.
            specialists: only annotations of these specialists; `source` are the source's own.
            verdict: `kept` annotations, `dropped` ones or `all`.
            least_confidence: only annotations with a confidence of so much or more, 0..1; one
                that was never calibrated has none.

        Raises:
            UsageError: the dataset has no annotation of such a task or specialist, or a value is
                none of those above.
        """
        if verdict is not None and verdict not in get_args(VerdictChoice):
            raise UsageError(f"verdict={verdict!r}: {nearest(verdict, get_args(VerdictChoice))}")
        if least_confidence is not None and not 0 <= least_confidence <= 1:
            raise UsageError(f"least_confidence={least_confidence!r}: give a number in 0..1")
        changes: dict[str, Any] = {
            "tasks": self._known("task", tasks),
            "specialists": self._known("specialist", specialists),
            "verdict": verdict,
            "least_confidence": least_confidence,
        }
        given = {name: value for name, value in changes.items() if value is not None}
        return replace(self, selection=replace(self.selection, **given))

    def _known(self, what: str, names: str | Iterable[str] | None) -> frozenset[str] | None:
        """Return names of which the dataset has annotations."""
        if names is None:
            return None
        wanted = frozenset([names] if isinstance(names, str) else names)
        known = self.manifest["totals"][f"{what}s"]
        for name in sorted(wanted - known.keys()):
            hint = nearest(name, known)
            raise UsageError(f"{self.folder.url} has no annotation of the {what} {name!r}: {hint}")
        return wanted

    def tables(self, columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
        """Yield the selected annotations of each shard as a table of these columns, or of all.

        [The output](output.md) has their meaning. No other column is read but those that the
        selection needs, and no image.

        Raises:
            UsageError: there is no such column.
            StorageError: a file cannot be read.
        """
        return (self.table(shard, columns) for shard in self.shards)

    def table(self, shard: str, columns: Sequence[str] | None = None) -> pa.Table:
        """Return the selected annotations of one shard, like `tables`."""
        names = SHARD_SCHEMA.names if columns is None else list(columns)
        for name in sorted(set(names) - set(SHARD_SCHEMA.names)):
            raise UsageError(f"there is no column {name!r}: {nearest(name, SHARD_SCHEMA.names)}")
        needed = dict.fromkeys([*names, *self.selection.columns])
        rows = read_rows(self.folder, shard, list(needed))
        return self.selection.of_rows(rows).select(names)

    def samples(self, shard: str, wanted: Wanted = EVERYTHING) -> Iterator[DatasetSample]:
        """Yield the samples of one shard, or those that are wanted.

        Raises:
            StorageError: the shard cannot be read, or lacks samples.
        """
        samples = self._counted(shard, read_samples(self.folder, shard, wanted), wanted)
        if self.selection.verdict == "kept":
            for sample in samples:
                yield replace(sample, annotations=self.selection.of_kept(sample.annotations))
            return
        table = self.table(shard, ["key", *ANNOTATION_NAMES, "verdicts"])
        annotations = annotations_by_key(table)
        verdicts = verdicts_by_key(table)
        for sample in samples:
            yield replace(
                sample,
                annotations=tuple(annotations.get(sample.key, ())),
                verdicts=verdicts.get(sample.key, {}),
            )

    @cached_property
    def _counts(self) -> Mapping[str, int]:
        return {shard["name"]: shard["samples"] for shard in self.manifest["shards"]}

    def _counted(
        self, shard: str, samples: Iterator[DatasetSample], wanted: Wanted
    ) -> Iterator[DatasetSample]:
        """Yield samples; raise where all are wanted and not all came."""
        count = 0
        for count, sample in enumerate(samples, start=1):  # noqa: B007
            yield sample
        if wanted is EVERYTHING and count != self._counts.get(shard, count):
            reason = f"it has {count} samples, the manifest says {self._counts[shard]}"
            raise damaged_file(self.folder, f"{SHARDS}/{shard}.tar", reason)


def open_dataset(url: str) -> Dataset:
    """Open a finished dataset at a path or any URL that fsspec knows.

    Raises:
        UsageError: it is not finished, or nothing is there.
        StorageError: its manifest is damaged.
    """
    return Dataset.of(Folder(url))


def manifest_of(folder: Folder) -> dict[str, Any]:
    """Return the manifest of a finished dataset.

    Raises:
        UsageError: there is none: the dataset is not finished, or nothing is there.
    """
    manifest = read_manifest(folder)
    if manifest is None:
        raise UsageError(f"{folder.url} has no {MANIFEST}: build the dataset first, to its end")
    return manifest

"""The selected part of a dataset, as formats read it: samples with their part, tables of
annotations.

Tables and samples have the same annotations.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace

import pyarrow as pa
import pyarrow.compute as pc

from florilegium.engine.results.dataset import Dataset
from florilegium.engine.results.dataset_sample import DatasetSample
from florilegium.engine.results.shard_files import EVERYTHING, Wanted
from florilegium.engine.storage.folder import Folder
from florilegium.pipelines.export.classes import ordered
from florilegium.pipelines.export.selected_rows import columns_for, row_of_parent, selected_rows
from florilegium.pipelines.export.selection import ALL, Selection
from florilegium.pipelines.export.split import Split


@dataclass(frozen=True, kw_only=True, slots=True)
class SelectedSample(DatasetSample):
    """A sample, the name of its shard, and its part; "" where the export has no parts."""

    shard: str = ""
    part: str = ""


@dataclass(frozen=True, kw_only=True)
class SelectedDataset(Dataset):
    """A finished dataset of which a part is selected; iterate over it as over a dataset."""

    chosen: Selection = ALL

    @classmethod
    def select_of(cls, folder: Folder, selection: Selection = ALL) -> SelectedDataset:
        """Select a part of the dataset in a folder.

        Raises:
            UsageError: the dataset is not finished, or has no annotation of a task.
        """
        dataset = Dataset.of(folder)
        dataset.select(tasks=selection.tasks)  # refuses tasks that are not there
        return cls(folder=folder, manifest=dataset.manifest, chosen=selection)

    @property
    def url(self) -> str:
        """The URL of the dataset."""
        return self.folder.url

    @property
    def split(self) -> Split | None:
        """How images are split into parts; `None` where the format does as it likes."""
        return self.chosen.split

    @property
    def parts(self) -> tuple[str, ...]:
        """The names of the parts, or "" alone."""
        return self.split.parts if self.split else ("",)

    @property
    def first_classes(self) -> tuple[str, ...]:
        """The classes that have the first ids, in this order."""
        return self.chosen.classes.order if self.chosen.classes else ()

    def classes_of(self, tasks: Sequence[str]) -> tuple[str, ...]:
        """Return the labels of all annotations of these tasks, in the order of their ids; one
        without a label has that of its parent, of whichever task."""
        labels: set[str] = set()
        for table in self.tables(["key", "id", "parent_id", "task", "label"]):
            is_own = pc.is_in(table["task"], value_set=pa.array(tasks, pa.string()))
            own = table["label"].filter(is_own)
            labels.update(pc.unique(own).to_pylist())
            bare = pc.and_(is_own, pc.equal(table["label"], ""))
            if pc.any(bare).as_py():
                parents = pc.drop_null(row_of_parent(table).filter(bare))
                labels.update(pc.unique(table["label"].take(parents)).to_pylist())
        return ordered(labels - {""}, self.first_classes)

    def __iter__(self) -> Iterator[SelectedSample]:
        """Yield the selected samples, shard by shard.

        Raises:
            StorageError: a shard cannot be read, or lacks samples.
        """
        for shard in self.shards:
            yield from self.samples(shard)

    def table(self, shard: str, columns: Sequence[str] | None = None) -> pa.Table:
        """Return the selected annotations of one shard as a table of these columns."""
        if not self.chosen.is_of_annotations:
            return super().table(shard, columns)
        if columns is None:
            columns = super().table(shard, None).column_names
        needed = dict.fromkeys([*columns, *columns_for(self.chosen)])
        rows = super().table(shard, list(needed))
        return selected_rows(rows, self.chosen).select(columns)

    def samples(self, shard: str, wanted: Wanted = EVERYTHING) -> Iterator[SelectedSample]:
        """Yield the selected samples of one shard.

        Raises:
            StorageError: the shard cannot be read.
        """
        labels = self._labels(shard) if self.chosen.is_of_annotations else None
        for sample in super().samples(shard, wanted):
            if not self._has(sample):
                continue
            annotations = sample.annotations
            if labels is not None:
                own = labels.get(sample.key, {})
                annotations = tuple(
                    one if one.label == own[one.id] else replace(one, label=own[one.id])
                    for one in annotations
                    if one.id in own
                )
            if annotations or not self.chosen.drop_empty:
                values = {one.name: getattr(sample, one.name) for one in fields(DatasetSample)}
                part = self.split.part_of(sample.sha256) if self.split else ""
                values["annotations"] = annotations
                yield SelectedSample(**values, shard=shard, part=part)

    def _has(self, sample: DatasetSample) -> bool:
        where = self.chosen.where
        return (
            where is None
            or not where.is_of_images
            or where.may_hold(key=sample.key, width=sample.width, height=sample.height)
        )

    def _labels(self, shard: str) -> Mapping[str, Mapping[str, str]]:
        """Return the labels of the selected annotations of a shard by key and id."""
        labels: dict[str, dict[str, str]] = {}
        columns = self.table(shard, ["key", "id", "label"])
        for key, name, label in zip(*(one.to_pylist() for one in columns.columns), strict=True):
            labels.setdefault(key, {})[name] = label
        return labels

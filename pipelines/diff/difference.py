"""The difference between two rounds: labels added, changed and dropped, and the samples with most.

Reads kept annotations from the Parquet files, a shard of each round at a time; opens no image.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from heapq import nsmallest
from typing import Any

from florilegium.engine.core.annotation import ANNOTATION_NAMES, Annotation
from florilegium.engine.results.dataset import Dataset
from florilegium.engine.results.dataset_sample import annotations_by_key
from florilegium.engine.storage.folder import Folder
from florilegium.pipelines.dataset.lineage import round_dataset
from florilegium.pipelines.diff.changes import Change, Changes, compare

EXAMPLES = 6
"""Samples in the result, at most."""


@dataclass(frozen=True, kw_only=True)
class LabelCounts:
    """Counts of one task; the earlier round had `same` + `changed` + `dropped` labels."""

    same: int = 0
    added: int = 0
    changed: int = 0
    dropped: int = 0

    def __add__(self, other: LabelCounts) -> LabelCounts:
        names = [one.name for one in fields(self)]
        return LabelCounts(**{name: getattr(self, name) + getattr(other, name) for name in names})

    @property
    def before(self) -> int:
        """Labels of the earlier round."""
        return self.same + self.changed + self.dropped

    @property
    def after(self) -> int:
        """Labels of the later round."""
        return self.same + self.changed + self.added

    def to_json(self) -> dict[str, int]:
        """Return all numbers by name."""
        names = ("before", "after", *(one.name for one in fields(self)))
        return {name: getattr(self, name) for name in names}


@dataclass(frozen=True, kw_only=True)
class SampleDiff:
    """The changes of one sample, with its round and shard."""

    key: str
    shard: str
    round: int
    found: Changes

    @property
    def weight(self) -> float:
        """How much changed, by which samples are ranked."""
        return self.found.weight

    def to_json(self) -> dict[str, Any]:
        """Return the sample as JSON values; labels that stayed are left out."""
        return {
            "key": self.key,
            "shard": self.shard,
            "weight": round(self.weight, 4),
            "changes": [_change_json(change) for change in self.found.changes],
        }


@dataclass(frozen=True, kw_only=True)
class Diff:
    """Two rounds of a run compared.

    `samples_changed` counts samples with any change; `samples` are those that changed most.
    `compared` of `shards` shards were read.
    """

    before: int
    after: int
    tasks: Mapping[str, LabelCounts]
    samples_changed: int
    samples: tuple[SampleDiff, ...]
    compared: int
    shards: int

    @property
    def total(self) -> LabelCounts:
        """The sum over all tasks."""
        return sum(self.tasks.values(), LabelCounts())

    def to_json(self) -> dict[str, Any]:
        """Return the whole as JSON values."""
        return {
            "before": self.before,
            "after": self.after,
            "tasks": {task: counts.to_json() for task, counts in self.tasks.items()},
            "total": self.total.to_json(),
            "samples_changed": self.samples_changed,
            "samples": [sample.to_json() for sample in self.samples],
            "compared": self.compared,
            "shards": self.shards,
        }


def diff_rounds(
    output: Folder, a: int, b: int, *, examples: int = EXAMPLES, max_shards: int | None = None
) -> Diff:
    """Compare the kept labels of two rounds of a run, samples matched by key.

    Args:
        output: the folder of the run.
        a, b: the earlier and the later round.
        examples: how many of the samples that changed most are returned.
        max_shards: read no more than so many shards, evenly spread; all by default.

    Raises:
        UsageError: there is no such round, or its dataset is not finished.
        StorageError: a shard cannot be read.
    """
    pair = _Pair(before=round_dataset(output, a), after=round_dataset(output, b))
    names = pair.chosen(max_shards)
    counted: Counter[tuple[str, str]] = Counter()
    samples: list[SampleDiff] = []
    changed = 0
    for shard, key, is_gone, found in pair.changes(names):
        counted.update((one.task, "same") for one in found.same)
        counted.update((change.task, change.how) for change in found.changes)
        if found.changes:
            changed += 1
            one = SampleDiff(key=key, shard=shard, round=a if is_gone else b, found=found)
            samples = nsmallest(examples, [*samples, one], key=lambda one: (-one.weight, one.key))
    return Diff(
        before=a,
        after=b,
        tasks=_by_task(counted),
        samples_changed=changed,
        samples=tuple(samples),
        compared=len(names),
        shards=len(pair.numbers),
    )


_Labels = dict[str, list[Annotation]]
"""Kept labels of samples, by key."""


class _Pair:
    """Two finished datasets side by side, shard by shard."""

    def __init__(self, *, before: Folder, after: Folder) -> None:
        self._datasets = (Dataset.of(before), Dataset.of(after))
        self._shards = tuple(
            {shard["number"]: shard for shard in dataset.manifest["shards"]}
            for dataset in self._datasets
        )
        self.numbers = sorted(set().union(*self._shards))

    def chosen(self, most: int | None) -> list[int]:
        """Return the shards to compare; a part of them only if both rounds have the same shards."""
        if most is None or len(self.numbers) <= most:
            return self.numbers
        alike = [number for number in self.numbers if self._is_alike(number)]
        return alike[:: -(-len(alike) // most)] if alike else []

    def changes(self, numbers: Sequence[int]) -> Iterator[tuple[str, str, bool, Changes]]:
        """Yield shard, key, whether all labels are gone, and the changes, sample by sample.

        The shard is named as in the round that has the sample. Samples that moved to another
        shard wait, without their images, until both are read.
        """
        waiting: dict[str, tuple[int, bool, list[Annotation]]] = {}
        for number in numbers:
            old, new = (
                _read_labels(dataset, shards[number]["name"]) if number in shards else {}
                for dataset, shards in zip(self._datasets, self._shards, strict=True)
            )
            if not self._is_alike(number):
                _meet(waiting, number, old, new)
            for key in sorted(old.keys() | new.keys()):
                found = compare(old.get(key, ()), new.get(key, ()))
                yield self._name(number, is_old=key not in new), key, key not in new, found
        for key, (number, is_old, labels) in sorted(waiting.items()):
            found = compare(labels, ()) if is_old else compare((), labels)
            yield self._name(number, is_old=is_old), key, is_old, found

    def _name(self, number: int, *, is_old: bool) -> str:
        before, after = self._shards
        return (before if is_old else after)[number]["name"]

    def _is_alike(self, number: int) -> bool:
        before, after = (shards.get(number, {}) for shards in self._shards)
        return before.get("samples_digest") == after.get("samples_digest")


def _meet(
    waiting: dict[str, tuple[int, bool, list[Annotation]]], number: int, old: _Labels, new: _Labels
) -> None:
    """Match samples of only one of two shards with waiting ones; the others wait."""
    for mine, others, is_old in ((old, new, True), (new, old, False)):
        for key in [key for key in mine if key not in others]:
            if key in waiting:
                others[key] = waiting.pop(key)[2]
            else:
                waiting[key] = (number, is_old, mine.pop(key))


def _read_labels(dataset: Dataset, shard: str) -> _Labels:
    return annotations_by_key(dataset.table(shard, ["key", *ANNOTATION_NAMES]))


def _by_task(counted: Counter[tuple[str, str]]) -> dict[str, LabelCounts]:
    names = [one.name for one in fields(LabelCounts)]
    tasks = sorted({task for task, _ in counted})
    return {task: LabelCounts(**{name: counted[task, name] for name in names}) for task in tasks}


def _change_json(change: Change) -> dict[str, Any]:
    return {
        "task": change.task,
        "how": change.how,
        "overlap": None if change.overlap is None else round(change.overlap, 4),
        "before": _label_json(change.before),
        "after": _label_json(change.after),
    }


def _label_json(annotation: Annotation | None) -> dict[str, Any] | None:
    if annotation is None:
        return None
    names = ("id", "label", "text", "box_xyxy", "specialist")
    return {name: getattr(annotation, name) for name in names}

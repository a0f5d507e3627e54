"""What differs between two versions of a dataset: images and annotations.

Only shards that one of the two versions has are read, of their tars the JSON of the samples. A
sample that moved to another shard is found by its key, a renamed one by the bytes of its image.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from florilegium.engine.core.annotation import Annotation, from_json
from florilegium.engine.core.sample import DeadLetter
from florilegium.engine.results.dataset import Dataset
from florilegium.engine.results.shard_files import read_sample_json
from florilegium.engine.sources.takedown import TAKEN_DOWN
from florilegium.pipelines.dataset.refreshed import ImageCounts, TaskCounts
from florilegium.pipelines.diff.changes import compare

EXAMPLES = 20
"""Keys of each kind in the result, at most."""
_SampleJson = Mapping[str, Any]


@dataclass(kw_only=True)
class Changes:
    """Images and annotations that differ. `touched` has the keys of the new version's samples that
    are not as they were, by shard; `old` and `new` are the names of the shards that were read of
    each version."""

    old: tuple[str, ...]
    new: tuple[str, ...]
    added: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    dropped: list[str] = field(default_factory=list)
    renamed: list[tuple[str, str]] = field(default_factory=list)
    """The keys before and after."""
    annotations: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Annotations by task and `added`, `changed` or `dropped`."""
    touched: defaultdict[str, set[str]] = field(default_factory=lambda: defaultdict(set))

    def images(self, before: int, after: int, letters: Iterable[DeadLetter]) -> ImageCounts:
        """Return the counts; `letters` are the inputs that became no samples in the new version."""
        reasons = {letter.key: letter.reason for letter in letters}
        lost = [reasons[key] for key in self.dropped if key in reasons]
        return ImageCounts(
            before=before,
            after=after,
            added=len(self.added),
            changed=len(self.changed),
            dropped=len(self.dropped),
            renamed=len(self.renamed),
            lost=len(lost),
            taken_down=lost.count(TAKEN_DOWN),
        )

    def tasks(
        self, before: Mapping[str, Mapping[str, int]], after: Mapping[str, Mapping[str, int]]
    ) -> dict[str, TaskCounts]:
        """Return the counts of each task, from the totals of both manifests."""
        return {
            task: TaskCounts(
                before=before.get(task, {}).get("kept", 0),
                after=after.get(task, {}).get("kept", 0),
                **{how: self.annotations[task, how] for how in ("added", "changed", "dropped")},
            )
            for task in sorted({*before, *after})
        }

    def examples(self) -> dict[str, list[str]]:
        """Return the first keys of each kind, sorted."""
        found = {"added": self.added, "changed": self.changed, "dropped": self.dropped}
        found["renamed"] = [f"{old} -> {new}" for old, new in self.renamed]
        return {kind: sorted(keys)[:EXAMPLES] for kind, keys in found.items() if keys}


def compare_versions(before: Dataset, after: Dataset) -> Changes:
    """Compare two versions.

    Raises:
        StorageError: a shard cannot be read.
    """
    old, new = set(before.shards), set(after.shards)
    found = Changes(
        old=tuple(name for name in before.shards if name not in new),
        new=tuple(name for name in after.shards if name not in old),
    )
    _Comparison(before, after, found).run()
    return found


class _Waiting(NamedTuple):
    """A sample whose counterpart was not found yet; its annotations are counted, not held."""

    shard: str
    sha256: str
    tasks: tuple[tuple[str, int], ...]


class _Comparison:
    """Two versions side by side."""

    def __init__(self, before: Dataset, after: Dataset, found: Changes) -> None:
        self._before = before
        self._after = after
        self._found = found
        self._gone: dict[str, _Waiting] = {}
        self._come: dict[str, _Waiting] = {}

    def run(self) -> None:
        """Compare shards with the same number, then what moved between shards."""
        old = {_number(name): name for name in self._found.old}
        new = {_number(name): name for name in self._found.new}
        for number in sorted(old.keys() | new.keys()):
            self._compare_shards(old.get(number, ""), new.get(number, ""))
        moved = [(key, key) for key in sorted(self._gone.keys() & self._come.keys())]
        self._compare_moved(moved)
        renamed = list(_renamed(self._gone, self._come))
        self._compare_moved(renamed)
        self._found.renamed += renamed
        self._count(self._gone, "dropped", self._found.dropped)
        self._count(self._come, "added", self._found.added)
        for key, waiting in self._come.items():
            self._found.touched[waiting.shard].add(key)

    def _compare_shards(self, old: str, new: str) -> None:
        before, after = _samples(self._before, old), _samples(self._after, new)
        for key, sample in before.items():
            if key not in after:
                self._gone[key] = _waiting(old, sample)
        for key, sample in after.items():
            if key not in before:
                self._come[key] = _waiting(new, sample)
            else:
                self._compare_samples(new, before[key], sample)

    def _compare_samples(self, shard: str, before: _SampleJson, after: _SampleJson) -> None:
        if before == after:
            return
        self._found.touched[shard].add(after["key"])
        if before["sha256"] != after["sha256"]:
            self._found.changed.append(after["key"])
        found = compare(_annotations(before), _annotations(after))
        self._found.annotations.update((change.task, change.how) for change in found.changes)

    def _compare_moved(self, pairs: Sequence[tuple[str, str]]) -> None:
        """Compare samples that are in different shards, or under different keys; they wait no
        more. Their shards are read again."""
        by_shards: defaultdict[tuple[str, str], list[tuple[str, str]]] = defaultdict(list)
        for old, new in pairs:
            by_shards[self._gone.pop(old).shard, self._come.pop(new).shard].append((old, new))
        for (old_shard, new_shard), keys in sorted(by_shards.items()):
            before = _samples(self._before, old_shard)
            after = _samples(self._after, new_shard)
            for old, new in keys:
                self._compare_samples(new_shard, before[old], after[new])

    def _count(self, waiting: Mapping[str, _Waiting], how: str, keys: list[str]) -> None:
        keys += waiting
        for one in waiting.values():
            self._found.annotations.update({(task, how): count for task, count in one.tasks})


def _renamed(
    gone: Mapping[str, _Waiting], come: Mapping[str, _Waiting]
) -> Iterator[tuple[str, str]]:
    """Yield the old and the new key of images whose bytes are there under another key; each image
    once, in the order of the keys."""
    under: defaultdict[str, list[str]] = defaultdict(list)
    for key in sorted(come, reverse=True):
        under[come[key].sha256].append(key)
    for key in sorted(gone):
        if keys := under.get(gone[key].sha256):
            yield key, keys.pop()


def _samples(dataset: Dataset, shard: str) -> dict[str, _SampleJson]:
    """Return the samples of a shard by key; none without a shard."""
    if not shard:
        return {}
    return {sample["key"]: sample for sample in read_sample_json(dataset.folder, shard)}


def _waiting(shard: str, sample: _SampleJson) -> _Waiting:
    tasks = Counter(one["task"] for one in sample["annotations"])
    return _Waiting(shard=shard, sha256=sample["sha256"], tasks=tuple(sorted(tasks.items())))


def _annotations(sample: _SampleJson) -> list[Annotation]:
    return [from_json(one) for one in sample["annotations"]]


def _number(shard: str) -> int:
    return int(shard.partition("-")[0])

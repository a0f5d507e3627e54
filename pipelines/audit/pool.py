"""The statements of a dataset that people can be asked about: its kept annotations, as columns.

Each has a place in a random order that depends on its id and a seed only, a stratum (task,
specialist and a band of certainty), and the statements of the same image that say the same.
This module asks nobody and knows no answers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from florilegium.engine.core.annotation import ANNOTATION_NAMES, from_table
from florilegium.engine.core.errors import UsageError
from florilegium.engine.results.dataset import Dataset
from florilegium.specialists.regions.likeness import SAME_PLACE, box_of, words_of

BANDS = 4
"""Bands of certainty within a task and specialist, at most."""
LEAST_IN_BAND = 20
"""Statements below which a band is not worth a stratum of its own."""
MOST_LABELS = 2000
"""Labels of a task that are offered for completion, at most."""
LONGEST_LABEL = 200
"""Characters of a label that is offered, at most."""
MOST = 3_000_000
"""Statements that are held in memory, at most: about 1 GiB."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Pool:
    """The n statements of a dataset, in stored order.

    `kind` numbers task and specialist in `kinds`, `stratum` the strata, whose kinds are
    `kind_of_stratum`; `image` numbers the images in `keys`. `order` is a uniform number of each
    statement, 0..1, its place in the random order. `certainty` is its confidence, else its score,
    NaN for neither. `thing` numbers what is stated: equal for statements of one image and task with
    the same words and nearly the same place; `shard` is the number of its shard in the dataset. All
    have shape (n,). `vocabulary` are the labels of each task, the most frequent first.
    """

    ids: pa.Array
    image: np.ndarray
    keys: tuple[str, ...]
    kinds: tuple[tuple[str, str], ...]
    kind: np.ndarray
    stratum: np.ndarray
    kind_of_stratum: np.ndarray
    order: np.ndarray
    certainty: np.ndarray
    thing: np.ndarray
    words: np.ndarray
    shard: np.ndarray
    vocabulary: Mapping[str, tuple[str, ...]]

    def __len__(self) -> int:
        return len(self.ids)

    @cached_property
    def row_of(self) -> dict[str, int]:
        """The rows by the id of the annotation."""
        return {name: row for row, name in enumerate(self.ids.to_pylist())}

    @cached_property
    def in_stratum(self) -> np.ndarray:
        """The number of statements of each stratum."""
        return np.bincount(self.stratum, minlength=len(self.kind_of_stratum))

    @cached_property
    def rank(self) -> np.ndarray:
        """The place of each statement in the random order of its stratum, from 0, (n,)."""
        by_order = np.lexsort((self.order, self.stratum))
        first = np.concatenate([[0], np.cumsum(self.in_stratum)])[:-1]
        rank = np.empty(len(self), dtype=np.int64)
        rank[by_order] = np.arange(len(self)) - first[self.stratum[by_order]]
        return rank

    @cached_property
    def share(self) -> np.ndarray:
        """One divided by the number of statements of the same thing, (n,): they sum up to it."""
        return np.asarray(1.0 / np.bincount(self.thing)[self.thing])

    def key(self, row: int) -> str:
        """Return the key of the image of a statement."""
        return self.keys[int(self.image[row])]

    def name_of_stratum(self, row: int) -> str:
        """Return the stratum of a statement in words: task, specialist, band."""
        stratum = int(self.stratum[row])
        kind = int(self.kind_of_stratum[stratum])
        band = stratum - int(np.flatnonzero(self.kind_of_stratum == kind)[0])
        return "/".join([*self.kinds[kind], str(band)])


def pool_of(dataset: Dataset, seed: int = 0) -> Pool:
    """Read the kept annotations of a dataset.

    Raises:
        UsageError: there are none, or more than `MOST`.
        StorageError: a shard cannot be read.
    """
    total = sum(shard.get("annotations_kept", 0) for shard in dataset.manifest["shards"])
    if total > MOST:
        raise UsageError(
            f"{dataset.folder.url} has {total} annotations, of which {MOST} at most can be audited "
            f"at once: audit one that was built from fewer images"
        )
    tables = [
        _columns(table, number)
        for number, table in enumerate(dataset.tables(["key", *ANNOTATION_NAMES]))
    ]
    whole = pa.concat_tables(tables) if tables else None
    if not whole:
        raise UsageError(f"{dataset.folder.url} has no kept annotation to audit")
    return arranged(whole, seed)


def _columns(table: pa.Table, shard: int) -> pa.Table:
    """Return what is needed of the annotations of one shard, with the box of each region."""
    annotations = from_table(table)
    certainty = pc.coalesce(table["confidence"], table["score"])
    return pa.table(
        {
            **{name: table[name] for name in ("id", "key", "task", "specialist", "label")},
            "shard": pa.array(np.full(len(table), shard), pa.int32()),
            "certainty": certainty,
            "words": pa.array([words_of(one) for one in annotations], pa.string()),
            "box": pa.array([box_of(one) for one in annotations], pa.list_(pa.float64(), 4)),
        }
    )


def arranged(table: pa.Table, seed: int = 0) -> Pool:
    """Return the pool of statements: a table of `id`, `key`, `task`, `specialist`, `label`,
    `words`, `certainty`, `box` (NaN for the whole image) and the number of the `shard`."""
    image, keys = _numbered(table["key"])
    task, tasks = _numbered(table["task"])
    specialist, specialists = _numbered(table["specialist"])
    words, _ = _numbered(table["words"])
    used, kind = np.unique(task * len(specialists) + specialist, return_inverse=True)
    certainty = table["certainty"].to_numpy().astype(np.float64)
    stratum, kind_of_stratum = _strata(kind, certainty)
    ids = table["id"].combine_chunks()
    box = table["box"].combine_chunks().flatten().to_numpy(zero_copy_only=False).reshape(-1, 4)
    group = (image * len(tasks) + task) * (int(words.max()) + 1) + words
    return Pool(
        ids=ids,
        image=image,
        keys=tuple(keys),
        kinds=tuple(
            (tasks[one // len(specialists)], specialists[one % len(specialists)])
            for one in used.tolist()
        ),
        kind=kind,
        stratum=stratum,
        kind_of_stratum=kind_of_stratum,
        order=uniform(ids, seed),
        certainty=certainty,
        thing=_things(group, box),
        words=words,
        shard=table["shard"].to_numpy(),
        vocabulary={name: _labels(table.filter(pc.equal(table["task"], name))) for name in tasks},
    )


def _labels(table: pa.Table) -> tuple[str, ...]:
    """Return the labels of a task, the most frequent first, `MOST_LABELS` at most; a long one is no
    label to complete."""
    table = table.filter(pc.less_equal(pc.utf8_length(table["label"]), LONGEST_LABEL))
    counts = table.group_by("label").aggregate([("label", "count")])
    counts = counts.sort_by([("label_count", "descending"), ("label", "ascending")])
    return tuple(filter(None, counts["label"].to_pylist()))[:MOST_LABELS]


def uniform(names: pa.Array | Sequence[str], seed: int) -> np.ndarray:
    """Return a number in 0..1 for each name, the same on every machine, (n,)."""
    texts = names.to_pylist() if isinstance(names, pa.Array) else names
    salt = str(seed).encode()
    digests = b"".join(blake2b(one.encode(), digest_size=8, key=salt).digest() for one in texts)
    return np.asarray(np.frombuffer(digests, dtype="<u8") / 2.0**64)


def _numbered(column: pa.ChunkedArray) -> tuple[np.ndarray, list[str]]:
    """Return strings as numbers and the strings in sorted order, so that numbers do not depend on
    the order of the rows."""
    names, number = np.unique(column.to_numpy(), return_inverse=True)
    return number.astype(np.int64), names.tolist()


def _strata(kind: np.ndarray, certainty: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Cut each kind into bands of about equal size by certainty; those without one come first."""
    stratum = np.zeros(len(kind), dtype=np.int64)
    kinds: list[int] = []
    for one in range(int(kind.max()) + 1):
        rows = np.flatnonzero(kind == one)
        values = np.nan_to_num(certainty[rows], nan=-1.0)
        bands = int(np.clip(len(rows) // LEAST_IN_BAND, 1, BANDS))
        cuts = np.unique(np.quantile(values, np.arange(1, bands) / bands, method="lower"))
        _, band = np.unique(np.searchsorted(cuts, values, side="left"), return_inverse=True)
        stratum[rows] = band + len(kinds)
        kinds += [one] * (int(band.max()) + 1)
    return stratum, np.array(kinds, dtype=np.int64)


def _things(group: np.ndarray, box_xyxy: np.ndarray) -> np.ndarray:
    """Number what is stated, (n,): of a group, regions that overlap by `SAME_PLACE` or more, and
    through others, are one thing; statements about the whole image are, too. Masks and quads are
    compared by their boxes, as in an audit."""
    order = np.argsort(group, kind="stable")
    _, start, size = np.unique(group[order], return_index=True, return_counts=True)
    left, right = _pairs(start, size)
    left, right = order[left], order[right]
    is_same = _iou(box_xyxy[left], box_xyxy[right]) >= SAME_PLACE
    left, right = left[is_same], right[is_same]
    thing = np.arange(len(group))
    while True:
        least = np.minimum(thing[left], thing[right])
        following = thing.copy()
        np.minimum.at(following, left, least)
        np.minimum.at(following, right, least)
        if (following == thing).all():
            return np.asarray(np.unique(thing, return_inverse=True)[1])
        thing = following


def _pairs(start: np.ndarray, size: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the two places of all pairs within groups."""
    place = np.concatenate([np.arange(one) for one in size]) if len(size) else np.zeros(0, int)
    total = np.repeat(size, size)
    after = total - place - 1
    left = np.repeat(np.repeat(start, size) + place, after)
    first = np.concatenate([[0], np.cumsum(after)])[:-1]
    right = left + 1 + np.arange(len(left)) - np.repeat(first, after)
    return left, right


def _iou(box_xyxy: np.ndarray, others_xyxy: np.ndarray) -> np.ndarray:
    """Return the intersection over union of pairs of boxes, (n,); 1 for two of the whole image."""
    low = np.maximum(box_xyxy[:, :2], others_xyxy[:, :2])
    high = np.minimum(box_xyxy[:, 2:], others_xyxy[:, 2:])
    inside = np.prod(np.clip(high - low, 0, None), axis=1)
    areas = [np.prod(one[:, 2:] - one[:, :2], axis=1) for one in (box_xyxy, others_xyxy)]
    with np.errstate(invalid="ignore", divide="ignore"):
        iou = inside / (areas[0] + areas[1] - inside)
    is_whole = np.isnan(box_xyxy[:, 0]) & np.isnan(others_xyxy[:, 0])
    return np.asarray(np.where(is_whole, 1.0, np.nan_to_num(iou)))

"""Drift of annotations between two versions, by the Jensen-Shannon divergence of histograms.

With p and q the shares of two histograms in the same bins, and m = (p + q) / 2:

    JSD = 1/2 sum p log2(p / m) + 1/2 sum q log2(q / m)

It is 0 for equal shares and 1 for shares without a common bin, symmetric, and finite where a bin is
empty on one side. Source: J. Lin, "Divergence measures based on the Shannon entropy", IEEE
Transactions on Information Theory 37(1), 1991. For small changes the population stability index,
sum (p - q) ln(p / q), is about 8 ln 2 = 5.5 times as much: its usual marks of 0.1 and 0.25 are
about 0.018 and 0.045 here.

Kept annotations are counted shard by shard, in fixed bins.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from zlib import crc32

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from florilegium.engine.core.tasks import CAPTION_TASKS
from florilegium.pipelines.dataset.refreshed import Drift, Histogram
from florilegium.pipelines.report.distributions import SIDE_EDGES, WORD_EDGES

COLUMNS = ("key", "width", "height", "task", "label", "text", "box_xyxy", "score", "specialist")
"""The columns of a shard's Parquet file that are read."""
SCORE_EDGES = np.linspace(0, 1, 21)
"""Edges of the bins of scores."""
LABEL_BINS = 1024
"""Bins of labels, by the CRC-32 of their UTF-8 bytes: labels that share a bin hide a change between
them, so the drift of labels is never overstated."""


class Distributions:
    """Histograms by name: `scores/SPECIALIST`, `box_sizes/TASK` (the square root of the share of
    the image), `caption_words/TASK`, `labels/TASK`."""

    def __init__(self, stored: Mapping[str, Histogram] | None = None) -> None:
        self._counts: dict[str, np.ndarray] = {}
        for name, bins in (stored or {}).items():
            counts = np.zeros(_bins(name), np.int64)
            counts[[int(number) for number in bins]] = list(bins.values())
            self._counts[name] = counts

    def add(self, table: pa.Table, *, sign: int = 1) -> None:
        """Count kept annotations, or take them out again, where `sign` is -1."""
        for name, bins in _binned(table):
            counts = self._counts.setdefault(name, np.zeros(_bins(name), np.int64))
            counts += sign * np.bincount(bins, minlength=len(counts))

    def count(self, name: str) -> int:
        """Return how many values a distribution has."""
        return int(self._counts[name].sum()) if name in self._counts else 0

    def to_json(self) -> dict[str, dict[str, int]]:
        """Return all histograms that are not empty."""
        return {
            name: {str(number): int(counts[number]) for number in np.flatnonzero(counts).tolist()}
            for name, counts in sorted(self._counts.items())
            if counts.any()
        }

    def divergence(self, name: str, other: Distributions) -> float | None:
        """Return the drift of one distribution, 0..1, five decimals; `None` without values."""
        if not (self.count(name) and other.count(name)):
            return None
        return round(jensen_shannon(self._counts[name], other._counts[name]), 5)

    @property
    def names(self) -> set[str]:
        """The distributions that have values."""
        return {name for name in self._counts if self.count(name)}


def drifts(before: Distributions, after: Distributions, new: Distributions) -> dict[str, Drift]:
    """Compare all distributions of two versions, and those of what is new."""
    return {
        name: Drift(
            before=before.count(name),
            after=after.count(name),
            new=new.count(name),
            version=before.divergence(name, after),
            of_new=before.divergence(name, new),
        )
        for name in sorted(before.names | after.names)
    }


def jensen_shannon(one: np.ndarray, other: np.ndarray) -> float:
    """Return the divergence of two histograms with the same bins, 0..1; neither is empty."""
    shares = np.stack([one / one.sum(), other / other.sum()])
    mean = shares.mean(axis=0)
    terms = np.zeros_like(shares)
    np.divide(shares, mean, out=terms, where=shares > 0)
    np.log2(terms, out=terms, where=terms > 0)
    return max(0.0, float((shares * terms).sum() / 2))


def _bins(name: str) -> int:
    kind = name.partition("/")[0]
    edges = {"scores": SCORE_EDGES, "box_sizes": SIDE_EDGES, "caption_words": WORD_EDGES}
    return len(edges[kind]) - 1 if kind in edges else LABEL_BINS


def _binned(table: pa.Table) -> Iterator[tuple[str, np.ndarray]]:
    """Yield the name of each distribution and the bins of its values, (n,)."""
    for specialist, rows in _groups(table, "specialist"):
        scores = rows.column("score").drop_null().to_numpy()
        if len(scores):
            yield f"scores/{specialist}", _places(scores, SCORE_EDGES)
    for task, rows in _groups(table, "task"):
        if len(sizes := _box_sizes(rows)):
            yield f"box_sizes/{task}", _places(sizes, SIDE_EDGES)
        if task in CAPTION_TASKS:
            words = pc.count_substring_regex(rows.column("text"), r"\S+").to_numpy()
            yield f"caption_words/{task}", _places(words, WORD_EDGES)
        if len(labels := rows.column("label").filter(pc.not_equal(rows.column("label"), ""))):
            yield f"labels/{task}", _label_bins(labels)


def _groups(table: pa.Table, column: str) -> Iterator[tuple[str, pa.Table]]:
    for name in sorted(table.column(column).unique().to_pylist()):
        yield name, table.filter(pc.equal(table.column(column), name))


def _box_sizes(rows: pa.Table) -> np.ndarray:
    """Return sqrt(box area / image area) of the regions that have a box, clipped to the image."""
    has_box = pc.equal(pc.list_value_length(rows.column("box_xyxy")), 4)
    rows = rows.filter(has_box)
    if not len(rows):
        return np.zeros(0)
    boxes = rows.column("box_xyxy").combine_chunks().flatten().to_numpy().reshape(-1, 2, 2)
    image_wh = np.stack([rows.column(one).to_numpy() for one in ("width", "height")], axis=1)
    corners = boxes.clip(0, image_wh[:, None])
    shares = (corners[:, 1] - corners[:, 0]).clip(0) / image_wh
    return np.asarray(np.sqrt(shares.prod(axis=1)))


def _label_bins(labels: pa.ChunkedArray) -> np.ndarray:
    coded = pc.dictionary_encode(labels.combine_chunks())
    bins = np.array([crc32(one.encode()) % LABEL_BINS for one in coded.dictionary.to_pylist()])
    return np.asarray(bins[coded.indices.to_numpy()])


def _places(values: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Return the bin of each value; values beyond the edges are counted in the outer bins."""
    bins = np.searchsorted(edges, values, side="right") - 1
    return np.asarray(bins.clip(0, len(edges) - 2))

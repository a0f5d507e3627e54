"""Images about which specialists disagree most, first.

Boxes of one task by two specialists are compared, dropped ones too; merged annotations are left
out, as they are made from the others. A box agrees with another specialist if one of that
specialist's boxes overlaps it with an intersection over union of one half or more and has the same
name, in any case of letters. A task counts in a shard if two specialists or more have boxes of it
there; on an image where one of them has none, each box of the others disagrees with it.

Of `pairs` of a box and another specialist, `d` disagree. The score is d * d / pairs: how many
disagree, times their share, so neither a crowded image nor one with a single box comes first alone.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from threading import Lock

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from florilegium.pipelines.serve.answers import Answer, Question
from florilegium.pipelines.serve.catalogue import Catalogue
from florilegium.pipelines.serve.shown import DRAWN, Card, cards

LEAST_OVERLAP = 0.5
"""Intersection over union from which two boxes are of one thing; that of COCO's AP50."""
PATIENCE_S = 0.8
_COLUMNS = ("key", "task", "label", "text", "box_xyxy", "merged_from", "specialist")
_PAIRS_AT_ONCE = 2_000_000
_MOST_BOXES = 2_000
"""Boxes of one task on one image that are compared, at most: of more, the first ones."""


class AskedRanks(Question):
    """Images from a rank on."""

    start: int = Field(default=0, ge=0)
    limit: int = Field(default=48, ge=1, le=200)


class Ranked(Answer):
    """Images by their score, highest first, of `searched` of `shards` shards so far."""

    cards: tuple[Card, ...]
    start: int
    next: int | None
    found: int
    """Images with any disagreement."""
    searched: int
    shards: int


@dataclass(frozen=True, kw_only=True)
class _Score:
    key: str
    shard: int
    value: float


class Disagreements:
    """Scores of all images of a dataset, made shard by shard while somebody asks for them."""

    def __init__(self, catalogue: Catalogue, patience_s: float = PATIENCE_S) -> None:
        self._catalogue = catalogue
        self._patience_s = patience_s
        self._scores: list[_Score] = []
        self._searched = 0
        self._lock = Lock()

    def ranked(self, asked: AskedRanks) -> Ranked:
        """Go on with the search for a while, and return the images with the highest scores so far.

        Raises:
            StorageError: a shard cannot be read.
        """
        shards = len(self._catalogue.shards)
        end = time.monotonic() + self._patience_s
        with self._lock:
            while self._searched < shards:
                self._scores += self._of_shard(self._searched)
                self._searched += 1
                if time.monotonic() > end:
                    break
            self._scores.sort(key=lambda one: (-one.value, one.shard, one.key))
            chosen = self._scores[asked.start : asked.start + asked.limit]
            found, searched = len(self._scores), self._searched
        after = asked.start + len(chosen)
        return Ranked(
            cards=tuple(self._cards(chosen)),
            start=asked.start,
            next=after if after < found else None,
            found=found,
            searched=searched,
            shards=shards,
        )

    def _of_shard(self, shard: int) -> list[_Score]:
        table = self._catalogue.rows(shard, _COLUMNS)
        return [
            _Score(key=key, shard=shard, value=value) for key, value in disagreements(table).items()
        ]

    def _cards(self, chosen: list[_Score]) -> list[Card]:
        by_shard: dict[int, list[_Score]] = {}
        for one in chosen:
            by_shard.setdefault(one.shard, []).append(one)
        made = {
            (shard, card.key): card
            for shard, scores in by_shard.items()
            for card in cards(
                shard, [one.key for one in scores], self._catalogue.rows(shard, DRAWN), {}
            )
        }
        return [
            made[one.shard, one.key].model_copy(update={"score": round(one.value, 2)})
            for one in chosen
        ]


def disagreements(table: pa.Table) -> dict[str, float]:
    """Return the score of each sample of a shard whose specialists disagree, by key."""
    has_box = pc.equal(pc.list_value_length(table["box_xyxy"]), 4)
    is_first = pc.equal(pc.list_value_length(table["merged_from"]), 0)
    table = table.filter(pc.and_(has_box, is_first))
    if not len(table):
        return {}
    names = pc.if_else(pc.equal(table["label"], ""), table["text"], table["label"])
    numbers = [
        column.combine_chunks().dictionary_encode()
        for column in (table["key"], table["task"], table["specialist"], pc.utf8_lower(names))
    ]
    key, task, who, name = (one.indices.to_numpy().astype(np.int64) for one in numbers)
    boxes = pc.list_flatten(table["box_xyxy"]).to_numpy().reshape(-1, 4)
    keys = numbers[0].dictionary.to_pylist()
    apart, pairs = np.zeros(len(keys)), np.zeros(len(keys))
    for number in np.unique(task):
        rows = np.flatnonzero(task == number)
        rows = rows[_ranks(key[rows]) < _MOST_BOXES]
        people, who_here = np.unique(who[rows], return_inverse=True)
        if len(people) < 2:
            continue
        agreeing = _agreeing(key[rows], who_here, name[rows], boxes[rows], len(people))
        others = len(people) - 1
        np.add.at(pairs, key[rows], others)
        np.add.at(apart, key[rows], others - agreeing)
    scores = apart * apart / np.maximum(pairs, 1)
    return {keys[place]: float(scores[place]) for place in np.flatnonzero(apart)}


def _ranks(key: np.ndarray) -> np.ndarray:
    """Return for each row how many rows with the same key are before it."""
    order = np.argsort(key, kind="stable")
    starts = np.flatnonzero(np.diff(key[order], prepend=-1))
    sizes = np.diff(starts, append=len(key))
    ranks = np.empty(len(key), np.int64)
    ranks[order] = np.arange(len(key)) - np.repeat(starts, sizes)
    return ranks


def _agreeing(
    key: np.ndarray, who: np.ndarray, name: np.ndarray, boxes: np.ndarray, people: int
) -> np.ndarray:
    """Return with how many other specialists each box agrees."""
    agrees = np.zeros((len(key), people), np.bool_)
    order = np.argsort(key, kind="stable")
    starts = np.flatnonzero(np.diff(key[order], prepend=-1))
    sizes = np.diff(starts, append=len(key))
    together = np.cumsum(sizes * sizes) // _PAIRS_AT_ONCE
    for number in np.unique(together):
        images = together == number
        first, second = (order[places] for places in _pairs(starts[images], sizes[images]))
        may_agree = (name[first] == name[second]) & (who[first] != who[second])
        first, second = first[may_agree], second[may_agree]
        same = _overlap(boxes[first], boxes[second]) >= LEAST_OVERLAP
        agrees[first[same], who[second[same]]] = True
    return agrees.sum(axis=1)


def _pairs(starts: np.ndarray, sizes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return all pairs of rows of one image, for images that follow each other."""
    of_row = np.repeat(sizes, sizes)
    first = np.repeat(np.arange(len(of_row)) + starts[0], of_row)
    begins = np.repeat(np.cumsum(of_row) - of_row, of_row)
    second = np.arange(len(first)) - begins + np.repeat(np.repeat(starts, sizes), of_row)
    return first, second


def _overlap(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return the intersection over union of each box and the other one in its row, (n,)."""
    low, high = np.maximum(boxes[:, :2], others[:, :2]), np.minimum(boxes[:, 2:], others[:, 2:])
    both = np.prod(np.clip(high - low, 0, None), axis=1)
    areas = (np.prod(np.clip(one[:, 2:] - one[:, :2], 0, None), axis=1) for one in (boxes, others))
    return both / np.maximum(sum(areas) - both, np.finfo(float).tiny)

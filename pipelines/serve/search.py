"""Search for samples: by what one of their annotations is, or because none was kept.

A search goes through the shards in their order and reads only the columns that it needs. Shards
whose counts rule it out are passed over. It answers after a time even when the page is not full:
the place where it stopped goes on from there.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from florilegium.pipelines.serve.answers import Answer, Question
from florilegium.pipelines.serve.cache import Cache
from florilegium.pipelines.serve.catalogue import Catalogue
from florilegium.pipelines.serve.shown import DRAWN, Card, cards

PATIENCE_S = 0.8
"""Seconds after which a search answers."""
_PAGES_KEPT = 64
Word = Field(default="", max_length=500)


class Wanted(Question):
    """What is searched for: all that is given is true of one annotation of the image.

    `key`, `label` and `text` are parts of those, in any case of letters; `reason` is
    `FILTER/REASON`, or a filter for all of its reasons. `verdict` is of the annotation;
    `none_kept` are images of which nothing was kept, whatever they have.
    """

    key: str = Word
    label: str = Word
    text: str = Word
    task: str = Word
    specialist: str = Word
    verdict: Literal["", "kept", "dropped"] = ""
    reason: str = Word
    round: int | None = Field(default=None, ge=0)
    least: float | None = Field(default=None, ge=0, le=1)
    """Least confidence."""
    most: float | None = Field(default=None, ge=0, le=1)
    """Highest confidence."""
    none_kept: bool = False

    @property
    def is_of_annotations(self) -> bool:
        """Whether something is wanted of an annotation, not only of the image."""
        return self != Wanted(key=self.key, none_kept=self.none_kept)

    @property
    def columns(self) -> list[str]:
        """The columns that the search reads."""
        needed = {
            "label": bool(self.label),
            "text": bool(self.text),
            "task": bool(self.task),
            "specialist": bool(self.specialist),
            "verdicts": bool(self.reason),
            "round": self.round is not None,
            "confidence": self.least is not None or self.most is not None,
            "kept": bool(self.verdict) or self.none_kept,
        }
        return ["key", "id", *(name for name, is_needed in needed.items() if is_needed)]

    @property
    def wanted(self) -> Wanted:
        """What is searched for, and nothing else."""
        return Wanted(**self.model_dump(include=set(Wanted.model_fields)))

    def hits(self, table: pa.Table) -> pa.Table:
        """Return the annotations that are what is wanted."""
        for column in ("label", "text"):
            if part := getattr(self, column):
                table = table.filter(pc.match_substring(table[column], part, ignore_case=True))
        for column in ("task", "specialist", "round"):
            if (value := getattr(self, column)) not in ("", None):
                table = table.filter(pc.equal(table[column], value))
        if self.verdict:
            table = table.filter(pc.equal(table["kept"], self.verdict == "kept"))
        if self.least is not None:
            table = table.filter(pc.greater_equal(table["confidence"], self.least))
        if self.most is not None:
            table = table.filter(pc.less_equal(table["confidence"], self.most))
        return table.filter(pa.array(_has_reason(table, self.reason))) if self.reason else table


def _has_reason(table: pa.Table, wanted: str) -> np.ndarray:
    """Return for each row whether a filter dropped it for a reason, `FILTER/REASON`."""
    judge, _, reason = wanted.partition("/")
    column = table["verdicts"].combine_chunks()
    structs = pc.list_flatten(column)
    is_it = pc.and_(
        pc.equal(pc.struct_field(structs, "filter"), judge),
        pc.invert(pc.struct_field(structs, "keep")),
    )
    if reason:
        is_it = pc.and_(is_it, pc.equal(pc.struct_field(structs, "reason"), reason))
    found = np.zeros(len(table), np.bool_)
    found[pc.list_parent_indices(column).to_numpy()[is_it.to_numpy(zero_copy_only=False)]] = True
    return found


class Asked(Wanted):
    """A search, how many images, and the place from which it goes on."""

    start: int = Field(default=0, ge=0)
    limit: int = Field(default=48, ge=1, le=200)


class AskedBeside(Wanted):
    """A search for one image, the first one from a place on, or back from it."""

    start: int = Field(ge=0)
    towards: Literal["next", "previous"]


class Beside(Answer):
    """The image that was found, its key and the index of its shard; or where the search goes on,
    if time stopped it."""

    found: tuple[str, int] | None = None
    more: int | None = None


class Page(Answer):
    """Images that were found; `next` is where the search goes on, `None` at the end.

    `searched` of `shards` shards are behind it. A page that is not full was stopped by time.
    """

    cards: tuple[Card, ...]
    start: int
    next: int | None
    searched: int
    shards: int
    samples: int


@dataclass
class _Found:
    """The samples of one shard that were found, and where the search of it ended."""

    keys: list[str] = field(default_factory=list)
    hits: dict[str, tuple[str, ...]] = field(default_factory=dict)
    next: int | None = None


class Search:
    """Searches one dataset; pages that were found are kept."""

    def __init__(self, catalogue: Catalogue, patience_s: float = PATIENCE_S) -> None:
        self._catalogue = catalogue
        self._patience_s = patience_s
        self._pages: Cache[Asked, Page] = Cache(_PAGES_KEPT)

    def page(self, asked: Asked) -> Page:
        """Return images from a place on.

        Raises:
            StorageError: a shard cannot be read.
        """
        return self._pages.get(asked, lambda: self._page(asked))

    def _page(self, asked: Asked) -> Page:
        catalogue, wanted = self._catalogue, asked.wanted
        end = time.monotonic() + self._patience_s
        place, found = min(asked.start, len(catalogue)), list[Card]()
        while place < len(catalogue) and len(found) < asked.limit:
            if place > asked.start and time.monotonic() > end:
                break
            shard = catalogue.shard_at(place)
            first = place - catalogue.starts[shard]
            here = self._in_shard(shard, wanted, first, asked.limit - len(found))
            if here.keys:
                table = catalogue.rows(shard, DRAWN)
                found += cards(shard, here.keys, table, here.hits)
            after = catalogue.starts[shard + 1]
            place = after if here.next is None else catalogue.starts[shard] + here.next
        is_over = place >= len(catalogue)
        return Page(
            cards=tuple(found),
            start=asked.start,
            next=None if is_over else place,
            searched=len(catalogue.shards) if is_over else catalogue.shard_at(place),
            shards=len(catalogue.shards),
            samples=len(catalogue),
        )

    def beside(self, asked: AskedBeside) -> Beside:
        """Return the first image from a place on, or back from it.

        Raises:
            StorageError: a shard cannot be read.
        """
        catalogue, wanted, is_next = self._catalogue, asked.wanted, asked.towards == "next"
        end, place = time.monotonic() + self._patience_s, asked.start
        while 0 <= place < len(catalogue):
            shard = catalogue.shard_at(place)
            start = catalogue.starts[shard]
            places, _ = self._matches(shard, wanted)
            here = [
                one for one in places if (one >= place - start if is_next else one <= place - start)
            ]
            if here:
                return Beside(found=(catalogue.keys(shard)[here[0 if is_next else -1]], shard))
            place = catalogue.starts[shard + 1] if is_next else start - 1
            if time.monotonic() > end:
                break
        return Beside(more=place if 0 <= place < len(catalogue) else None)

    def _in_shard(self, shard: int, wanted: Wanted, first: int, limit: int) -> _Found:
        """Return the samples of a shard from its `first` on."""
        places, hits = self._matches(shard, wanted)
        places = [place for place in places if place >= first]
        order = self._catalogue.keys(shard) if places else ()
        return _Found(
            keys=[order[place] for place in places[:limit]],
            hits=hits if wanted.is_of_annotations else {},
            next=places[limit - 1] + 1 if len(places) > limit else None,
        )

    def _matches(self, shard: int, wanted: Wanted) -> tuple[list[int], dict[str, tuple[str, ...]]]:
        """Return which samples of a shard are wanted, by their places in it, and the ids of the
        annotations that are, by key."""
        if not self._may_have(shard, wanted):
            return [], {}
        hits: dict[str, tuple[str, ...]] = {}
        kept: frozenset[str] = frozenset()
        if wanted.is_of_annotations or wanted.none_kept:
            table = self._catalogue.rows(shard, wanted.columns)
            hits = _ids_by_key(wanted.hits(table))
            if wanted.none_kept:
                kept = frozenset(table.filter(table["kept"])["key"].to_pylist())
        part = wanted.key.casefold()
        places = [
            place
            for place, key in enumerate(self._catalogue.keys(shard))
            if part in key.casefold()
            and key not in kept
            and (key in hits or not wanted.is_of_annotations)
        ]
        return places, hits

    def _may_have(self, shard: int, wanted: Wanted) -> bool:
        """Whether the counts of a shard allow that it has what is wanted."""
        asked = {"tasks": wanted.task, "specialists": wanted.specialist, "drops": wanted.reason}
        counts = self._catalogue.counts if any(asked.values()) else None
        if counts is None:
            return True
        for column, name in asked.items():
            counted = counts.table.column(column)[shard].as_py() if name else []
            names = {one["name"] for one in counted}
            if column == "drops" and not name.partition("/")[2]:  # any reason of a filter
                names = {one.partition("/")[0] for one in names}
                name = name.removesuffix("/")
            if name and name not in names:
                return False
        return True


def _ids_by_key(table: pa.Table) -> dict[str, tuple[str, ...]]:
    found: dict[str, list[str]] = {}
    for key, name in zip(table["key"].to_pylist(), table["id"].to_pylist(), strict=True):
        found.setdefault(key, []).append(name)
    return {key: tuple(names) for key, names in found.items()}

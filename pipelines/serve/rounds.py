"""The dataset that is served, and the datasets of the rounds of its refinement, side by side."""

from __future__ import annotations

from pydantic import Field

from florilegium.engine.results.manifest import MANIFEST
from florilegium.engine.storage.folder import Folder
from florilegium.pipelines.dataset.lineage import read_lineage, round_folder, round_numbers
from florilegium.pipelines.diff.difference import Diff, SampleDiff, diff_rounds
from florilegium.pipelines.serve.answers import Answer, NotFound, Question
from florilegium.pipelines.serve.cache import Cache
from florilegium.pipelines.serve.catalogue import Catalogue
from florilegium.pipelines.serve.shown import DRAWN, Card, cards

_DATASETS_KEPT = 4
_DIFFS_KEPT = 8
_DIFF_SHARDS = 16
"""Shards of two rounds that are compared, at most, evenly spread."""
_EXAMPLES = 24


class RoundShown(Answer):
    """A round of the refinement: how good its labels are, and whether it was promoted."""

    number: int
    is_promoted: bool
    reason: str
    measured_by: str
    quality: dict[str, float | None]


class AskedDiff(Question):
    """Two rounds to compare."""

    before: int = Field(ge=0)
    after: int = Field(ge=0)


class Counted(Answer):
    """Labels of a task that are the same in both rounds, or not."""

    task: str
    same: int
    added: int
    changed: int
    dropped: int


class Pair(Answer):
    """A sample in both rounds; one may lack it."""

    key: str
    weight: float
    """How much changed."""
    before: Card | None
    after: Card | None


class Compared(Answer):
    """Two rounds compared in `compared` of `shards` shards; samples that changed most first."""

    tasks: tuple[Counted, ...]
    samples_changed: int
    pairs: tuple[Pair, ...]
    compared: int
    shards: int


class Rounds:
    """The datasets of a run: the one in place, and those of its rounds.

    Raises:
        UsageError: the dataset is not finished.
        StorageError: its manifest is damaged.
    """

    def __init__(self, folder: Folder) -> None:
        self.folder = folder
        self.current = Catalogue(folder)
        self._others: Cache[int, Catalogue] = Cache(_DATASETS_KEPT)
        self._diffs: Cache[AskedDiff, Compared] = Cache(_DIFFS_KEPT)

    def catalogue(self, number: int | None) -> Catalogue:
        """Return the dataset of a round, or the one in place.

        Raises:
            NotFound: there is no such round, or it is not finished.
            StorageError: its manifest is damaged.
        """
        if number is None:
            return self.current
        folder = round_folder(self.folder, number)
        if number not in round_numbers(self.folder) or not folder.exists(MANIFEST):
            raise NotFound(f"there is no finished round {number}")
        return self._others.get(number, lambda: Catalogue(folder))

    def shown(self) -> tuple[RoundShown, ...]:
        """Return the rounds whose datasets are there."""
        numbers = set(round_numbers(self.folder))
        return tuple(
            RoundShown(
                number=one.number,
                is_promoted=one.is_promoted,
                reason=one.reason,
                measured_by=one.measured_by,
                quality=dict(one.quality),
            )
            for one in read_lineage(self.folder)
            if one.number in numbers and round_folder(self.folder, one.number).exists(MANIFEST)
        )

    def compared(self, asked: AskedDiff) -> Compared:
        """Compare the kept labels of two rounds, as `florilegium diff` does.

        Raises:
            UsageError: there is no such round.
            StorageError: a shard cannot be read.
        """
        return self._diffs.get(asked, lambda: self._compare(asked))

    def _compare(self, asked: AskedDiff) -> Compared:
        found: Diff = diff_rounds(
            self.folder,
            asked.before,
            asked.after,
            examples=_EXAMPLES,
            max_shards=_DIFF_SHARDS,
        )
        sides = (self.catalogue(asked.before), self.catalogue(asked.after))
        return Compared(
            tasks=tuple(
                Counted(
                    task=task,
                    same=one.same,
                    added=one.added,
                    changed=one.changed,
                    dropped=one.dropped,
                )
                for task, one in found.tasks.items()
            ),
            samples_changed=found.samples_changed,
            pairs=tuple(_pair(sample, *sides) for sample in found.samples),
            compared=found.compared,
            shards=found.shards,
        )


def _pair(sample: SampleDiff, before: Catalogue, after: Catalogue) -> Pair:
    return Pair(
        key=sample.key,
        weight=round(sample.weight, 3),
        before=_card(sample.key, before),
        after=_card(sample.key, after),
    )


def _card(key: str, catalogue: Catalogue) -> Card | None:
    try:
        shard = catalogue.place(key).shard
    except NotFound:
        return None
    return cards(shard, [key], catalogue.rows(shard, DRAWN), {})[0]

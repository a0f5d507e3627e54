"""The dead letters of a run, compared with the share of all inputs that may be lost.

The share is checked when the run has ended: its dataset is written, and the command fails. A run
that can no longer keep to the limit stops early.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator

import numpy as np

from florilegium.engine.core.annotation import SOURCE
from florilegium.engine.core.errors import RunError
from florilegium.engine.core.sample import DeadLetter
from florilegium.engine.execution.answer import BUDGET_EXHAUSTED
from florilegium.engine.planning.partition import ShardSummary
from florilegium.engine.results.comparison import MeasuredShard
from florilegium.engine.results.manifest import Manifest
from florilegium.engine.results.publication import ShardStats
from florilegium.engine.results.shard_table import ShardTable
from florilegium.engine.sources.takedown import TAKEN_DOWN
from florilegium.engine.untrusted.escaped import escaped

MANY = 100
"""Least number of dead letters before a run stops early."""
_MAX_REASONS = 3
_PLACE = re.compile(r"  \S.*, line \d+, in \S+")
"""A line of a traceback that names a line of code."""


class Losses:
    """Dead letters by reason: how many, and the first one."""

    def __init__(self, letters: Iterable[DeadLetter] = ()) -> None:
        self.counts: Counter[str] = Counter()
        self.first: dict[str, DeadLetter] = {}
        self.of_stages = 0
        """Those of samples on which stages failed."""
        self.add(letters)

    def add(self, letters: Iterable[DeadLetter]) -> None:
        """Count dead letters."""
        for letter in letters:
            self.counts[letter.reason] += 1
            self.first.setdefault(letter.reason, letter)
            self.of_stages += letter.stage != SOURCE

    def __len__(self) -> int:
        return self.counts.total()

    def by_reason(self) -> list[tuple[int, DeadLetter]]:
        """Return how many there are of each reason and the first one, the commonest first."""
        return [(count, self.first[reason]) for reason, count in self.counts.most_common()]


class Ledger:
    """What finished shards have lost, in this run and earlier ones, and the limit on it."""

    def __init__(self, shards: Iterable[ShardSummary], max_share: float) -> None:
        self._max_share = max_share
        self._awaited = {shard.number: (shard.inputs, shard.is_packed) for shard in shards}
        self._expected = Counter(self._awaited.values())
        self._samples = 0
        self._largest = 0
        self._lost = Losses()

    def add_all(self, shards: ShardTable) -> None:
        """Take in shards that were finished before."""
        samples, letters = (
            np.array(one, np.int64)
            for one in (shards.column("samples"), shards.lengths("dead_letters"))
        )
        for number in shards.column("number") if self._awaited else ():
            self._expect_no_more(number)
        self._samples += int(samples.sum())
        self._largest = max(self._largest, int((samples + letters).max(initial=0)))
        self._lost.add(lost(letter for _, letter in shards.dead_letters()))

    def add(self, made: ShardStats | MeasuredShard) -> None:
        """Take in a shard that was finished, or measured."""
        self._count(made.number, made.samples, len(made.dead_letters))
        self._lost.add(lost(made.dead_letters))

    def _count(self, number: int, samples: int, letters: int) -> None:
        self._expect_no_more(number)
        self._samples += samples
        self._largest = max(self._largest, samples + letters)

    def _expect_no_more(self, number: int) -> None:
        if (shard := self._awaited.pop(number, None)) is not None:
            self._expected[shard] -= 1

    def check(self) -> None:
        """Stop a run that cannot keep to the limit, even if nothing else is lost.

        Raises:
            RunError: with the commonest reasons and an image of each.
        """
        if len(self._lost) < MANY or not self._awaited:
            return
        inputs = self._samples + len(self._lost) + self._left()
        if self._is_hopeless() or _is_beyond(len(self._lost), inputs, self._max_share):
            what = f"{len(self._lost)} of {inputs} images failed"
            if not self._samples:
                what = f"all of the first {len(self._lost)} images failed"
            raise _refusal(what, self._lost, self._max_share)

    def _left(self) -> int:
        """Return how many inputs unread shards have; of tars, as many as the largest so far."""
        return sum(
            count * (max(inputs, self._largest) if is_packed else inputs)
            for (inputs, is_packed), count in self._expected.items()
        )

    def _is_hopeless(self) -> bool:
        """Whether stages failed on every sample, and on so many that the stages are the cause."""
        return self._max_share < 1 and not self._samples and self._lost.of_stages >= MANY


def refuse_losses(manifest: Manifest, max_share: float) -> None:
    """Refuse a finished dataset for which too many inputs, or all, were lost.

    Raises:
        RunError: with the commonest reasons and an image of each.
    """
    letters = Losses(faults(letter for _, letter in manifest.dead_letters))
    failed = Losses(lost(letter for _, letter in manifest.dead_letters))
    samples = manifest.totals.samples
    if letters and not samples and not manifest.totals.sample_drops:
        what = f"all {len(letters)} images" if len(letters) > 1 else "the only image"
        raise _refusal(f"{what} failed", letters, max_share)
    if _is_beyond(len(failed), samples + len(failed), max_share):
        what = f"{len(failed)} of {manifest.totals.inputs} images failed"
        raise _refusal(what, failed, max_share)


def lost(letters: Iterable[DeadLetter]) -> Iterator[DeadLetter]:
    """Leave out inputs that the budget did not reach, which the next run asks about, and those
    that no fault lost."""
    return faults(letter for letter in letters if letter.reason != BUDGET_EXHAUSTED)


def faults(letters: Iterable[DeadLetter]) -> Iterator[DeadLetter]:
    """Leave out inputs that no fault lost: a takedown list names them, or a sample filter dropped
    them."""
    return (letter for letter in letters if letter.reason != TAKEN_DOWN and not letter.dropped_by)


def lines_of(letters: Iterable[DeadLetter]) -> list[str]:
    """Return the reasons of dead letters, the commonest first, each with its first image."""
    return [
        f"  {escaped(first.reason)} {count}: {_named(first)}: {_message(first)}"
        for count, first in Losses(letters).by_reason()
    ]


def _is_beyond(failed: int, inputs: int, max_share: float) -> bool:
    return failed > max_share * inputs + 1e-9  # 0.29 * 100 is less than 29


def _refusal(what: str, losses: Losses, max_share: float) -> RunError:
    reasons = losses.by_reason()[:_MAX_REASONS]
    counts = ", ".join(f"{escaped(first.reason)} {count}" for count, first in reasons)
    allowed = f", more than max_dead_letter_share = {max_share:g} allows" if max_share < 1 else ""
    cure = "mend the source or the stage, then run again with --retry-dead-letters"
    shown = [
        f"  {_named(first)}: {escaped(first.reason)}: {_message(first)}" for _, first in reasons
    ]
    return RunError("\n".join((f"{what} ({counts}){allowed}: {cure}", *shown)))


def _named(letter: DeadLetter) -> str:
    return f"{escaped(letter.key)}, {escaped(letter.stage)}"


def _message(letter: DeadLetter) -> str:
    """Return the message of a dead letter, with the line of code that raised it where known."""
    places = [line for line in letter.traceback.splitlines() if _PLACE.fullmatch(line)]
    place = f" ({places[-1].strip()})" if places else ""
    return escaped(letter.message + place)

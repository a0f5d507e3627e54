"""The dead letters of a run, compared with the share of all inputs that may be lost.

The share is checked when the run has ended: its dataset is written, and the command fails. A run
that can no longer keep to the limit stops early.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from florilegium.engine.core.annotation import SOURCE
from florilegium.engine.core.errors import RunError
from florilegium.engine.core.sample import DeadLetter
from florilegium.engine.execution.answer import BUDGET_EXHAUSTED
from florilegium.engine.planning.partition import ShardSummary
from florilegium.engine.results.manifest import Manifest
from florilegium.engine.results.publication import ShardStats
from florilegium.engine.sources.takedown import TAKEN_DOWN
from florilegium.engine.untrusted.escaped import escaped

MANY = 100
"""Least number of dead letters before a run stops early."""
_MAX_REASONS = 3
_PLACE = re.compile(r"  \S.*, line \d+, in \S+")
"""A line of a traceback that names a line of code."""


class Ledger:
    """The statistics of finished shards, of this run and earlier ones, and the limit on losses."""

    def __init__(self, shards: Iterable[ShardSummary], max_share: float) -> None:
        self.stats: dict[int, ShardStats] = {}
        self._max_share = max_share
        self._awaited = {shard.number: shard for shard in shards}
        self._samples = 0
        self._largest = 0
        self._lost: list[DeadLetter] = []

    def add(self, stats: ShardStats) -> None:
        """Take in a finished shard."""
        self.stats[stats.number] = stats
        self._awaited.pop(stats.number, None)
        self._samples += stats.samples
        self._largest = max(self._largest, stats.samples + len(stats.dead_letters))
        self._lost += lost(stats.dead_letters)

    def check(self) -> None:
        """Stop a run that cannot keep to the limit, even if nothing else is lost.

        Raises:
            RunError: with the commonest reasons and an image of each.
        """
        if len(self._lost) < MANY or not self._awaited:
            return
        inputs = self._samples + len(self._lost) + sum(map(self._expected, self._awaited.values()))
        if self._is_hopeless() or _is_beyond(self._lost, inputs, self._max_share):
            what = f"{len(self._lost)} of {inputs} images failed"
            if not self._samples:
                what = f"all of the first {len(self._lost)} images failed"
            raise _refusal(what, self._lost, self._max_share)

    def _expected(self, shard: ShardSummary) -> int:
        """Return how many inputs an unread shard has; of tars, as many as the largest so far."""
        return max(shard.inputs, self._largest) if shard.is_packed else shard.inputs

    def _is_hopeless(self) -> bool:
        """Whether stages failed on every sample, and on so many that the stages are the cause."""
        of_stages = sum(letter.stage != SOURCE for letter in self._lost)
        return self._max_share < 1 and not self._samples and of_stages >= MANY


def refuse_losses(manifest: Manifest, max_share: float) -> None:
    """Refuse a finished dataset for which too many inputs, or all, were lost.

    Raises:
        RunError: with the commonest reasons and an image of each.
    """
    letters = without_taken_down(letter for _, letter in manifest.dead_letters)
    failed, samples = lost(letters), manifest.totals.samples
    if letters and not samples:
        what = f"all {len(letters)} images" if len(letters) > 1 else "the only image"
        raise _refusal(f"{what} failed", letters, max_share)
    if _is_beyond(failed, samples + len(failed), max_share):
        what = f"{len(failed)} of {manifest.totals.inputs} images failed"
        raise _refusal(what, failed, max_share)


def lost(letters: Iterable[DeadLetter]) -> list[DeadLetter]:
    """Leave out inputs that the budget did not reach, which the next run asks about, and those
    that were taken down."""
    unpaid = (letter for letter in letters if letter.reason != BUDGET_EXHAUSTED)
    return without_taken_down(unpaid)


def without_taken_down(letters: Iterable[DeadLetter]) -> list[DeadLetter]:
    """Leave out inputs that a takedown list names: no fault lost them."""
    return [letter for letter in letters if letter.reason != TAKEN_DOWN]


def lines_of(letters: Iterable[DeadLetter]) -> list[str]:
    """Return the reasons of dead letters, the commonest first, each with its first image."""
    return [
        f"  {escaped(reason)} {len(of_reason)}: {_named(of_reason[0])}: {_message(of_reason[0])}"
        for reason, of_reason in _by_reason(letters)
    ]


def _by_reason(letters: Iterable[DeadLetter]) -> list[tuple[str, list[DeadLetter]]]:
    found: dict[str, list[DeadLetter]] = {}
    for letter in letters:
        found.setdefault(letter.reason, []).append(letter)
    return sorted(found.items(), key=lambda item: -len(item[1]))


def _is_beyond(failed: Sequence[DeadLetter], inputs: int, max_share: float) -> bool:
    return len(failed) > max_share * inputs + 1e-9  # 0.29 * 100 is less than 29


def _refusal(what: str, letters: Sequence[DeadLetter], max_share: float) -> RunError:
    reasons = _by_reason(letters)[:_MAX_REASONS]
    counts = ", ".join(f"{escaped(reason)} {len(of_reason)}" for reason, of_reason in reasons)
    allowed = f", more than max_dead_letter_share = {max_share:g} allows" if max_share < 1 else ""
    cure = "mend the source or the stage, then run again with --retry-dead-letters"
    shown = [
        f"  {_named(one)}: {escaped(reason)}: {_message(one)}" for reason, (one, *_) in reasons
    ]
    return RunError("\n".join((f"{what} ({counts}){allowed}: {cure}", *shown)))


def _named(letter: DeadLetter) -> str:
    return f"{escaped(letter.key)}, {escaped(letter.stage)}"


def _message(letter: DeadLetter) -> str:
    """Return the message of a dead letter, with the line of code that raised it where known."""
    places = [line for line in letter.traceback.splitlines() if _PLACE.fullmatch(line)]
    place = f" ({places[-1].strip()})" if places else ""
    return escaped(letter.message + place)

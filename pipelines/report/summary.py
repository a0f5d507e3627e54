"""The counts of a dataset as table rows: annotations, drops by filter, failed inputs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from florilegium.engine.core.sample import DeadLetter
from florilegium.engine.execution.losses import faults
from florilegium.engine.results.judging import LINEAGE
from florilegium.engine.results.manifest import Counts, Totals
from florilegium.engine.sources.takedown import TAKEN_DOWN

EXAMPLES = 3
"""Dead letters that are shown for each reason."""


@dataclass(frozen=True, kw_only=True)
class Bar:
    """The kept and dropped annotations of one task or specialist; lengths are percent of the
    longest bar."""

    name: str
    kept: int
    dropped: int
    kept_length: float
    dropped_length: float


@dataclass(frozen=True, kw_only=True)
class Sieve:
    """One filter: how many annotations it dropped, by reason, and how many are left after it."""

    filter: str
    dropped: int
    left: int
    left_length: float
    dropped_length: float
    reasons: tuple[tuple[str, int], ...]


@dataclass(frozen=True, kw_only=True)
class SampleSieve:
    """One sample filter: how many samples it dropped, by reason, how many are left after it, and a
    few that it dropped."""

    sieve: Sieve
    examples: tuple[DeadLetter, ...]


@dataclass(frozen=True, kw_only=True)
class Loss:
    """Dead letters of one reason, with a few of them."""

    reason: str
    count: int
    examples: tuple[DeadLetter, ...]


def bars(counts: Counts) -> list[Bar]:
    """Return a bar for each name, longest first."""
    longest = max((sides["kept"] + sides["dropped"] for sides in counts.values()), default=1)
    rows = [
        Bar(
            name=name,
            kept=sides["kept"],
            dropped=sides["dropped"],
            kept_length=_percent(sides["kept"], longest),
            dropped_length=_percent(sides["dropped"], longest),
        )
        for name, sides in counts.items()
    ]
    return sorted(rows, key=lambda bar: (-bar.kept - bar.dropped, bar.name))


def funnel(totals: Totals, order: Sequence[str]) -> list[Sieve]:
    """Return a row for each filter in the order of judging, the most frequent reasons first.

    Filters that dropped nothing have rows, too. Annotations that were dropped because of their
    parent come last: any filter may have dropped the parent.
    """
    drops = _by_filter(totals.drops, order)
    if LINEAGE in drops:
        drops[LINEAGE] = drops.pop(LINEAGE)
    return _sieves(drops, totals.annotations_kept + totals.annotations_dropped)


def sample_funnel(
    totals: Totals, order: Sequence[str], letters: Iterable[DeadLetter]
) -> list[SampleSieve]:
    """Return a row for each sample filter, those that dropped nothing too, with a few of the
    samples that it dropped; what is left after the last one may still fail."""
    drops = _by_filter(totals.sample_drops, order)
    examples: dict[str, list[DeadLetter]] = {name: [] for name in drops}
    for letter in letters if drops else ():
        if letter.dropped_by and len(examples[letter.dropped_by]) < EXAMPLES:
            examples[letter.dropped_by].append(letter)
    read = totals.inputs - sum(totals.failures.values())
    return [
        SampleSieve(sieve=sieve, examples=tuple(examples[sieve.filter]))
        for sieve in _sieves(drops, read)
    ]


def _by_filter(drops: Mapping[str, int], order: Sequence[str]) -> dict[str, dict[str, int]]:
    """Return counts by filter and reason, from those by `filter/reason`."""
    found: dict[str, dict[str, int]] = {name: {} for name in order}
    for name, count in drops.items():
        judge, _, reason = name.partition("/")
        found.setdefault(judge, {})[reason] = count
    return found


def _sieves(drops: Mapping[str, Mapping[str, int]], total: int) -> list[Sieve]:
    left = total
    sieves = []
    for judge, reasons in drops.items():
        dropped = sum(reasons.values())
        left -= dropped
        sieves.append(
            Sieve(
                filter=judge,
                dropped=dropped,
                left=left,
                left_length=_percent(left, total),
                dropped_length=_percent(dropped, total),
                reasons=tuple(sorted(reasons.items(), key=lambda one: (-one[1], one[0]))),
            )
        )
    return sieves


def losses(letters: Iterable[DeadLetter], failures: Mapping[str, int]) -> list[Loss]:
    """Return the dead letters by reason, most frequent first, with a few examples of each; those
    of images that were taken down are not named."""
    failures = {reason: count for reason, count in failures.items() if reason != TAKEN_DOWN}
    examples: dict[str, list[DeadLetter]] = {reason: [] for reason in failures}
    for letter in faults(letters):
        if len(examples[letter.reason]) < EXAMPLES:
            examples[letter.reason].append(letter)
    found = [
        Loss(reason=reason, count=count, examples=tuple(examples[reason]))
        for reason, count in failures.items()
    ]
    return sorted(found, key=lambda loss: (-loss.count, loss.reason))


def _percent(part: int, whole: int) -> float:
    return round(100 * part / max(whole, 1), 2)

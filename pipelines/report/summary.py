"""The counts of a dataset as rows to read: who said what, what filters dropped, what was lost."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from engine.core.sample import DeadLetter
from engine.records.judging import LINEAGE
from engine.records.manifest import Counts, Totals
from engine.records.publication import ShardStats

EXAMPLES = 3
"""Dead letters shown for each reason."""


@dataclass(frozen=True, kw_only=True)
class Bar:
    """Kept and dropped annotations of one name; lengths in percent of the longest bar."""

    name: str
    kept: int
    dropped: int
    kept_length: float
    dropped_length: float


@dataclass(frozen=True, kw_only=True)
class Sieve:
    """One filter of the funnel: what came in, what it dropped by reason, what is left."""

    filter: str
    dropped: int
    left: int
    left_length: float
    dropped_length: float
    reasons: tuple[tuple[str, int], ...]


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
    """Return what each filter dropped, in the order in which they judge, largest reason first.

    Filters that dropped nothing are rows too. What fell with its parent comes last: it falls
    behind whichever filter dropped the parent.
    """
    drops: dict[str, dict[str, int]] = {name: {} for name in order}
    for name, count in totals.drops.items():
        judge, _, reason = name.partition("/")
        drops.setdefault(judge, {})[reason] = count
    if LINEAGE in drops:
        drops[LINEAGE] = drops.pop(LINEAGE)
    left = said = totals.annotations_kept + totals.annotations_dropped
    sieves = []
    for judge, reasons in drops.items():
        dropped = sum(reasons.values())
        left -= dropped
        sieves.append(
            Sieve(
                filter=judge,
                dropped=dropped,
                left=left,
                left_length=_percent(left, said),
                dropped_length=_percent(dropped, said),
                reasons=tuple(sorted(reasons.items(), key=lambda one: (-one[1], one[0]))),
            )
        )
    return sieves


def losses(shards: Iterable[ShardStats], failures: Mapping[str, int]) -> list[Loss]:
    """Return the dead letters by reason, the commonest first, with the first few of each."""
    examples: dict[str, list[DeadLetter]] = {reason: [] for reason in failures}
    for shard in shards:
        for letter in shard.dead_letters:
            if len(examples[letter.reason]) < EXAMPLES:
                examples[letter.reason].append(letter)
    found = [
        Loss(reason=reason, count=count, examples=tuple(examples[reason]))
        for reason, count in failures.items()
    ]
    return sorted(found, key=lambda loss: (-loss.count, loss.reason))


def _percent(part: int, whole: int) -> float:
    return round(100 * part / max(whole, 1), 2)

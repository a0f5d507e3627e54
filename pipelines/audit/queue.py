"""Which statement is asked next: by random for the estimate, by expected gain for a calibration.

The random queue goes through each stratum in its random order, all kinds at the same speed, so that
what is answered of a stratum is a simple random sample of it. The other queue takes from the last
half of the order only, and once it took one from a stratum, the random queue stays in the first
half: neither ever changes what the other samples.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from florilegium.pipelines.audit.pool import Pool

QueueName = Literal["random", "gain"]
OVERLAP = 0.1
"""Share of the statements that each person is asked, so that people can be compared."""
_PRIOR = 2.0
"""Answers that the certainty of a statement counts as, beside those of its stratum."""
_AGREED = 0.1
"""The disagreement of statements on which all agree or that one specialist alone can make."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Asked:
    """What was asked so far, as columns of the pool's rows: by which queue, and the value of the
    answers, 1 right, 0 wrong, NaN unsure or none, (n,).

    `own` are rows that the person who is asked now has answered, `held` those that are on the
    screen of another one. A row is of the queue that asked for it first.
    """

    by_random: np.ndarray
    by_gain: np.ndarray
    value: np.ndarray
    own: np.ndarray
    held: np.ndarray

    @classmethod
    def nothing(cls, size: int) -> Asked:
        """Return that nothing was asked of so many statements."""
        no = np.zeros(size, dtype=bool)
        return cls(
            by_random=no.copy(),
            by_gain=no.copy(),
            value=np.full(size, np.nan),
            own=no.copy(),
            held=no.copy(),
        )


def next_row(pool: Pool, asked: Asked, queue: QueueName, *, overlap: float = OVERLAP) -> int | None:
    """Return the statement to ask next, `None` when the queue is at its end."""
    is_open = ~asked.own & ~asked.held
    is_open &= ~(asked.by_random | asked.by_gain) | for_all(pool, overlap)
    if queue == "random":
        is_open &= ~asked.by_gain & (pool.rank < _limit(pool, asked))
        rows = np.flatnonzero(is_open)
        if not len(rows):
            return None
        return int(rows[np.lexsort((pool.order[rows], turn(pool)[rows]))[0]])
    is_open &= ~asked.by_random & (pool.rank >= _half(pool)) & ~_is_past_half(pool, asked)
    if not is_open.any():
        return None
    gain = np.where(is_open, expected_gain(pool, asked), -1.0)
    best = np.flatnonzero(gain == gain.max())
    return int(best[np.argmin(pool.order[best])])


def for_all(pool: Pool, overlap: float = OVERLAP) -> np.ndarray:
    """Return which statements every person is asked, by digits of the order that do not decide the
    place in it, (n,)."""
    return np.asarray(np.modf(pool.order * 2.0**24)[0] < overlap)


def sampled(pool: Pool, asked: Asked) -> np.ndarray:
    """Return which rows the estimate rests on, (n,): the beginning of each stratum's random order
    that is answered without a gap, as far as the random queue may go."""
    rank = np.where(asked.by_random, len(pool), pool.rank)  # the first gap ends the sample
    end = np.full(len(pool.kind_of_stratum), len(pool))
    np.minimum.at(end, pool.stratum, rank)
    return np.asarray(pool.rank < np.minimum(end[pool.stratum], _limit(pool, asked)))


def expected_gain(pool: Pool, asked: Asked) -> np.ndarray:
    """Return uncertainty x disagreement x diversity of each statement, (n,).

    Uncertain is what is right with a probability near a half, by its certainty and the answers in
    its stratum. Disagreement is highest where half of the specialists of the task state the same
    thing. What resembles answered statements, of the same image or words, counts less.
    """
    strata = len(pool.kind_of_stratum)
    is_known = ~np.isnan(asked.value)
    known = np.bincount(pool.stratum[is_known], minlength=strata)
    right = np.bincount(pool.stratum[is_known], asked.value[is_known], minlength=strata)
    prior = np.clip(np.nan_to_num(pool.certainty, nan=0.5), 0.0, 1.0)
    probable = (right[pool.stratum] + _PRIOR * prior) / (known[pool.stratum] + _PRIOR)
    uncertainty = 4 * probable * (1 - probable)
    return np.asarray(uncertainty * _disagreement(pool) * _diversity(pool, asked))


def _disagreement(pool: Pool) -> np.ndarray:
    """Return 1 where half of the specialists of a task state a thing, less elsewhere, (n,)."""
    tasks = [task for task, _ in pool.kinds]
    of_task = np.array([tasks.count(task) for task in tasks])[pool.kind]
    pairs = np.unique(pool.thing * len(pool.kinds) + pool.kind)
    voices = np.bincount(pairs // len(pool.kinds), minlength=int(pool.thing.max()) + 1)
    agreed = voices[pool.thing] / of_task
    return np.asarray(np.maximum(1 - np.abs(2 * agreed - 1), _AGREED))


def _diversity(pool: Pool, asked: Asked) -> np.ndarray:
    """Return how much a statement differs from those that were asked, 0..1, (n,)."""
    rows = np.flatnonzero(asked.by_gain | asked.by_random)
    alike = pool.stratum * (int(pool.words.max()) + 1) + pool.words
    in_image = np.bincount(pool.image[rows], minlength=len(pool.keys))[pool.image]
    similar = np.bincount(alike[rows], minlength=int(alike.max()) + 1)[alike]
    return np.asarray(1 / (1 + in_image) / np.sqrt(1 + similar))


def turn(pool: Pool) -> np.ndarray:
    """Return when each statement's turn is, (n,): its rank, stretched so that all strata of a kind
    are asked in proportion to their size, and all kinds equally often."""
    in_kind = np.bincount(pool.kind)
    return np.asarray(
        (pool.rank + 0.5) * in_kind[pool.kind] / pool.in_stratum[pool.stratum],
    )


def _half(pool: Pool) -> np.ndarray:
    return np.asarray((pool.in_stratum[pool.stratum] + 1) // 2)


def _is_past_half(pool: Pool, asked: Asked) -> np.ndarray:
    """Return the rows of strata in which the random queue has reached the last half, (n,)."""
    is_past = np.zeros(len(pool.kind_of_stratum), dtype=bool)
    is_past[pool.stratum[asked.by_random & (pool.rank >= _half(pool))]] = True
    return np.asarray(is_past[pool.stratum])


def _limit(pool: Pool, asked: Asked) -> np.ndarray:
    """Return how far the random queue may go in the stratum of each row, (n,)."""
    has_gain = np.zeros(len(pool.kind_of_stratum), dtype=bool)
    has_gain[pool.stratum[asked.by_gain]] = True
    return np.asarray(np.where(has_gain[pool.stratum], _half(pool), pool.in_stratum[pool.stratum]))

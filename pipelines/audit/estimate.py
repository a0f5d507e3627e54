"""What the answers say of the whole dataset: precision, recall and agreement, with intervals.

The sample of each stratum is a simple random one, so the stratified mean (Horvitz-Thompson with
equal probabilities in a stratum) is unbiased. Its interval is Wilson's with the effective number of
answers, that of a simple sample with the same variance (Korn and Graubard 1998; Franco et al.
2019). Answers that are unsure are left out, as if they were missing at random in their stratum.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from florilegium.pipelines.audit.pool import Pool
from florilegium.pipelines.merge.learning.reliability import Z, score_interval

MARGIN = 0.02
"""Half of an interval that is narrow enough."""


@dataclass(frozen=True, kw_only=True)
class Share:
    """An estimated share with its 95% interval, 0..1, `None` without answers; `answered` counts
    decided answers, `unsure` the others, `more` the statements to ask for an interval of +-`MARGIN`
    if as many are unsure as so far; those that are left, if they are fewer."""

    share: float | None = None
    low: float | None = None
    high: float | None = None
    answered: int = 0
    unsure: int = 0
    more: int = 0
    of: int = 0


@dataclass(frozen=True, kw_only=True, eq=False)
class _Strata:
    """Strata with at least one answer; those without are added to their neighbour's size."""

    size: np.ndarray
    answered: np.ndarray
    total: np.ndarray
    spread: np.ndarray

    @property
    def weight(self) -> np.ndarray:
        return np.asarray(self.size / self.size.sum())


def precision(pool: Pool, is_sampled: np.ndarray, value: np.ndarray, kind: int) -> Share:
    """Estimate which share of a kind, a number in `pool.kinds`, is right.

    Args:
        is_sampled: the rows of the random sample, (n,).
        value: 1 right, 0 wrong, NaN unsure, (n,).
    """
    rows = is_sampled & (pool.kind == kind)
    size = int((pool.kind == kind).sum())
    unsure = int(np.isnan(value[rows]).sum())
    answered = int(rows.sum()) - unsure
    if not answered:
        more = min(_needed(0.5, 1.0, size), size - unsure)
        return Share(unsure=unsure, more=more, of=size)
    strata = _strata_of(pool, rows, value, np.array([kind]))
    smooth = (strata.total + 0.5) / (strata.answered + 1)
    left = np.maximum(1 - strata.answered / strata.size, 0)
    variance = float((strata.weight**2 * left * smooth * (1 - smooth) / strata.answered).sum())
    share = float((strata.weight * strata.total / strata.answered).sum())
    middle = float((strata.weight * smooth).sum())
    if answered == size:
        return Share(share=share, low=share, high=share, answered=answered, of=size)
    effective = middle * (1 - middle) / variance
    low, high = score_interval(share, effective)
    design = max(answered / effective / max(1 - answered / size, 1 / size), 0.1)
    more = 0
    if (high - low) / 2 > MARGIN:
        decided = max(_needed(middle, design, size) - answered, 1)
        asked = answered + unsure
        more = min(math.ceil(decided * asked / answered), size - asked)
    return Share(
        share=share,
        low=low,
        high=high,
        answered=answered,
        unsure=unsure,
        more=more,
        of=size,
    )


def _needed(share: float, design: float, size: int) -> int:
    """Return how many answers give an interval of +-`MARGIN` in a finite population."""
    simple = design * Z**2 * share * (1 - share) / MARGIN**2
    return min(size, math.ceil(simple / (1 + simple / size)))


def _strata_of(pool: Pool, rows: np.ndarray, value: np.ndarray, kinds: np.ndarray) -> _Strata:
    """Sum up the decided answers of some kinds by stratum; a stratum without any joins the nearest
    one of its kind that has some, else of any of these kinds."""
    rows = rows & ~np.isnan(value)
    count = len(pool.kind_of_stratum)
    answered = np.bincount(pool.stratum[rows], minlength=count)
    total = np.bincount(pool.stratum[rows], value[rows], minlength=count)
    squares = np.bincount(pool.stratum[rows], value[rows] ** 2, minlength=count)
    size = np.zeros(count)
    anywhere = np.flatnonzero((answered > 0) & np.isin(pool.kind_of_stratum, kinds))
    for kind in kinds:
        own = np.flatnonzero(pool.kind_of_stratum == kind)
        known = own[answered[own] > 0] if answered[own].any() else anywhere
        for stratum in own:
            size[known[np.argmin(np.abs(known - stratum))]] += pool.in_stratum[stratum]
    used = size > 0
    mean = total[used] / answered[used]
    spread = squares[used] / answered[used] - mean**2
    return _Strata(size=size[used], answered=answered[used], total=total[used], spread=spread)


def recall(
    pool: Pool,
    is_sampled: np.ndarray,
    value: np.ndarray,
    *,
    task: str,
    missing: Sequence[float],
    images: int,
) -> Share:
    """Estimate which share of the things of a task the dataset has.

    Args:
        missing: how many things of the task are missing in each image of a random sample.
        images: the number of all images.

    Statements of the same thing count once. The interval is that of the logarithm of missing by
    found things; the number of missing things varies at least as a Poisson number does, and half a
    thing is added, so that an interval exists when none was missing.
    """
    kinds = np.array([row for row, one in enumerate(pool.kinds) if one[0] == task])
    rows = is_sampled & np.isin(pool.kind, kinds)
    is_begun = np.isin(kinds, pool.kind[rows]).all()  # without one, too few things were found
    if not len(missing) or not is_begun or not (rows & ~np.isnan(value)).any():
        return Share(of=images)
    strata = _strata_of(pool, rows, value * pool.share, kinds)
    mean = strata.total / strata.answered
    left = np.maximum(1 - strata.answered / strata.size, 0)
    found = float((strata.size * mean).sum())
    spread = np.maximum(strata.spread, 0.25 / (strata.answered + 1))
    found_variance = float((strata.size**2 * left * spread / strata.answered).sum())
    counts = np.array(missing, dtype=np.float64)
    lost = images * counts.mean()
    each = max(counts.var(ddof=1) if len(counts) > 1 else 0.0, counts.mean())
    smooth = images * (counts.sum() + 0.5) / len(counts)
    lost_variance = images**2 * max(each, 0.5 / len(counts)) / len(counts)
    lost_variance *= 1 - len(counts) / images
    if found <= 0:
        return Share(answered=len(counts), of=images)
    deviation = Z * math.sqrt(lost_variance / smooth**2 + found_variance / found**2)
    high = 1 / (1 + smooth / found * math.exp(-deviation)) if counts.any() else 1.0
    return Share(
        share=found / (found + lost),
        low=1 / (1 + smooth / found * math.exp(deviation)),
        high=max(high, found / (found + lost)),
        answered=len(counts),
        of=images,
    )


def kappa(first: Sequence[str], second: Sequence[str]) -> float | None:
    """Return Cohen's kappa (1960) of two people's answers to the same statements: 1 agree always,
    0 as often as by chance; `None` without answers, or where both gave one answer only."""
    names = sorted({*first, *second})
    if len(names) < 2:
        return None
    table = np.zeros((len(names), len(names)))
    for one, other in zip(first, second, strict=True):
        table[names.index(one), names.index(other)] += 1
    table /= table.sum()
    by_chance = float(table.sum(axis=0) @ table.sum(axis=1))
    return (float(np.trace(table)) - by_chance) / (1 - by_chance)

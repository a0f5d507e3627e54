"""Pairs of what was said and what is true, one to one, and shares of such pairs.

Knows matrices and numbers only.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


def pairs(value: np.ndarray, is_pair: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pair rows with columns, one to one: as many pairs as can be, then the highest values.

    Unlike COCO's greedy matching it does not depend on scores: a set of labels has no order.

    Args:
        value: how well each row fits each column, 0..1, (n, m).
        is_pair: which pairs are allowed, bool, (n, m).

    Returns:
        The rows and the columns of the pairs, ascending rows.
    """
    from scipy.optimize import linear_sum_assignment

    if not is_pair.any():
        nothing = np.empty(0, dtype=np.intp)
        return nothing, nothing
    # One more pair outweighs whatever its values cost.
    weight = np.where(is_pair, min(value.shape) + value, 0.0)
    rows, columns = linear_sum_assignment(weight, maximize=True)
    is_kept = is_pair[rows, columns]
    return rows[is_kept], columns[is_kept]


@dataclass(frozen=True, kw_only=True, slots=True)
class Counts:
    """How many statements were made, how many are right, and how much there was to state.

    `found` is how much of what is true was stated; by default as many as are right.
    """

    right: int = 0
    said: int = 0
    true: int = 0
    found: int | None = None

    def __add__(self, other: Counts) -> Counts:
        return Counts(
            right=self.right + other.right,
            said=self.said + other.said,
            true=self.true + other.true,
            found=self._found + other._found,
        )

    @property
    def _found(self) -> int:
        return self.right if self.found is None else self.found

    @property
    def precision(self) -> float | None:
        """Share of what was said that is right; 0 when nothing was said of something true."""
        return self.right / self.said if self.said else self._nothing()

    @property
    def recall(self) -> float | None:
        """Share of what is true that was said; `None` when nothing is true."""
        return self._found / self.true if self.true else None

    @property
    def f1(self) -> float | None:
        """Harmonic mean of precision and recall; `None` when there is nothing to measure."""
        precision, recall = self.precision, self.recall or 0.0
        if precision is None:
            return None
        return 2 * precision * recall / (precision + recall) if precision + recall else 0.0

    def _nothing(self) -> float | None:
        return 0.0 if self.true else None

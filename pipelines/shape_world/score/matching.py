"""One-to-one matching of predictions and ground truth, and precision, recall and F1 of counts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


def pairs(value: np.ndarray, is_pair: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Match rows with columns, one to one: the most pairs, and among these the highest values.

    Unlike COCO's greedy matching it does not depend on scores: the predictions are a set.

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
    # One more pair outweighs any difference in values.
    weight = np.where(is_pair, min(value.shape) + value, 0.0)
    rows, columns = linear_sum_assignment(weight, maximize=True)
    is_kept = is_pair[rows, columns]
    return rows[is_kept], columns[is_kept]


@dataclass(frozen=True, kw_only=True, slots=True)
class MatchCounts:
    """Counts of predictions: how many are `right`, of how many `predicted` and how many `true`.

    `found` is how many of the true ones were predicted; by default as many as are right.
    """

    right: int = 0
    predicted: int = 0
    true: int = 0
    found: int | None = None

    def __add__(self, other: MatchCounts) -> MatchCounts:
        return MatchCounts(
            right=self.right + other.right,
            predicted=self.predicted + other.predicted,
            true=self.true + other.true,
            found=self._found + other._found,
        )

    @property
    def _found(self) -> int:
        return self.right if self.found is None else self.found

    @property
    def precision(self) -> float | None:
        """Share of the predictions that are right; without predictions 0, or `None` if none is
        true."""
        return self.right / self.predicted if self.predicted else self._nothing()

    @property
    def recall(self) -> float | None:
        """Share of the true ones that were predicted; `None` if there are none."""
        return self._found / self.true if self.true else None

    @property
    def f1(self) -> float | None:
        """Harmonic mean of precision and recall; `None` without predictions and true ones."""
        precision, recall = self.precision, self.recall or 0.0
        if precision is None:
            return None
        return 2 * precision * recall / (precision + recall) if precision + recall else 0.0

    def _nothing(self) -> float | None:
        return 0.0 if self.true else None

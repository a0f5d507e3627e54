"""Whether confidences mean what they say: of statements with 0.8, are 80 % right?"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from pipelines.merge.learning.reliability import expected_calibration_error
from pipelines.shape_world.score.comparison import Comparison
from pipelines.shape_world.score.rightness import verdicts_on


@dataclass(frozen=True, kw_only=True, slots=True)
class ReliabilityScore:
    """`ece` is the expected calibration error, 0 at best, over `rated` annotations of a task.

    Rated is what has a confidence and is right or wrong; `right` is the share that is right.
    """

    rated: int
    right: float
    ece: float | None


@dataclass(kw_only=True, slots=True)
class ReliabilityTally:
    """Counts sample after sample."""

    _rated: dict[str, list[tuple[float, bool]]] = field(default_factory=dict)

    def add(self, comparison: Comparison) -> None:
        """Count the annotations of a sample that have a confidence."""
        sure = [one for one in comparison.annotations if one.confidence is not None]
        for one, verdict in zip(sure, verdicts_on(sure, comparison), strict=True):
            if one.confidence is not None and verdict is not None:
                self._rated.setdefault(one.task, []).append((one.confidence, verdict))

    def score(self) -> dict[str, ReliabilityScore]:
        """Return what was counted, by task; tasks without confidences are left out."""
        scores = {}
        for task, rated in sorted(self._rated.items()):
            confidence = np.array([confidence for confidence, _ in rated])
            right = np.array([is_right for _, is_right in rated])
            scores[task] = ReliabilityScore(
                rated=len(rated),
                right=float(right.mean()),
                ece=expected_calibration_error(confidence, right),
            )
        return scores

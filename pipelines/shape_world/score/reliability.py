"""The calibration of confidences: are 80 % of the annotations with confidence 0.8 right?"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from florilegium.pipelines.merge.learning.reliability import expected_calibration_error
from florilegium.pipelines.shape_world.score.comparison import SceneComparison
from florilegium.pipelines.shape_world.score.rightness import rightness_in


@dataclass(frozen=True, kw_only=True, slots=True)
class ReliabilityScore:
    """`ece` is the expected calibration error of a task, 0 at best.

    `rated` annotations have a confidence and are known to be right or wrong; `right` is the share
    that is right.
    """

    rated: int
    right: float
    ece: float | None


@dataclass(kw_only=True, slots=True)
class ReliabilityTally:
    """Counts over samples."""

    _rated: dict[str, list[tuple[float, bool]]] = field(default_factory=dict)

    def add(self, comparison: SceneComparison) -> None:
        """Add the annotations of a sample that have a confidence."""
        rated = [one for one in comparison.annotations if one.confidence is not None]
        for one, right in zip(rated, rightness_in(rated, comparison), strict=True):
            if one.confidence is not None and right is not None:
                self._rated.setdefault(one.task, []).append((one.confidence, right))

    def score(self) -> dict[str, ReliabilityScore]:
        """Return the scores by task; tasks without confidences are left out."""
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

"""Drops regions with a low score, or with a box that is useless for training.

Judges boxes (also those around quads and masks) by score, area, aspect and share inside the image;
phrases and masks by their second score (`support`), too. A row without a score is not judged by
score.
"""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, field_validator

from florilegium.engine.core.judgement import Statements, Verdicts
from florilegium.engine.core.names_among import NamesAmong
from florilegium.engine.core.stage import THRESHOLD, Filter, StageConfig, one_of
from florilegium.engine.core.tasks import PHRASE_TASKS, REGION_TASKS
from florilegium.pipelines.filters.per_task import Fraction, over_defaults
from florilegium.pipelines.filters.regions import Regions

LOW_SCORE = "low_score"
LOW_SUPPORT = "low_support"
TOO_SMALL = "too_small"
TOO_LARGE = "too_large"
EXTREME_ASPECT = "extreme_aspect"
OUTSIDE_IMAGE = "outside_image"


class RegionLimits(BaseModel):
    """Limits on the regions of one task; `None` sets no limit."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    min_score: Fraction | None = 0.25
    """Lowest score, 0..1; rows without a score pass."""
    min_support: Fraction | None = None
    """Lowest second score, 0..1: of a phrase's words, of a mask's stability; rows without one
    pass."""
    min_area: Fraction | None = 0.0001
    """Smallest area of the box inside the image, as a fraction of the image."""
    max_area: Fraction | None = None
    """Largest area of the box inside the image, as a fraction of the image."""
    max_aspect: Annotated[float, Field(ge=1)] | None = 20
    """Largest ratio of the longer side to the shorter, from 1."""
    min_inside: Fraction | None = 0.9
    """Smallest share of the box that lies inside the image, 0..1."""


DEFAULT_LIMITS = {task: RegionLimits() for task in (*REGION_TASKS, *PHRASE_TASKS)} | {
    # A word in a large photograph is tiny and a line of text is long.
    "ocr": RegionLimits(min_score=0.5, min_area=0.00001, max_aspect=None),
    "phrase_grounding": RegionLimits(min_support=0.25),
}
"""Limits of each task that the filter judges."""


class RegionScoreConfig(StageConfig):
    """Options of `RegionScore`."""

    tasks: Annotated[dict[str, RegionLimits], THRESHOLD, NamesAmong(DEFAULT_LIMITS)] = (
        DEFAULT_LIMITS
    )
    """Limits per task; those that a config omits keep the task's default."""
    specialists: Annotated[dict[str, Fraction], THRESHOLD] = Field(default={})
    """Lowest score per specialist, 0..1; it replaces `min_score` of the task."""

    @field_validator("tasks", mode="before")
    @classmethod
    def _over_defaults(cls, given: Any) -> Any:
        return over_defaults(given, DEFAULT_LIMITS)


class RegionScore(Filter[RegionScoreConfig]):
    """Judge regions and phrases by score, support, area, aspect and share inside the image."""

    Config = RegionScoreConfig
    judges_by = "annotation"
    reads = (one_of(*DEFAULT_LIMITS),)

    def judge(self, statements: Statements) -> Verdicts:
        """Judge the rows that have a score or a region."""
        verdicts = Verdicts(len(statements))
        area, aspect, inside = _shape(Regions(statements).box_xyxy, statements.image_wh)
        specialist, support = statements.texts("specialist"), statements.support
        for task, limits in self.config.tasks.items():
            of_task = statements.of_tasks([task])
            with_box = of_task & ~np.isnan(inside)
            min_score = self._min_score(specialist, limits.min_score)
            verdicts.is_judged |= of_task & ~(np.isnan(statements.score) & np.isnan(support))
            verdicts.measure("area", area, with_box)
            verdicts.measure("aspect", aspect, with_box)
            verdicts.measure("inside", inside, with_box)
            verdicts.drop(of_task & (statements.score < min_score), LOW_SCORE)
            verdicts.drop(of_task & (support < _low(limits.min_support)), LOW_SUPPORT)
            verdicts.drop(with_box & (inside < _low(limits.min_inside)), OUTSIDE_IMAGE)
            verdicts.drop(with_box & (area < _low(limits.min_area)), TOO_SMALL)
            verdicts.drop(with_box & (area > _high(limits.max_area)), TOO_LARGE)
            verdicts.drop(with_box & (aspect > _high(limits.max_aspect)), EXTREME_ASPECT)
        return verdicts

    def _min_score(self, specialist: np.ndarray, default: float | None) -> np.ndarray:
        """Return each row's lowest score: its specialist's, else its task's."""
        least = np.full(len(specialist), _low(default))
        for name, score in self.config.specialists.items():
            least[specialist == name] = score
        return least


def _shape(boxes: np.ndarray, image_wh: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return area inside the image over that of the image, aspect, and share inside, each (n,).

    A box without a side has aspect infinity and no share inside.
    """
    size = boxes[:, 2:] - boxes[:, :2]
    visible = np.minimum(boxes[:, 2:], image_wh) - np.maximum(boxes[:, :2], 0)
    visible_area = np.maximum(visible, 0).prod(axis=1)
    longer, shorter = size.max(axis=1), size.min(axis=1)
    has_area = shorter > 0
    aspect = np.divide(longer, shorter, out=np.full(len(size), np.inf), where=has_area)
    inside = visible_area / np.where(has_area, size.prod(axis=1), np.inf)
    return visible_area / image_wh.prod(axis=1), aspect, inside


def _low(limit: float | None) -> float:
    return -np.inf if limit is None else limit


def _high(limit: float | None) -> float:
    return np.inf if limit is None else limit

"""What people say outranks: drops what they changed or rejected, and what duplicates their own.

It has to stand before all other filters: what people made or confirmed is settled, so that none
drops it. What they did not look at is left to the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar

import numpy as np
from pycocotools import mask as coco_mask
from pydantic import Field

from florilegium.engine.core.annotation import Annotation
from florilegium.engine.core.judgement import Statements, Verdicts
from florilegium.engine.core.rows import Measurement
from florilegium.engine.core.sample import Sample
from florilegium.engine.core.stage import THRESHOLD, Filter, StageConfig, maybe
from florilegium.engine.core.tasks import CAPTION_TASKS, TASKS
from florilegium.pipelines.corrections.human import PEOPLE, Corrections, CorrectionsConfig
from florilegium.pipelines.corrections.in_force import CERTAIN, InForce
from florilegium.specialists.regions.likeness import alike
from florilegium.specialists.regions.overlap import box_overlap

CORRECTED = "corrected"
REJECTED = "rejected_by_human"
SUPERSEDED = "superseded_by_human"
CONFIRMED, REPLACEMENT, WRONG = "confirmed", "replacement", "rejected"


class HumanFirstConfig(CorrectionsConfig):
    """Options of `HumanFirst`."""

    human: str = "human"
    """Name of the specialist with the annotations of people."""
    iou: Annotated[float, THRESHOLD, Field(gt=0, le=1)] = 0.5
    """Intersection over union from which on a region of the same task duplicates one of a person,
    0..1, whatever its label."""


class HumanFirst(Filter[HumanFirstConfig]):
    """Keep what people made or confirmed, and drop what they found wrong.

    Measured is what a person found: `confirmed` 1, `rejected` 1, or as `replacement` which of the
    person's annotations of the image, from 1, stands for it. Of annotations that no person saw,
    those are dropped that say the same about nearly the same region as one that was found wrong, or
    whose region a person drew: of captions and other texts all of the task, of tags the same tag.
    """

    Config: ClassVar[type[StageConfig]] = HumanFirstConfig
    is_of_people: ClassVar[bool] = True
    reads = (maybe(*TASKS),)
    measured = (CONFIRMED, REPLACEMENT, WRONG)

    def __init__(self, config: HumanFirstConfig) -> None:
        super().__init__(config)
        self._corrections = Corrections(config.corrections)
        self.required_stages = {config.human: ()}

    @property
    def model(self) -> str:
        return PEOPLE

    def revision(self) -> str:
        """Name the corrections by their digest."""
        return self._corrections.digest

    def measure(self, samples: Sequence[Sample]) -> list[list[Measurement]]:
        """Look up what people found."""
        return [self._found(sample) for sample in samples]

    def _found(self, sample: Sample) -> list[Measurement]:
        force = self._corrections.of(sample.sha256)
        if not force.corrections:
            return []
        annotations = sample.known
        unseen = [one for one in annotations if not _finding(force, one.id)]
        is_wrong = alike(unseen, force.wrong) & ~alike(unseen, force.right)
        wrong = {one.id for one, is_so in zip(unseen, is_wrong.tolist(), strict=True) if is_so}
        found = {one.id: _finding(force, one.id) or _wrong(one, wrong) for one in annotations}
        return [Measurement(name, values) for name, values in found.items() if values]

    def judge(self, statements: Statements) -> Verdicts:
        """Settle what is of people, drop what is wrong or duplicates it."""
        verdicts = Verdicts(len(statements))
        confirmed, replacement, wrong = (
            statements.measurements.get(name, np.full(len(statements), np.nan))
            for name in self.measured
        )
        is_own = statements.is_live & (statements.texts("specialist") == self.config.human)
        is_confirmed = statements.is_live & (confirmed == 1)
        for name, values in statements.measurements.items():
            verdicts.measure(name, values, statements.is_live & ~np.isnan(values))
        verdicts.settle(is_own | is_confirmed, CERTAIN)
        verdicts.drop(statements.is_live & ~is_own & ~np.isnan(replacement), CORRECTED)
        verdicts.drop(statements.is_live & ~is_own & (wrong == 1), REJECTED)
        rivals = statements.is_live & ~is_own & ~is_confirmed & ~verdicts.is_dropped
        verdicts.drop(rivals & _is_rival(statements, is_own, rivals, self.config.iou), SUPERSEDED)
        _name_replaced(verdicts, statements, is_own, replacement)
        return verdicts


def _finding(force: InForce, name: str) -> dict[str, float]:
    if name in force.replaced:
        return {REPLACEMENT: float(force.replaced[name] + 1)}
    if name in force.rejected:
        return {WRONG: 1.0}
    return {CONFIRMED: 1.0} if name in force.confirmed else {}


def _wrong(one: Annotation, wrong: set[str]) -> dict[str, float]:
    return {WRONG: 1.0} if one.id in wrong else {}


def _is_rival(
    statements: Statements, is_own: np.ndarray, rivals: np.ndarray, iou: float
) -> np.ndarray:
    """Return which of the rows `rivals` are about what a person annotated, bool, shape (n,)."""
    found = np.zeros(len(statements), dtype=bool)
    if not is_own.any():
        return found
    boxes_xyxy = _boxes(statements, np.isin(statements.sample, statements.sample[is_own]))
    has_box = ~np.isnan(boxes_xyxy[:, 0])
    words = [text or label for text, label in zip(*map(statements.texts, _WORDS), strict=True)]
    for row in np.flatnonzero(is_own):
        other = np.flatnonzero(
            rivals
            & (statements.sample == statements.sample[row])
            & (statements.task == statements.task[row])
            & (has_box == has_box[row])
        )
        if has_box[row]:
            overlap, _ = box_overlap(boxes_xyxy[[row]], boxes_xyxy[other])
            found[other[overlap[0] >= iou]] = True
        elif statements.task[row] in CAPTION_TASKS:
            found[other] = True
        else:
            found[[one for one in other if words[one] == words[row]]] = True
    return found


_WORDS = ("text", "label")


def _boxes(statements: Statements, where: np.ndarray) -> np.ndarray:
    """Return boxes as `Statements` has them, and those around masks without a box, (n, 4)."""
    boxes = statements.box_xyxy.copy()
    has_mask = statements.table.column("mask_rle").is_valid().to_numpy()
    for row in np.flatnonzero(where & has_mask & np.isnan(boxes[:, 0])):
        mask = statements.masks[row]
        assert mask is not None
        left, top, width, height = coco_mask.toBbox(mask._asdict()).tolist()
        boxes[row] = left, top, left + width, top + height
    return boxes


def _name_replaced(
    verdicts: Verdicts, statements: Statements, is_own: np.ndarray, replacement: np.ndarray
) -> None:
    """Record in `merged_from` of each annotation of a person what it replaces."""
    own: dict[int, list[int]] = {}
    for row in np.flatnonzero(is_own).tolist():
        own.setdefault(int(statements.sample[row]), []).append(row)
    for row in np.flatnonzero(~np.isnan(replacement) & statements.is_live & ~is_own).tolist():
        of_sample = own.get(int(statements.sample[row]), [])
        place = int(replacement[row]) - 1
        if place < len(of_sample):
            verdicts.merge(of_sample[place], row)

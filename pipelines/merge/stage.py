"""A stage that listens to other stages and says what they say together.

Reads the voters' annotations and no pixel. By which rule it decides is an option; what each
voter's word is worth comes from a calibration.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field, field_validator, model_validator

from engine.annotation import CAPTION_TASKS, PHRASE_TASKS, Annotation
from engine.errors import SampleError, nearest
from engine.sample import Sample
from engine.stage import RUNTIME, Input, Specialist, StageConfig, maybe, one_of
from pipelines.calibration.calibration import Calibration, TaskCalibration, read_calibration
from pipelines.merge import rules
from pipelines.merge.candidates import BOX_TASKS, MASK_TASKS, candidates_of
from pipelines.merge.captions import chosen_caption
from pipelines.merge.hypotheses import Hypotheses, hypotheses_of, weights_of
from pipelines.merge.statement import merged

Rule = Literal["calibrated_fusion", "agreement", "union", "replace"]

MERGED_TASKS = (*CAPTION_TASKS, *BOX_TASKS, *MASK_TASKS, "ocr", *PHRASE_TASKS)
"""Tasks that can be merged."""
UNKNOWN_VOTER = "unknown_voter"

_MADE_FROM = {
    **dict.fromkeys(CAPTION_TASKS, ("object_detection",)),
    **dict.fromkeys(PHRASE_TASKS, CAPTION_TASKS),
    "segmentation": ("object_detection",),
    "referring_segmentation": PHRASE_TASKS,
}
"""What annotations of a task are made from, so that parents are known."""


class MergeConfig(StageConfig):
    """What is merged, by which rule."""

    batch_size: Annotated[int, RUNTIME, Field(ge=1)] = 256
    """Images handed to the stage at once."""
    rule: Rule = "calibrated_fusion"
    """`calibrated_fusion`: what is probably right by the audit; without a calibration, `agreement`.
    `agreement`: what `min_votes` voters say. `union`: what anybody says. `replace`: what the
    `student` says."""
    tasks: tuple[str, ...] = MERGED_TASKS
    """Tasks that are merged."""
    calibration: Annotated[str, RUNTIME] = ""
    """Path of a calibration, JSON; empty: none. Its digest is the stage's revision, so only what
    it says counts, not where it lies."""
    student: str = ""
    """Name of the voter that `replace` believes."""
    iou: float = Field(default=0.5, gt=0, le=1)
    """Intersection over union from which on two regions may mean one thing, 0..1."""
    apart: float = Field(default=0.5, gt=0, le=1)
    """Intersection over union from which on two merged regions are one too many, 0..1."""
    min_votes: int = Field(default=2, ge=1)
    """Voters that must agree, under the rule `agreement`."""
    least_confidence: float | None = Field(default=None, ge=0, le=1)
    """Probability below which nothing is said, 0..1; by default the calibration's, per task."""

    @field_validator("tasks")
    @classmethod
    def _can_be_merged(cls, tasks: tuple[str, ...]) -> tuple[str, ...]:
        for task in tasks:
            if task not in MERGED_TASKS:
                raise ValueError(f"{task!r} cannot be merged, {nearest(task, MERGED_TASKS)}")
        if not tasks:
            raise ValueError("name at least one task to merge")
        return tasks

    @model_validator(mode="after")
    def _student_is_named(self) -> MergeConfig:
        if self.rule == "replace" and not self.student:
            raise ValueError("the rule `replace` needs `student`, the name of a voter")
        return self


class Merge(Specialist[MergeConfig]):
    """Merges what its voters say: every stage that it reads and that says one of its tasks.

    Regions that overlap are one statement, placed at the mean of its voters and called what they
    say most credibly; of captions one is chosen. `merged_from` names all voters of a statement,
    `confidence` is the calibrated probability that it is right (`None` without calibration),
    `score` the mean of the scores of those who agree.
    """

    Config: ClassVar[type[StageConfig]] = MergeConfig
    reads: tuple[Input, ...] = (one_of(*MERGED_TASKS),)
    produces: tuple[str, ...] = MERGED_TASKS

    def __init__(self, config: MergeConfig) -> None:
        super().__init__(config)
        self.produces = config.tasks
        parents = {parent for task in config.tasks for parent in _MADE_FROM.get(task, ())}
        others = sorted(parents - set(config.tasks))
        self.reads = (one_of(*config.tasks), *([maybe(*others)] if others else []))
        # Read here, not in `load`: a worker on another machine may not have the file.
        self._calibration: Calibration | None = None
        if config.calibration:
            self._calibration = read_calibration(config.calibration)

    @property
    def model(self) -> str:
        """The rule."""
        return self.config.rule

    def revision(self) -> str:
        """Name the calibration by its digest."""
        return self._calibration.digest if self._calibration else ""

    def predict(self, samples: Sequence[Sample]) -> list[list[Annotation]]:
        """Merge the voters' annotations of each sample, task by task."""
        return [self._merged(sample) for sample in samples]

    def _merged(self, sample: Sample) -> list[Annotation]:
        said: list[Annotation] = []
        for task in self.config.tasks:
            voters = self._voters(sample, task)
            if self.config.rule == "replace":
                said += _repeated(sample, task, self.config.student)
            elif task in CAPTION_TASKS:
                names = self._calibration.names if self._calibration else ()
                objects = _objects(sample, said)
                said += chosen_caption(sample, task, objects, self._calibrated(task), names)
            else:
                said += self._merged_regions(sample, task, voters)
        return said

    def _voters(self, sample: Sample, task: str) -> tuple[str, ...]:
        """Return everybody who may speak; those of the calibration, if there is one.

        Raises:
            SampleError: somebody spoke whom the calibration does not know.
        """
        speakers = {one.specialist: None for one in sample.of(task)}
        if self._calibration is None or self._calibrated(task) is None:
            return tuple(speakers)
        for name in speakers:
            if name not in self._calibration.voters:
                raise SampleError(
                    UNKNOWN_VOTER,
                    f"the calibration does not know the voter {name!r}, "
                    f"{nearest(name, self._calibration.voters)} Fit it again with all voters, or "
                    f"name those it knows in `reads`",
                )
        return self._calibration.voters

    def _calibrated(self, task: str) -> TaskCalibration | None:
        return self._calibration.tasks.get(task) if self._calibration else None

    def _merged_regions(
        self, sample: Sample, task: str, voters: tuple[str, ...]
    ) -> list[Annotation]:
        calibration = self._calibrated(task)
        candidates = candidates_of(sample.annotations, task, voters).trusted(calibration)
        if not len(candidates):
            return []
        hypotheses = hypotheses_of(candidates, iou=self.config.iou, calibration=calibration)
        choice = self._choice(hypotheses, calibration, (sample.width, sample.height))
        weight = weights_of(voters, calibration)
        return [
            _statement(hypotheses, row, confidence, weight)
            for row, confidence in zip(choice.row.tolist(), choice.confidence, strict=True)
        ]

    def _choice(
        self,
        hypotheses: Hypotheses,
        calibration: TaskCalibration | None,
        size_wh: tuple[int, int],
    ) -> rules.Choice:
        config = self.config
        if config.rule == "union":
            return rules.union(hypotheses, apart=config.apart)
        if config.rule == "agreement" or calibration is None or calibration.fusion is None:
            return rules.agreement(hypotheses, min_votes=config.min_votes, apart=config.apart)
        least = config.least_confidence
        return rules.calibrated_fusion(
            hypotheses,
            calibration,
            size_wh=size_wh,
            least_confidence=calibration.least_confidence if least is None else least,
            apart=config.apart,
        )


def _statement(
    hypotheses: Hypotheses, row: int, confidence: float, weight: np.ndarray
) -> Annotation:
    annotations = hypotheses.candidates.annotations
    is_present = hypotheses.is_present[row]
    return merged(
        [annotations[place] for place in hypotheses.member[row, is_present]],
        annotations[hypotheses.leader[row]],
        weight=weight[is_present],
        agreement=hypotheses.agreement[row, is_present],
        confidence=confidence,
        box_xyxy=hypotheses.box_xyxy[row],
    )


def _repeated(sample: Sample, task: str, student: str) -> list[Annotation]:
    """Return what the student says, as it says it."""
    return [
        replace(one, id="", merged_from=(one.id,))
        for one in sample.of(task)
        if one.specialist == student
    ]


def _objects(sample: Sample, said: Sequence[Annotation]) -> list[Annotation]:
    """Return the objects of the image: as just merged, else as heard."""
    now = [one for one in said if one.task == "object_detection"]
    return now or list(sample.of("object_detection"))

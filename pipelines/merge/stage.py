"""A stage that listens to other stages and says what they say together.

Reads the voters' annotations and no pixel. By which rule it decides is an option; what each
voter's word is worth comes from a calibration.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Annotated, ClassVar

from pydantic import Field, field_validator, model_validator

from engine.core.annotation import Annotation
from engine.core.errors import ConfigError, nearest
from engine.core.sample import Sample
from engine.core.stage import RUNTIME, Input, Specialist, StageConfig, maybe, one_of
from engine.core.tasks import CAPTION_TASKS, PHRASE_TASKS
from pipelines.merge.calibration import Calibration, TaskCalibration, read_calibration
from pipelines.merge.candidates import BOX_TASKS, Candidates, candidates_of
from pipelines.merge.captions import moved
from pipelines.merge.rules import AGREEMENT, Case, Rule, RuleOptions, find_rule
from specialists.words.instructions import count_instructions

MERGED_TASKS = (
    *BOX_TASKS,
    *CAPTION_TASKS,
    "ocr",
    "segmentation",
    *PHRASE_TASKS,
    "referring_segmentation",
)
"""Tasks that can be merged, each after those that its annotations are made from."""

_MADE_FROM = {
    **dict.fromkeys(CAPTION_TASKS, ("object_detection",)),
    **dict.fromkeys(PHRASE_TASKS, CAPTION_TASKS),
    "segmentation": ("object_detection",),
    "referring_segmentation": PHRASE_TASKS,
}
"""What annotations of a task are made from, so that parents are known."""


class MergeConfig(RuleOptions, StageConfig):
    """What is merged, by which rule."""

    batch_size: Annotated[int, RUNTIME, Field(ge=1)] = 256
    """Images handed to the stage at once."""
    rule: str = "calibrated_fusion"
    """`calibrated_fusion`: what is probably right by the audit; where that does not suffice,
    `agreement`.
    `agreement`: what `min_votes` voters say. `union`: what any voter says. `replace`: what the
    `student` says. Plugins may add others."""
    tasks: tuple[str, ...] = MERGED_TASKS
    """Tasks that are merged."""
    calibration: Annotated[str, RUNTIME] = ""
    """Path of a calibration, JSON; empty: none. Its digest is the stage's revision, so only what
    it says counts, not where it lies."""

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
    def _has_what_its_rule_needs(self) -> MergeConfig:
        try:
            find_rule(self.rule)(self)
        except ConfigError as error:
            raise ValueError(str(error)) from error
        return self


class Merge(Specialist[MergeConfig]):
    """Merges what its voters say: every stage that it reads and that says one of its tasks.

    Regions that overlap are one statement, placed at the mean of its voters and called what they
    say most credibly; of captions one is chosen. `merged_from` names all voters of a statement,
    `confidence` is the calibrated probability that it is right (`None` without calibration),
    `score` the mean of the scores of those who agree.
    """

    Config: ClassVar[type[StageConfig]] = MergeConfig
    needs: ClassVar[tuple[str, ...]] = ("rapidfuzz",)
    extra: ClassVar[str] = "refine"
    version: ClassVar[int] = 5
    reads: tuple[Input, ...] = (one_of(*MERGED_TASKS),)
    produces: tuple[str, ...] = MERGED_TASKS

    def __init__(self, config: MergeConfig) -> None:
        super().__init__(config)
        self.produces = tuple(task for task in MERGED_TASKS if task in config.tasks)
        parents = {parent for task in self.produces for parent in _MADE_FROM.get(task, ())}
        others = sorted(parents - set(self.produces))
        self.reads = (one_of(*self.produces), *([maybe(*others)] if others else []))
        # Read here, not in `load`: a worker on another machine may not have the file.
        self._calibration: Calibration | None = None
        if config.calibration:
            self._calibration = read_calibration(config.calibration)
        self.rule: Rule = find_rule(config.rule)(config)
        self._without_calibration: Rule = find_rule(AGREEMENT)(config)

    @property
    def model(self) -> str:
        """The rule; `agreement` where it needs a calibration and has none."""
        is_missing = self.rule.needs_calibration and self._calibration is None
        return AGREEMENT if is_missing else self.config.rule

    def revision(self) -> str:
        """Name the calibration by its digest."""
        return self._calibration.digest if self._calibration else ""

    def predict(self, samples: Sequence[Sample]) -> list[list[Annotation]]:
        """Merge the voters' annotations of each sample, task by task.

        Raises:
            ConfigError: somebody speaks whom the calibration does not know.
        """
        return [self._merged(sample) for sample in samples]

    def _merged(self, sample: Sample) -> list[Annotation]:
        said: list[Annotation] = []
        by_id = {one.id: one for one in sample.annotations}
        merged_into: dict[str, Annotation] = {}
        for task in self.produces:
            # What was made from a voter's annotation is now made from what that became.
            heard = [
                moved(one, by_id[one.parent_id], merged_into[one.parent_id])
                if one.parent_id in merged_into
                else one
                for one in sample.of(task)
            ]
            for statement in self._merged_task(sample, task, heard, said):
                named = replace(statement, id=f"{len(said)}")
                merged_into.update(dict.fromkeys(named.merged_from, named))
                said.append(named)
        known = {one.id for one in (*sample.annotations, *said)}
        return [_with_known_parent(one, known) for one in said]

    def _merged_task(
        self, sample: Sample, task: str, heard: Sequence[Annotation], said: Sequence[Annotation]
    ) -> list[Annotation]:
        calibration = self._calibration.tasks.get(task) if self._calibration else None
        voters = self._voters(heard, calibration)
        if task in CAPTION_TASKS:  # what tells its reader what to do is no caption, whoever says it
            heard = [one for one in heard if not count_instructions(one.text)]
        candidates = candidates_of(heard, task, voters).trusted(calibration)
        case = Case(
            candidates=candidates,
            size_wh=(sample.width, sample.height),
            calibration=calibration,
            has_one_voter=_has_one_voter(candidates, sample.upstream),
            objects=tuple(_objects(sample, said)) if task in CAPTION_TASKS else (),
            names=self._calibration.names if self._calibration else (),
        )
        is_fused = calibration is not None and calibration.fusion is not None
        can_decide = is_fused or not self.rule.needs_calibration
        return (self.rule if can_decide else self._without_calibration).merge(case)

    def _voters(
        self, heard: Sequence[Annotation], calibration: TaskCalibration | None
    ) -> tuple[str, ...]:
        """Return everybody who may speak; those of the calibration, if there is one."""
        speakers = tuple(dict.fromkeys(one.specialist for one in heard))
        if calibration is None:
            return speakers
        voters = tuple(sorted(calibration.voters))
        for name in speakers:
            if name not in calibration.voters:
                raise ConfigError(
                    f"the calibration {self.config.calibration} does not know the voter {name!r}, "
                    f"{nearest(name, voters)} Fit it again with all voters, or name in `reads` "
                    f"only those it knows"
                )
        return voters


def _has_one_voter(candidates: Candidates, upstream: Mapping[str, frozenset[str]]) -> bool:
    """Whether a task has a single voter in the whole run, which no other can agree with.

    A voter that is only alone in this image is something else.
    """
    voters = {name for name, tasks in upstream.items() if candidates.task in tasks}
    return len(voters) == 1 and {one.specialist for one in candidates.annotations} == voters


def _with_known_parent(annotation: Annotation, known: set[str]) -> Annotation:
    """Forget a parent that the stage did not hear; a phrase cannot do without its caption."""
    if not annotation.parent_id or annotation.parent_id in known:
        return annotation
    if annotation.kind == "phrase":
        raise ConfigError(
            f"merged phrases lack their caption {annotation.parent_id!r}: name the stage that "
            f"says it in `reads` too"
        )
    return replace(annotation, parent_id="")


def _objects(sample: Sample, said: Sequence[Annotation]) -> list[Annotation]:
    """Return the objects of the image: as just merged, else as merged before, else as heard.

    What a thing's voters say of it beside its merged statement would count it several times.
    """
    now = [one for one in said if one.task == "object_detection"]
    heard = list(sample.of("object_detection"))
    return now or [one for one in heard if one.merged_from] or heard

"""A stage that merges the annotations of other stages, its voters.

It reads annotations and no pixels. The rule is an option; the trust in each voter comes from a
calibration.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Annotated, ClassVar

from pydantic import Field, field_validator, model_validator

from florilegium.engine.core.annotation import Annotation
from florilegium.engine.core.errors import ConfigError, nearest
from florilegium.engine.core.names_among import NamesAmong
from florilegium.engine.core.sample import Sample
from florilegium.engine.core.stage import (
    CONTENT,
    RUNTIME,
    Input,
    Specialist,
    StageConfig,
    maybe,
    one_of,
)
from florilegium.engine.core.tasks import CAPTION_TASKS, PHRASE_TASKS
from florilegium.pipelines.merge.calibration import Calibration, TaskCalibration, read_calibration
from florilegium.pipelines.merge.candidates import BOX_TASKS, Candidates, candidates_of
from florilegium.pipelines.merge.captions import moved
from florilegium.pipelines.merge.rules import AGREEMENT_RULE, Case, Rule, RuleOptions, find_rule
from florilegium.pipelines.merge.source_labels import labels_among
from florilegium.specialists.words.instructions import count_instructions

MERGED_TASKS = (
    *BOX_TASKS,
    *CAPTION_TASKS,
    "ocr",
    "segmentation",
    *PHRASE_TASKS,
    "referring_segmentation",
)
"""Tasks that can be merged, each after the tasks of its parents."""

_PARENT_TASKS = {
    **dict.fromkeys(CAPTION_TASKS, ("object_detection",)),
    **dict.fromkeys(PHRASE_TASKS, CAPTION_TASKS),
    "segmentation": ("object_detection",),
    "referring_segmentation": PHRASE_TASKS,
}
"""The tasks whose annotations are parents of a task's annotations."""


class MergeConfig(RuleOptions, StageConfig):
    """Options of `Merge`."""

    batch_size: Annotated[int, RUNTIME, Field(ge=1)] = 256
    """Images per call of the stage."""
    rule: str = "calibrated_fusion"
    """`calibrated_fusion`: what is probably right by the audit; where that is too small,
    `agreement`.
    `agreement`: what `min_votes` voters agree on. `union`: the annotations of all voters.
    `replace`: those of the `student`. Plugins may add others."""
    tasks: Annotated[tuple[str, ...], NamesAmong(MERGED_TASKS)] = MERGED_TASKS
    """Tasks that are merged."""
    calibration: Annotated[str, CONTENT] = ""
    """Path of a calibration, JSON; empty: none. Its digest is the stage's revision, so only its
    content counts, not its path."""
    source_first: bool = True
    """Whether labels of the source stay as they are, and machine annotations of the same thing
    become part of them, whatever the rule; otherwise the source is one more voter."""

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
    """Merges the annotations of its voters: the stages in `reads` that produce one of its tasks.

    Regions that overlap become one annotation, with the mean box and the most probable text; of
    captions one is chosen. `merged_from` has the annotations that were merged, `confidence` is the
    calibrated probability that it is right (`None` without calibration), `score` the mean score of
    the voters that agree. A label of the source keeps its region, its words and its score, which is
    mostly none, and has no confidence.
    """

    Config: ClassVar[type[StageConfig]] = MergeConfig
    needs: ClassVar[tuple[str, ...]] = ("rapidfuzz",)
    extra: ClassVar[str] = "refine"
    version: ClassVar[int] = 7
    reads: tuple[Input, ...] = (one_of(*MERGED_TASKS),)
    produces: tuple[str, ...] = MERGED_TASKS

    def __init__(self, config: MergeConfig) -> None:
        super().__init__(config)
        self.produces = tuple(task for task in MERGED_TASKS if task in config.tasks)
        parents = {parent for task in self.produces for parent in _PARENT_TASKS.get(task, ())}
        others = sorted(parents - set(self.produces))
        self.reads = (one_of(*self.produces), *([maybe(*others)] if others else []))
        # Read here, not in `load`: a worker on another machine may not have the file.
        self._calibration: Calibration | None = None
        if config.calibration:
            self._calibration = read_calibration(config.calibration)
        self.rule: Rule = find_rule(config.rule)(config)
        self._without_calibration: Rule = find_rule(AGREEMENT_RULE)(config)

    @property
    def model(self) -> str:
        """The rule; `agreement` where it needs a calibration and has none."""
        is_missing = self.rule.needs_calibration and self._calibration is None
        return AGREEMENT_RULE if is_missing else self.config.rule

    def revision(self) -> str:
        """Name the calibration by its digest."""
        return self._calibration.digest if self._calibration else ""

    def predict(self, samples: Sequence[Sample]) -> list[list[Annotation]]:
        """Merge the voters' annotations of each sample, task by task.

        Raises:
            ConfigError: an annotation is of a voter that the calibration does not have.
        """
        return [self._merged(sample) for sample in samples]

    def _merged(self, sample: Sample) -> list[Annotation]:
        merged: list[Annotation] = []
        by_id = {one.id: one for one in sample.annotations}
        merged_into: dict[str, Annotation] = {}
        for task in self.produces:
            # A child of an annotation becomes a child of what that was merged into.
            found = [
                moved(one, by_id[one.parent_id], merged_into[one.parent_id])
                if one.parent_id in merged_into
                else one
                for one in sample.of(task)
            ]
            for statement in self._merged_task(sample, task, found, merged):
                named = replace(statement, id=f"{len(merged)}")
                merged_into.update(dict.fromkeys(named.merged_from, named))
                merged.append(named)
        known = {one.id for one in (*sample.annotations, *merged)}
        return [_with_known_parent(one, known) for one in merged]

    def _merged_task(
        self, sample: Sample, task: str, found: Sequence[Annotation], merged: Sequence[Annotation]
    ) -> list[Annotation]:
        if task in CAPTION_TASKS:
            found = [one for one in found if _is_caption(one)]
        if not self.config.source_first:
            return self._by_rule(sample, task, found, merged)
        labels = labels_among(found, task, self.config.iou)
        others = self._by_rule(sample, task, labels.others, merged)
        return [*labels.kept, *labels.without_rivals(others, self.config.apart)]

    def _by_rule(
        self, sample: Sample, task: str, found: Sequence[Annotation], merged: Sequence[Annotation]
    ) -> list[Annotation]:
        calibration = self._calibration.tasks.get(task) if self._calibration else None
        voters = self._voters(found, calibration)
        candidates = candidates_of(found, task, voters).trusted(calibration)
        case = Case(
            candidates=candidates,
            size_wh=(sample.width, sample.height),
            calibration=calibration,
            has_one_voter=_has_one_voter(candidates, sample.upstream),
            objects=tuple(_objects(sample, merged)) if task in CAPTION_TASKS else (),
            names=self._calibration.names if self._calibration else (),
        )
        is_fused = calibration is not None and calibration.fusion is not None
        can_decide = is_fused or not self.rule.needs_calibration
        return (self.rule if can_decide else self._without_calibration).merge(case)

    def _voters(
        self, found: Sequence[Annotation], calibration: TaskCalibration | None
    ) -> tuple[str, ...]:
        """Return the voters: those of the calibration, else those of the annotations."""
        specialists = tuple(dict.fromkeys(one.specialist for one in found))
        if calibration is None:
            return specialists
        voters = tuple(sorted(calibration.voters))
        for name in specialists:
            if name not in calibration.voters:
                raise ConfigError(
                    f"the calibration {self.config.calibration} does not know the voter {name!r}, "
                    f"{nearest(name, voters)} Fit it again with all voters, or name in `reads` "
                    f"only those it knows"
                )
        return voters


def _is_caption(annotation: Annotation) -> bool:
    """Whether a text is a caption: not one with instructions to its reader, nor a sentence that was
    taken out of its caption because nothing supports it (`llm_merge`)."""
    return not annotation.parent_id and not count_instructions(annotation.text)


def _has_one_voter(candidates: Candidates, upstream: Mapping[str, frozenset[str]]) -> bool:
    """Whether a task has a single voter in the whole run, so that no other can agree with it.

    It is not enough that only one voter has annotations in this image.
    """
    voters = {name for name, tasks in upstream.items() if candidates.task in tasks}
    return len(voters) == 1 and {one.specialist for one in candidates.annotations} == voters


def _with_known_parent(annotation: Annotation, known: set[str]) -> Annotation:
    """Remove a parent that is not among the known ids; a phrase needs its caption.

    Raises:
        ConfigError: the caption of a phrase is not known.
    """
    if not annotation.parent_id or annotation.parent_id in known:
        return annotation
    if annotation.kind == "phrase":
        raise ConfigError(
            f"merged phrases lack their caption {annotation.parent_id!r}: name the stage that "
            f"writes it in `reads` too"
        )
    return replace(annotation, parent_id="")


def _objects(sample: Sample, merged: Sequence[Annotation]) -> list[Annotation]:
    """Return the objects of the image: just merged, else merged by an earlier stage, else all.

    Merged and original annotations together would count an object several times.
    """
    just_merged = [one for one in merged if one.task == "object_detection"]
    found = list(sample.of("object_detection"))
    return just_merged or [one for one in found if one.merged_from] or found

"""Options of the stage `florence2`."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, field_validator, model_validator

from florilegium.engine.core.errors import nearest
from florilegium.engine.core.names_among import NamesAmong
from florilegium.engine.core.stage import CONTENT
from florilegium.specialists.florence2.format import FLORENCE2_TASKS, clean
from florilegium.specialists.florence2.mirror import MIRRORED_TASKS
from florilegium.specialists.pretrained.config import LoadingConfig


class Florence2Config(LoadingConfig):
    """Options of `florence2`: weights, tasks, search."""

    model: Annotated[str | tuple[str, ...], CONTENT] = (
        "package://florilegium/specialists/tiny_florence2"
    )
    """A folder, `package://NAME/FOLDER` or a hub id, such as `florence-community/Florence-2-base`.
    A list is for cross-fitting: a sample of fold i (`fold_of`) is labelled by the i-th model, which
    was trained on the other folds. The digest of the weights counts, not their path."""
    tasks: Annotated[tuple[str, ...], NamesAmong(FLORENCE2_TASKS)] = Field(
        default=("object_detection",), min_length=1
    )
    """Names of the tasks, from `caption` to `region_ocr`. Tasks about captions, phrases or boxes
    read them from other stages, or from this one if it produces them."""
    queries: tuple[str, ...] = ()
    """Names for `open_vocabulary_detection`, on every image."""
    queries_at_once: int = Field(default=8, ge=1)
    """Names in one prompt; more are faster, fewer are easier for the model."""
    mirrored: bool = False
    """Run on the mirrored image, and mirror the results back: a second opinion of the same
    model."""
    language: str = "en"
    """Language of the captions, ISO 639-1; empty if unknown."""
    beams: int = Field(default=1, ge=1)
    """Number of beams; 1 is greedy search. The model card asks with 3. That takes the tiny student
    1.8 times as long for nearly the same answers: its F1 of boxes in drawn scenes is .961 with
    both in easy ones, .717 and .725 in full ones. A score is the probability of an answer's tokens
    with any number of beams."""
    max_new_tokens: int = Field(default=1024, ge=1)
    """Maximum tokens of an answer; limited by the positions of the checkpoint."""
    least_score: float = Field(default=0.0, ge=0, le=1)
    """Minimum score of an annotation, 0..1."""

    @property
    def models(self) -> tuple[str, ...]:
        """One model, or one for each fold."""
        return (self.model,) if isinstance(self.model, str) else self.model

    @field_validator("model")
    @classmethod
    def _has_one(cls, model: str | tuple[str, ...]) -> str | tuple[str, ...]:
        if not model:
            raise ValueError("model is empty: give a folder or a hub id")
        return model

    @field_validator("tasks")
    @classmethod
    def _known(cls, tasks: tuple[str, ...]) -> tuple[str, ...]:
        for task in tasks:
            if task not in FLORENCE2_TASKS:
                raise ValueError(
                    f"Florence-2 has no task {task!r}, {nearest(task, FLORENCE2_TASKS)}"
                )
        return tuple(dict.fromkeys(tasks))

    @model_validator(mode="after")
    def _can_be_mirrored(self) -> Self:
        lost = [task for task in self.tasks if task not in MIRRORED_TASKS]
        if self.mirrored and lost:
            raise ValueError(f"{lost[0]} cannot be run on a mirrored image; leave `mirrored` out")
        return self

    @model_validator(mode="after")
    def _has_queries(self) -> Self:
        if "open_vocabulary_detection" in self.tasks and not any(map(clean, self.queries)):
            raise ValueError("open_vocabulary_detection has no names to detect; set `queries`")
        return self

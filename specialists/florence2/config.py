"""What can be chosen about Florence-2: which weights, which tasks, how answers are looked for."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, field_validator, model_validator

from engine.core.errors import nearest
from engine.core.stage import RUNTIME
from specialists.florence2.format import FLORENCE2_TASKS, clean
from specialists.florence2.mirror import MIRRORED_TASKS
from specialists.pretrained.config import LoadingConfig


class Florence2Config(LoadingConfig):
    """Which weights, which tasks, and how answers are looked for."""

    model: Annotated[str | tuple[str, ...], RUNTIME] = "package://specialists/tiny_florence2"
    """A folder, `package://NAME/FOLDER` or a hub id, such as `florence-community/Florence-2-base`.
    A list is for cross-fit: a sample of fold i (`fold_of`) is asked of the i-th model, which was
    trained on the other folds. Where the weights lie costs nothing, other weights do."""
    tasks: tuple[str, ...] = Field(default=("object_detection",), min_length=1)
    """What is asked: our names of the 15 tasks, from `caption` to `region_ocr`. Tasks about
    captions, phrases or boxes read them from other stages, or from this one if it says them."""
    queries: tuple[str, ...] = ()
    """Names looked for by `open_vocabulary_detection`, on every image."""
    queries_at_once: int = Field(default=8, ge=1)
    """Names in one prompt; more make shorter work of it, fewer are easier to answer."""
    mirrored: bool = False
    """Ask about the mirror image, and mirror what is found back: a second opinion of one model."""
    language: str = "en"
    """Language of the captions, ISO 639-1; empty when unknown."""
    beams: int = Field(default=1, ge=1)
    """Beams of the search; 1 is greedy."""
    max_new_tokens: int = Field(default=1024, ge=1)
    """Tokens of an answer at most; no more than the checkpoint has positions."""
    least_score: float = Field(default=0.0, ge=0, le=1)
    """What the model is less sure of is not said, 0..1."""

    @property
    def models(self) -> tuple[str, ...]:
        """One model, or one for each fold."""
        return (self.model,) if isinstance(self.model, str) else self.model

    @field_validator("model")
    @classmethod
    def _has_one(cls, model: str | tuple[str, ...]) -> str | tuple[str, ...]:
        if not model:
            raise ValueError("give a folder or a hub id")
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
            raise ValueError(f"a mirror image cannot be asked for {lost[0]}; leave `mirrored` out")
        return self

    @model_validator(mode="after")
    def _has_queries(self) -> Self:
        if "open_vocabulary_detection" in self.tasks and not any(map(clean, self.queries)):
            raise ValueError("open_vocabulary_detection has nothing to look for; give `queries`")
        return self

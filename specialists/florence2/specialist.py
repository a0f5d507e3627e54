"""Florence-2 as a specialist: any of its 15 tasks, with a score on all that it says.

Released weights and students of the refinement loop are the same to it: a checkpoint. What it
is asked is in `questions`, how it answers in `generation`, what the answer means in `answer`.
Knows nothing of training.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, ClassVar, Self

import numpy as np
from pydantic import Field, field_validator, model_validator

from engine.core.annotation import Annotation
from engine.core.errors import nearest
from engine.core.sample import Sample, fold_of
from engine.core.stage import RUNTIME, Specialist, StageConfig
from specialists.florence2.checkpoint import resolve_florence2
from specialists.florence2.format import FLORENCE2_TASKS, clean
from specialists.florence2.mirror import MIRRORED_TASKS, mirrored, mirrored_pixels
from specialists.florence2.questions import in_order, inputs, questions
from specialists.pretrained.checkpoint import Checkpoint, model_name
from specialists.pretrained.stage import LoadingConfig

if TYPE_CHECKING:
    from specialists.florence2.answer import Reader
    from specialists.florence2.generation import Florence2Network


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


class Florence2(Specialist[Florence2Config]):
    """What a Florence-2 says to its task prompts.

    Score of a box, quad or mask: the geometric mean, over its location tokens, of the
    probability within 15 bins of each, times the probability of its name (for a description the
    geometric mean of its tokens). Score of a text: the geometric mean of its tokens. The parent
    of a phrase is its caption, of a mask or category the box or phrase that was asked about. The
    quad of a line begins where the model says, which learned to begin at the top left of the text.
    """

    Config: ClassVar[type[StageConfig]] = Florence2Config
    version: ClassVar[int] = 2
    produces: tuple[str, ...] = tuple(FLORENCE2_TASKS)
    calls_at_once: ClassVar[int] = 2

    def __init__(self, config: Florence2Config) -> None:
        super().__init__(config)
        self.produces = config.tasks
        self.reads = inputs(config.tasks)

    @property
    def model(self) -> str:
        """The checkpoint, or those of all folds; of a folder only its name."""
        return self.config.named(", ".join(map(model_name, self.config.models)))

    def revision(self) -> str:
        """Name the commits on the hub or the digests of the files."""
        return ", ".join(checkpoint.digest for checkpoint in self._checkpoints())

    def caveat(self) -> str:
        """Say so when nobody trained the weights."""
        return self.config.caveat

    def load(self) -> None:
        """Load the weights of every fold."""
        from specialists.florence2.answer import Reader
        from specialists.florence2.generation import Florence2Network

        self._networks: list[Florence2Network] = [
            Florence2Network(checkpoint, self.config) for checkpoint in self._checkpoints()
        ]
        self._readers: list[Reader] = [
            Reader(network.processor, network.tokens, language=self.config.language)
            for network in self._networks
        ]

    def predict(self, samples: Sequence[Sample]) -> list[list[Annotation]]:
        """Ask about each sample the model of its fold."""
        folds = [fold_of(sample.sha256, len(self._networks)) for sample in samples]
        answers: list[list[Annotation]] = [[] for _ in samples]
        for fold in sorted(set(folds)):
            rows = [row for row, found in enumerate(folds) if found == fold]
            said = self._say(fold, [samples[row] for row in rows])
            for row, own in zip(rows, said, strict=True):
                answers[row] = own
        return answers

    def _say(self, fold: int, samples: Sequence[Sample]) -> list[list[Annotation]]:
        network = self._networks[fold]
        seen = network.look(network.network.prepare(samples, self._view))
        said: list[list[Annotation]] = [[] for _ in samples]
        for task in in_order(self.config.tasks):
            asked = [
                (row, question)
                for row, sample in enumerate(samples)
                for question in questions(
                    task, [*sample.annotations, *said[row]], _size(sample), self._queries
                )
            ]
            utterances = network.answer(
                seen,
                [row for row, _ in asked],
                [question.prompt for _, question in asked],
                repeats=FLORENCE2_TASKS[task].answers != "text",
            )
            for (row, question), utterance in zip(asked, utterances, strict=True):
                for one in self._readers[fold].annotations(question, utterance):
                    if self.config.mirrored:
                        one = mirrored(one, samples[row].width)
                    if one.score is None or one.score >= self.config.least_score:
                        # A name of its own, by which later tasks can be about it.
                        said[row].append(replace(one, id=f"said-{len(said[row])}"))
        return said

    def _view(self, sample: Sample) -> np.ndarray:
        return mirrored_pixels(sample.image) if self.config.mirrored else sample.image

    @property
    def _queries(self) -> list[tuple[str, ...]]:
        queries = tuple(query for query in self.config.queries if clean(query))
        size = self.config.queries_at_once
        return [queries[start : start + size] for start in range(0, len(queries), size)]

    def _checkpoints(self) -> list[Checkpoint]:
        is_random = bool(self.config.caveat)
        return [
            resolve_florence2(model, self.config.revision, is_random=is_random)
            for model in self.config.models
        ]


def _size(sample: Sample) -> tuple[int, int]:
    return sample.width, sample.height

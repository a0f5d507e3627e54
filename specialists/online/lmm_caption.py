"""Captions by a large multimodal model at an OpenAI-compatible address.

The prompt has the image, resized, and annotations of other stages: brief caption, named regions,
text in the image (Florence-2 paper, section 4.3). Captions have no score, as the service gives
none.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, TypeVar

from pydantic import Field

from florilegium.engine.core.annotation import Annotation
from florilegium.engine.core.errors import SampleError
from florilegium.engine.core.sample import Sample
from florilegium.engine.core.stage import Input, StageConfig, maybe
from florilegium.specialists.online.annotator import (
    SYSTEM,
    Annotator,
    AnnotatorConfig,
    Conversation,
)
from florilegium.specialists.online.chat import Image, Message
from florilegium.specialists.online.context import context_of
from florilegium.specialists.online.photo import jpeg
from florilegium.specialists.words.evidence import EVIDENCE_TASKS


class LmmCaptionConfig(AnnotatorConfig):
    """Options of `lmm_caption`."""

    image_side: int = Field(default=1024, ge=32, le=8192)
    """Maximum pixels of the long side of an image that is sent."""
    quality: int = Field(default=90, ge=1, le=100)
    """Quality of the JPEG that is sent, 1..100."""


LmmCaptionT = TypeVar("LmmCaptionT", bound=LmmCaptionConfig)


class LmmCaption(Annotator[LmmCaptionT]):
    """One caption per task; reads only the tasks that its templates use."""

    Config: ClassVar[type[StageConfig]] = LmmCaptionConfig
    reads: tuple[Input, ...] = tuple(maybe(task) for task in EVIDENCE_TASKS)
    produces: tuple[str, ...] = ("detailed_caption", "more_detailed_caption")

    def __init__(self, config: LmmCaptionT) -> None:
        super().__init__(config)
        used = dict.fromkeys(task for prompt in self.prompts.values() for task in prompt.tasks)
        self.reads = tuple(maybe(task) for task in used)

    def predict(self, samples: Sequence[Sample]) -> list[list[Annotation] | SampleError]:
        """Get the captions of all samples at once."""
        return [
            texts if isinstance(texts, SampleError) else self._captions(texts)
            for texts in self.asked(samples)
        ]

    def conversations(self, sample: Sample) -> list[Conversation]:
        """Return one conversation per task, with the image and the task's prompt."""
        photo = self.photo(sample)
        context = context_of(sample, self.config.prompt_limits)
        return [
            [
                SYSTEM,
                *self.examples(sample, task),
                Message("user", (photo, prompt.filled(context))),
            ]
            for task, prompt in self.prompts.items()
        ]

    def photo(self, sample: Sample) -> Image:
        """Return the image to send for a sample."""
        return Image(data=jpeg(sample.image, self.config.image_side, self.config.quality))

    def examples(self, sample: Sample, task: str) -> list[Message]:
        """Return the messages of examples; none here."""
        return []

    def _captions(self, texts: Sequence[str]) -> list[Annotation]:
        return [
            Annotation(kind="text", task=task, text=text, language=self.config.language)
            for task, text in zip(self.produces, texts, strict=True)
        ]

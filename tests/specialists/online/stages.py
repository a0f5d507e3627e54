"""A small stage that asks the server on loopback, for tests of whole builds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from florilegium.engine.core.annotation import Annotation
from florilegium.engine.core.errors import SampleError
from florilegium.engine.core.sample import Sample
from florilegium.engine.core.stage import StageConfig
from florilegium.specialists.online.chat import ChatConfig, ChatSpecialist, Image, Message
from florilegium.specialists.online.photo import jpeg


class AskedCaption(ChatSpecialist[ChatConfig]):
    """One caption per image, in the words of the service."""

    Config: ClassVar[type[StageConfig]] = ChatConfig
    produces = ("caption",)

    def predict(self, samples: Sequence[Sample]) -> list[list[Annotation] | SampleError]:
        answers = self.service.answer([[_question(sample)] for sample in samples])
        return [
            answer
            if isinstance(answer, SampleError)
            else [Annotation(kind="text", task="caption", text=answer)]
            for answer in answers
        ]


def _question(sample: Sample) -> Message:
    return Message("user", ("What is this?", Image(data=jpeg(sample.image, 64, 80))))

"""The common base of stages that get captions from a chat model, by prompt templates.

A subclass makes one conversation per task from a sample. `chat` has the protocol, `context` the
fields of templates.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from itertools import islice
from typing import Annotated, ClassVar, TypeVar

from pydantic import Field, field_validator

from florilegium.engine.core.errors import SampleError, nearest
from florilegium.engine.core.names_among import NamesAmong
from florilegium.engine.core.sample import Sample
from florilegium.engine.core.stage import CONTENT
from florilegium.engine.core.tasks import CAPTION_TASKS
from florilegium.specialists.online.chat import ChatConfig, ChatSpecialist, Message
from florilegium.specialists.online.context import PromptLimits
from florilegium.specialists.online.prompts import (
    RULES,
    SHIPPED,
    Prompt,
    read_prompt,
    revision_of,
    rules_in,
)
from florilegium.specialists.online.reply import texts_in

Conversation = Sequence[Message]

SYSTEM = Message("system", (RULES,))
"""The first message of every conversation in English."""


def system_in(tag: str) -> Message:
    """Return the first message of a conversation in a language, BCP 47.

    Raises:
        ConfigError: the language is not known.
    """
    return Message("system", (rules_in(tag),))


class AnnotatorConfig(ChatConfig):
    """Options of captions by a chat model."""

    prompts: Annotated[dict[str, str], CONTENT, NamesAmong(CAPTION_TASKS)] = Field(
        default={
            "detailed_caption": f"{SHIPPED}/detailed_caption.txt",
            "more_detailed_caption": f"{SHIPPED}/more_detailed_caption.txt",
        },
        min_length=1,
    )
    """The tasks to produce, and for each the path of its template; the content counts, not the
    path."""
    prompt_limits: PromptLimits = PromptLimits()
    """Limits on the annotations in a prompt."""
    language: str = "en"
    """Language of the captions that the templates ask for; BCP 47."""

    @field_validator("prompts")
    @classmethod
    def _caption_tasks(cls, prompts: dict[str, str]) -> dict[str, str]:
        for task in prompts:
            if task not in CAPTION_TASKS:
                raise ValueError(f"{task!r} is no caption task, {nearest(task, CAPTION_TASKS)}")
        return prompts


AnnotatorT = TypeVar("AnnotatorT", bound=AnnotatorConfig)


class Annotator(ChatSpecialist[AnnotatorT]):
    """Gets one text per sample and task."""

    version: ClassVar[int] = 4

    def __init__(self, config: AnnotatorT) -> None:
        super().__init__(config)
        self.prompts: dict[str, Prompt] = {
            task: read_prompt(config.prompts[task])
            for task in CAPTION_TASKS
            if task in config.prompts
        }
        self.produces: tuple[str, ...] = tuple(self.prompts)

    def revision(self) -> str:
        """Name the release or the host, and the digest of the templates.

        Raises:
            ConfigError: the key is not in the environment, or the options make no sense.
        """
        return f"{super().revision()}, prompts {revision_of(self.prompts)}"

    @abstractmethod
    def conversations(self, sample: Sample) -> list[Conversation]:
        """Return a conversation for each task of `produces`, or none if nothing is to be asked.

        Raises:
            SampleError: the image cannot be sent.
        """

    def asked(self, samples: Sequence[Sample]) -> list[list[str] | SampleError]:
        """Return for each sample the texts of its conversations, or an error.

        One failed answer fails its sample; other samples keep their answers, which are paid for.
        """
        conversations = [self._conversations(sample) for sample in samples]
        sent = [one for own in conversations if isinstance(own, list) for one in own]
        answers = iter(self.service.answer(sent))
        return [
            texts_in(list(islice(answers, len(own)))) if isinstance(own, list) else own
            for own in conversations
        ]

    def _conversations(self, sample: Sample) -> list[Conversation] | SampleError:
        try:
            return self.conversations(sample)
        except SampleError as error:
            return error

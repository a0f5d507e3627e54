"""What stages that ask a chat model for captions have in common: templates in, captions out.

A subclass turns a sample into one conversation per task. Knows neither the protocol, which is
`chat`, nor what a prompt can tell, which is `heard`.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from itertools import islice
from typing import Annotated, ClassVar, TypeVar

from pydantic import Field, field_validator

from engine.core.errors import SampleError, nearest
from engine.core.sample import Sample
from engine.core.stage import RUNTIME
from engine.core.tasks import CAPTION_TASKS
from specialists.online.chat import ChatConfig, ChatSpecialist, Message
from specialists.online.heard import PromptLimits
from specialists.online.prompts import RULES, Prompt, read_prompt, revision_of
from specialists.online.reply import texts_in

Conversation = Sequence[Message]

SYSTEM = Message("system", (RULES,))
"""Opens every conversation."""


class AnnotatorConfig(ChatConfig):
    """What is asked for, and what a prompt tells."""

    prompts: Annotated[dict[str, str], RUNTIME] = Field(
        default={
            "detailed_caption": "configs/prompts/detailed_caption.txt",
            "more_detailed_caption": "configs/prompts/more_detailed_caption.txt",
        },
        min_length=1,
    )
    """The tasks to write, and for each the path of its template. Where a template lies costs
    nothing, other words do."""
    prompt_limits: PromptLimits = PromptLimits()
    """How much of what others said a prompt tells."""
    language: str = "en"
    """Language that the templates ask for, stamped on the captions; BCP 47."""

    @field_validator("prompts")
    @classmethod
    def _caption_tasks(cls, prompts: dict[str, str]) -> dict[str, str]:
        for task in prompts:
            if task not in CAPTION_TASKS:
                raise ValueError(f"{task!r} is no caption, {nearest(task, CAPTION_TASKS)}")
        return prompts


AnnotatorT = TypeVar("AnnotatorT", bound=AnnotatorConfig)


class Annotator(ChatSpecialist[AnnotatorT]):
    """Asks for one text per sample and task."""

    version: ClassVar[int] = 3

    def __init__(self, config: AnnotatorT) -> None:
        super().__init__(config)
        self.prompts: dict[str, Prompt] = {
            task: read_prompt(config.prompts[task])
            for task in CAPTION_TASKS
            if task in config.prompts
        }
        self.produces: tuple[str, ...] = tuple(self.prompts)

    def revision(self) -> str:
        """Name who answers and the digest of the templates.

        Raises:
            ConfigError: the key is not in the environment, or the options make no sense.
        """
        return f"{super().revision()}, prompts {revision_of(self.prompts)}"

    @abstractmethod
    def conversations(self, sample: Sample) -> list[Conversation]:
        """Return a conversation for each task of `produces`, or none where there is no question.

        Raises:
            SampleError: the sample cannot be shown.
        """

    def asked(self, samples: Sequence[Sample]) -> list[list[str] | SampleError]:
        """Return for each sample the texts of its conversations, or why it has none.

        One failed answer fails its sample; the others are kept, for they are paid.
        """
        talks = [self._talks(sample) for sample in samples]
        asking = [talk for of_sample in talks if isinstance(of_sample, list) for talk in of_sample]
        answers = iter(self.service.answer(asking))
        return [
            texts_in(list(islice(answers, len(of_sample))))
            if isinstance(of_sample, list)
            else of_sample
            for of_sample in talks
        ]

    def _talks(self, sample: Sample) -> list[Conversation] | SampleError:
        try:
            return self.conversations(sample)
        except SampleError as error:
            return error

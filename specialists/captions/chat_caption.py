"""Captions of three lengths by any image-text-to-text model of `transformers` (`image_chat`).

Prompts are options; they determine length and content.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Annotated, ClassVar

from pydantic import Field, field_validator

from florilegium.engine.core.annotation import Annotation
from florilegium.engine.core.errors import SampleError, nearest
from florilegium.engine.core.names_among import NamesAmong
from florilegium.engine.core.sample import Sample
from florilegium.engine.core.stage import Specialist, StageConfig
from florilegium.engine.core.tasks import CAPTION_TASKS
from florilegium.specialists.captions.image_chat import (
    FAMILY,
    ChatPrompt,
    ChatReply,
    ImageChat,
    ImageChatConfig,
)
from florilegium.specialists.pretrained.checkpoint import Family
from florilegium.specialists.pretrained.stage import Pretrained

PROMPTS: Mapping[str, str] = MappingProxyType(
    {
        "caption": "Describe this image in one short sentence.",
        "detailed_caption": (
            "Describe this image in two or three sentences: what is there, what it looks like and "
            "what happens. Say only what can be seen."
        ),
        "more_detailed_caption": (
            "Describe this image in one long paragraph without lists: all objects and people, "
            "their number, colours and other attributes, where they are, what they do, the text "
            "that can be read, and the background. Say only what can be seen."
        ),
    }
)
MAX_NEW_TOKENS: Mapping[str, int] = MappingProxyType(
    {"caption": 48, "detailed_caption": 160, "more_detailed_caption": 400}
)
"""Several times the mean length of captions in FLD-5B: 8, 32 and 71 tokens (table 2)."""


class ChatCaptionConfig(ImageChatConfig):
    """Options of `chat_caption`."""

    prompts: Annotated[dict[str, str], NamesAmong(CAPTION_TASKS)] = Field(
        default_factory=lambda: dict(PROMPTS), min_length=1
    )
    """The prompt of each task: `caption`, `detailed_caption`, `more_detailed_caption`; other tasks
    are not produced. BLIP-2 continues a text: give it {caption: "a photo of"}."""
    max_new_tokens: Annotated[dict[str, int], NamesAmong(CAPTION_TASKS)] = Field(
        default_factory=dict
    )
    """Maximum tokens of an answer, by task; by default 48, 160 and 400. An answer that reaches the
    limit is cut after its last complete sentence."""
    language: str = "en"
    """Language of the prompts, hence of the captions, ISO 639-1; empty if unknown."""

    @field_validator("prompts", "max_new_tokens")
    @classmethod
    def _of_captions(cls, by_task: dict[str, str | int]) -> dict[str, str | int]:
        for task in by_task:
            if task not in CAPTION_TASKS:
                raise ValueError(f"{task!r} is no caption task, {nearest(task, CAPTION_TASKS)}")
        return by_task

    @field_validator("max_new_tokens")
    @classmethod
    def _some(cls, tokens: dict[str, int]) -> dict[str, int]:
        if any(count < 1 for count in tokens.values()):
            raise ValueError("an answer needs at least 1 token")
        return tokens

    @property
    def tasks(self) -> tuple[str, ...]:
        """The caption tasks that have a prompt, shortest first."""
        return tuple(task for task in CAPTION_TASKS if task in self.prompts)

    @property
    def chat_prompts(self) -> list[ChatPrompt]:
        """The prompts, in the order of the tasks."""
        limits = {**MAX_NEW_TOKENS, **self.max_new_tokens}
        return [
            ChatPrompt(prompt=self.prompts[task], max_new_tokens=limits[task])
            for task in self.tasks
        ]


class ChatCaption(Pretrained[ChatCaptionConfig], Specialist[ChatCaptionConfig]):
    """Captions by an image-text-to-text model, with greedy search.

    The score is the geometric mean of the probabilities of a caption's tokens. An image gets all
    its captions or none: an empty answer (`empty_answer`), or one without a complete sentence
    (`unfinished_answer`), is an error of the sample.
    """

    Config: ClassVar[type[StageConfig]] = ChatCaptionConfig
    family: ClassVar[Family] = FAMILY
    produces: tuple[str, ...] = CAPTION_TASKS

    def __init__(self, config: ChatCaptionConfig) -> None:
        super().__init__(config)
        self.produces = config.tasks

    def load(self) -> None:
        """Load the weights, and try the prompts on a blank image."""
        super().load()
        self._chat = ImageChat(self.network, self.config, self.config.chat_prompts)

    def predict(self, samples: Sequence[Sample]) -> list[list[Annotation] | SampleError]:
        """Caption each sample."""
        replies = self._chat.answer([sample.picture for sample in samples])
        return [self._captions(of_sample) for of_sample in replies]

    def _captions(
        self, replies: Sequence[ChatReply | SampleError]
    ) -> list[Annotation] | SampleError:
        captions = []
        for task, reply in zip(self.config.tasks, replies, strict=True):
            if isinstance(reply, SampleError):
                return SampleError(reply.reason, f"{task}: {reply.message}")
            captions.append(
                Annotation(
                    kind="text",
                    task=task,
                    text=reply.text,
                    language=self.config.language,
                    score=reply.score,
                )
            )
        return captions

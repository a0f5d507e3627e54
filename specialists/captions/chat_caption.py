"""Captions of three lengths by any image-text-to-text model of `transformers` (`image_chat`).

Prompts are options; they determine length, content and language.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Annotated, ClassVar, NamedTuple, TypeVar

from pydantic import Field, field_validator, model_validator

from florilegium.engine.core.annotation import Annotation
from florilegium.engine.core.errors import SampleError, nearest
from florilegium.engine.core.names_among import NamesAmong
from florilegium.engine.core.sample import Sample
from florilegium.engine.core.stage import ADDED, Specialist, StageConfig
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
from florilegium.specialists.words.languages import answer_in, check_other_languages, known_language

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
_TOKENS_IN_OTHERS = 3
"""How many times as many tokens are allowed in other languages, whose words most tokenizers cut
into more pieces."""
T = TypeVar("T", str, int)


class Asked(NamedTuple):
    """A caption that the model is asked for."""

    task: str
    language: str
    prompt: ChatPrompt


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
    other_languages: Annotated[dict[str, dict[str, str]], ADDED] = Field(
        default_factory=dict, examples=[{"de": {}, "ja": {"caption": "この画像を一文で説明して。"}}]
    )
    """Further languages of captions, BCP 47, each with prompts of its own by task. A task without
    one is asked by its prompt in `prompts` and "Answer in German." Three times as many tokens are
    allowed by default."""

    @field_validator("other_languages")
    @classmethod
    def _are_languages(cls, others: dict[str, dict[str, str]]) -> dict[str, dict[str, str]]:
        for tag, prompts in others.items():
            known_language(tag)
            cls._of_captions(prompts)
        return others

    @model_validator(mode="after")
    def _have_tasks(self) -> ChatCaptionConfig:
        others = self.other_languages.items()
        check_other_languages(
            self.language, {tag: own.keys() >= self.prompts.keys() for tag, own in others}
        )
        for tag, prompts in others:
            for task in prompts.keys() - self.prompts.keys():
                raise ValueError(f"other_languages asks for {task} in {tag!r}, and `prompts` not")
        return self

    @field_validator("prompts", "max_new_tokens")
    @classmethod
    def _of_captions(cls, by_task: Mapping[str, T]) -> Mapping[str, T]:
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
    def asked(self) -> list[Asked]:
        """What is asked of each image: all tasks in one language after the other."""
        limits = {**MAX_NEW_TOKENS, **self.max_new_tokens}
        more = {task: limits[task] * _TOKENS_IN_OTHERS for task in limits} | self.max_new_tokens
        first = [Asked(task, self.language, self._prompt(task, "", limits)) for task in self.tasks]
        return first + [
            Asked(task, tag, self._prompt(task, tag, more))
            for tag in self.other_languages
            for task in self.tasks
        ]

    def _prompt(self, task: str, tag: str, limits: Mapping[str, int]) -> ChatPrompt:
        own = self.other_languages.get(tag, {}).get(task)
        translated = own or (answer_in(self.prompts[task], tag) if tag else self.prompts[task])
        return ChatPrompt(prompt=translated, max_new_tokens=limits[task])


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
        self._asked = self.config.asked
        self._chat = ImageChat(self.network, self.config, [one.prompt for one in self._asked])

    def predict(self, samples: Sequence[Sample]) -> list[list[Annotation] | SampleError]:
        """Caption each sample."""
        replies = self._chat.answer([sample.picture for sample in samples])
        return [self._captions(of_sample) for of_sample in replies]

    def _captions(
        self, replies: Sequence[ChatReply | SampleError]
    ) -> list[Annotation] | SampleError:
        captions = []
        for one, reply in zip(self._asked, replies, strict=True):
            if isinstance(reply, SampleError):
                return SampleError(reply.reason, f"{one.task}: {reply.message}")
            captions.append(
                Annotation(
                    kind="text",
                    task=one.task,
                    text=reply.text,
                    language=one.language,
                    score=reply.score,
                )
            )
        return captions

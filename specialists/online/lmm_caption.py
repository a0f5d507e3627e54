"""Captions by a large multimodal model at an OpenAI-compatible address.

The prompt has the image, resized, and annotations of other stages: brief caption, named regions,
text in the image (Florence-2 paper, section 4.3). Captions have no score, as the service gives
none.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar, NamedTuple, TypeVar

from pydantic import Field, field_validator, model_validator

from florilegium.engine.core.annotation import Annotation
from florilegium.engine.core.errors import SampleError
from florilegium.engine.core.sample import Sample, digest_of
from florilegium.engine.core.stage import ADDED, Input, StageConfig, maybe
from florilegium.specialists.online.annotator import (
    SYSTEM,
    Annotator,
    AnnotatorConfig,
    Conversation,
    system_in,
)
from florilegium.specialists.online.chat import Image, Message
from florilegium.specialists.online.context import context_of
from florilegium.specialists.online.photo import jpeg
from florilegium.specialists.online.prompts import Prompt, read_prompt
from florilegium.specialists.words.evidence import EVIDENCE_TASKS
from florilegium.specialists.words.languages import (
    check_other_languages,
    known_language,
    language_of,
)


class LmmCaptionConfig(AnnotatorConfig):
    """Options of `lmm_caption`."""

    image_side: int = Field(default=1024, ge=32, le=8192)
    """Maximum pixels of the long side of an image that is sent."""
    quality: int = Field(default=90, ge=1, le=100)
    """Quality of the JPEG that is sent, 1..100."""
    other_languages: Annotated[dict[str, dict[str, str]], ADDED] = Field(
        default_factory=dict, examples=[{"de": {}, "ja": {}}]
    )
    """Further languages of captions, BCP 47, each with the paths of templates of its own by task. A
    task without one is asked by its template in `prompts` and "Write it in German."."""

    @field_validator("other_languages")
    @classmethod
    def _are_languages(cls, others: dict[str, dict[str, str]]) -> dict[str, dict[str, str]]:
        for tag, templates in others.items():
            known_language(tag)
            cls._caption_tasks(templates)
        return others

    @model_validator(mode="after")
    def _have_tasks(self) -> LmmCaptionConfig:
        others = self.other_languages.items()
        check_other_languages(
            self.language, {tag: own.keys() >= self.prompts.keys() for tag, own in others}
        )
        for tag, templates in others:
            for task in templates.keys() - self.prompts.keys():
                raise ValueError(f"other_languages asks for {task} in {tag!r}, and `prompts` not")
        return self


class Asked(NamedTuple):
    """A caption that the service is asked for: `order` is what follows the template."""

    task: str
    language: str
    system: Message
    prompt: Prompt
    order: str = ""


LmmCaptionT = TypeVar("LmmCaptionT", bound=LmmCaptionConfig)


class LmmCaption(Annotator[LmmCaptionT]):
    """One caption per task and language; reads only the tasks that its templates use."""

    Config: ClassVar[type[StageConfig]] = LmmCaptionConfig
    reads: tuple[Input, ...] = tuple(maybe(task) for task in EVIDENCE_TASKS)
    produces: tuple[str, ...] = ("detailed_caption", "more_detailed_caption")

    def __init__(self, config: LmmCaptionT) -> None:
        super().__init__(config)
        self._asked = [
            Asked(task, config.language, SYSTEM, prompt) for task, prompt in self.prompts.items()
        ]
        for tag, templates in config.other_languages.items():
            order = f"\n\nWrite it in {language_of(tag).name}."
            for task, prompt in self.prompts.items():
                own = read_prompt(templates[task]) if task in templates else None
                rest = "" if own else order
                self._asked.append(Asked(task, tag, system_in(tag), own or prompt, rest))
        used = dict.fromkeys(task for one in self._asked for task in one.prompt.tasks)
        self.reads = tuple(maybe(task) for task in used)

    def revision(self) -> str:
        """Name the release or the host, and the digests of the templates.

        Raises:
            ConfigError: the key is not in the environment, or the options make no sense.
        """
        others = [
            text
            for one in self._asked[len(self.prompts) :]
            for text in (one.task, one.language, *one.system.parts, one.prompt.digest, one.order)
        ]
        more = f", languages {digest_of(list(map(str, others)))[:16]}" if others else ""
        return f"{super().revision()}{more}"

    def predict(self, samples: Sequence[Sample]) -> list[list[Annotation] | SampleError]:
        """Get the captions of all samples at once."""
        return [
            texts if isinstance(texts, SampleError) else self._captions(texts)
            for texts in self.asked(samples)
        ]

    def conversations(self, sample: Sample) -> list[Conversation]:
        """Return one conversation per task and language, with the image and the prompt."""
        photo = self.photo(sample)
        context = context_of(sample, self.config.prompt_limits)
        return [
            [
                one.system,
                *self.examples(sample, one.task),
                Message("user", (photo, one.prompt.filled(context) + one.order)),
            ]
            for one in self._asked
        ]

    def photo(self, sample: Sample) -> Image:
        """Return the image to send for a sample."""
        return Image(data=jpeg(sample.image, self.config.image_side, self.config.quality))

    def examples(self, sample: Sample, task: str) -> list[Message]:
        """Return the messages of examples; none here."""
        return []

    def _captions(self, texts: Sequence[str]) -> list[Annotation]:
        return [
            Annotation(kind="text", task=one.task, text=text, language=one.language)
            for one, text in zip(self._asked, texts, strict=True)
        ]

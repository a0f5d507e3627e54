"""Texts for boxes: a caption of each box's crop, and the noun phrases of that caption.

Candidates for the brief region text of the Florence-2 paper (arXiv 2311.06242, section 4.3): an
image-to-text model describes the crop; later, `region_label` chooses among caption, noun phrases
and category.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, ClassVar

from pydantic import Field, field_validator

from florilegium.engine.core.annotation import Annotation
from florilegium.engine.core.errors import SampleError
from florilegium.engine.core.sample import Sample
from florilegium.engine.core.stage import ADDED, Input, Specialist, StageConfig, one_of
from florilegium.specialists.captions.image_chat import (
    FAMILY,
    ChatPrompt,
    ChatReply,
    ImageChat,
    ImageChatConfig,
    is_chat,
)
from florilegium.specialists.pretrained.checkpoint import Family
from florilegium.specialists.pretrained.stage import Pretrained
from florilegium.specialists.pretrained.views import Crop
from florilegium.specialists.regions.crops import BoxesConfig, crop_window
from florilegium.specialists.regions.places import places
from florilegium.specialists.regions.window import Window
from florilegium.specialists.words.english import english_revision, load_english, parse
from florilegium.specialists.words.languages import answer_in, check_other_languages, known_language
from florilegium.specialists.words.noun_phrases import noun_phrases

CHAT_PROMPT = "What is shown here? Answer in at most eight words, without a full sentence."
PLAIN_PROMPT = "a photo of"
_OF_PICTURES = frozenset(
    ("close-up", "closeup", "image", "photo", "photograph", "picture", "shot", "view")
)
"""Nouns that refer to the image and not to an object in it."""


class RegionTextConfig(ImageChatConfig, BoxesConfig):
    """Options of `region_text`."""

    prompt: str | None = None
    """The prompt about a crop; by default a chat model is asked for a few words, and BLIP-2
    continues "a photo of"."""
    max_new_tokens: int = Field(default=40, ge=1)
    """Maximum tokens of a description; one that reaches the limit is cut after its last complete
    sentence, and discarded without one."""
    max_boxes: int | None = Field(default=None, ge=1)
    """Maximum boxes of an image that are described, the first in rank: labels of the source, then
    the highest scores; by default all. A box that is left out has no `region_description`."""
    noun_phrases: bool = True
    """Whether noun phrases are predicted, too. They are candidates for `region_label`: without that
    stage, `false` leaves one text for each box."""
    other_languages: Annotated[dict[str, str], ADDED] = Field(
        default_factory=dict, examples=[{"de": "", "ja": "何が写っていますか。八語以内で答えて。"}]
    )
    """Further languages of texts, BCP 47, each with a prompt of its own; without one (""), the
    prompt in English asks for an answer in the language. No noun phrases come of these. A
    `region_label` would choose among the texts of all languages: leave it out."""

    @field_validator("other_languages")
    @classmethod
    def _are_languages(cls, others: dict[str, str]) -> dict[str, str]:
        check_other_languages("en", {known_language(tag): bool(own) for tag, own in others.items()})
        return others


@dataclass(frozen=True, kw_only=True)
class BoxesOfCrop:
    """A part of an image, and its boxes, which differ in name only."""

    crop: Crop
    boxes: tuple[Annotation, ...]

    @property
    def aspect(self) -> float:
        """Width / height."""
        width, height = self.crop.window.size_wh
        return width / height


class RegionText(Pretrained[RegionTextConfig], Specialist[RegionTextConfig]):
    """Captions of boxes and their noun phrases without article.

    Each is a `region_description` whose parent is the box, the caption first; the score is the
    geometric mean of the probabilities of the caption's tokens. A box that is too small, or gets an
    empty answer, has none; an image without any described box fails with the reason of its first
    box.
    """

    Config: ClassVar[type[StageConfig]] = RegionTextConfig
    version: ClassVar[int] = 3
    family: ClassVar[Family] = FAMILY
    produces: tuple[str, ...] = ("region_description",)
    extra: ClassVar[str] = "starter"

    def __init__(self, config: RegionTextConfig) -> None:
        super().__init__(config)
        self.reads: tuple[Input, ...] = (one_of(*config.tasks),)
        self.each = config.tasks
        self._languages = ("en", *config.other_languages)

    def require(self) -> None:
        """Check that an English pipeline is installed."""
        if self.config.noun_phrases:
            english_revision()

    def revision(self) -> str:
        """Name the weights and the English pipeline."""
        weights = super().revision()
        return f"{weights}, {english_revision()}" if self.config.noun_phrases else weights

    def load(self) -> None:
        """Load the weights and spaCy's English pipeline, and try the prompt on a blank image."""
        super().load()
        default = CHAT_PROMPT if is_chat(self.network.processor) else PLAIN_PROMPT
        prompt = default if self.config.prompt is None else self.config.prompt
        others = self.config.other_languages
        prompts = [prompt, *(own or answer_in(prompt, tag) for tag, own in others.items())]
        tokens = self.config.max_new_tokens
        self._chat = ImageChat(
            self.network,
            self.config,
            [ChatPrompt(prompt=one, max_new_tokens=tokens) for one in prompts],
        )
        if self.config.noun_phrases:
            load_english()

    def predict(self, samples: Sequence[Sample]) -> list[list[Annotation] | SampleError]:
        """Describe the boxes of all samples together."""
        crops = [self._crops(sample) for sample in samples]
        every = [crop for of_sample in crops for crop in of_sample]
        # Crops of similar aspect often have the same input shape, and share a batch.
        order = sorted(range(len(every)), key=lambda number: every[number].aspect)
        replies = self._chat.answer([every[number].crop for number in order])
        by_number = dict(zip(order, replies, strict=True))
        names = self._names(first for first, *_ in by_number.values())
        ordered = iter(by_number[number] for number in range(len(every)))
        return [
            self._annotations([(crop, next(ordered)) for crop in of_sample], names)
            for of_sample in crops
        ]

    def chosen(self, sample: Sample) -> list[Annotation]:
        """Return the boxes that are described, the first in rank first: of each place one, if it is
        large enough, at most `max_boxes`."""
        boxes = [box for box in sample.of(*self.config.tasks) if self._window(box, sample)]
        found = places(boxes, sample.known, source_first=self.config.source_first)
        return [box for box, *_ in found[: self.config.max_boxes]]

    def _window(self, box: Annotation, sample: Sample) -> Window | None:
        return crop_window(box.box_xyxy, (sample.width, sample.height), self.config)

    def _crops(self, sample: Sample) -> list[BoxesOfCrop]:
        """Return the parts of an image to describe, each once."""
        boxes: dict[Window, list[Annotation]] = {}
        for box in self.chosen(sample):
            if window := self._window(box, sample):
                boxes.setdefault(window, []).append(box)
        return [
            BoxesOfCrop(crop=Crop(sample.picture, window), boxes=tuple(of_window))
            for window, of_window in boxes.items()
        ]

    def _names(self, replies: Iterable[ChatReply | SampleError]) -> dict[str, list[str]]:
        """Return the distinct noun phrases of each caption, without articles.

        A caption that is a noun phrase itself is not repeated.
        """
        named: dict[str, list[str]] = {}
        texts = [one.text for one in replies if isinstance(one, ChatReply)]
        if not self.config.noun_phrases:
            return {text: [] for text in texts}
        for text, document in parse(texts).items():
            names = [
                text[slice(*phrase.words)]
                for phrase in noun_phrases(document)
                if phrase.head not in _OF_PICTURES
            ]
            distinct = {text.casefold(): ""}
            for name in names:
                distinct.setdefault(name.casefold(), name)
            named[text] = list(filter(None, distinct.values()))
        return named

    def _annotations(
        self,
        answers: Sequence[tuple[BoxesOfCrop, Sequence[ChatReply | SampleError]]],
        names: Mapping[str, list[str]],
    ) -> list[Annotation] | SampleError:
        found: list[Annotation] = []
        for crop, replies in answers:
            for box in crop.boxes:
                for language, reply in zip(self._languages, replies, strict=True):
                    if isinstance(reply, ChatReply):
                        phrases = names[reply.text] if language == "en" else ()
                        found += _texts_of(box, reply, phrases, language)
        errors = [one for _, own in answers for one in own if isinstance(one, SampleError)]
        return errors[0] if errors and not found else found


def _texts_of(
    box: Annotation, reply: ChatReply, names: Sequence[str], language: str
) -> Iterator[Annotation]:
    caption = Annotation(
        kind="region",
        task="region_description",
        text=reply.text,
        language=language,
        box_xyxy=box.box_xyxy,
        score=reply.score,
        parent_id=box.id,
    )
    yield caption
    for name in names:
        yield replace(caption, text=name)

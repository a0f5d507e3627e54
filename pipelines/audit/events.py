"""What people answer, as events: a statement was judged, an image was searched, an answer was taken
back. This module knows no file and no dataset.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, field_validator, model_validator

from florilegium.pipelines.audit.queue import QueueName

LONGEST_NAME = 60
"""Characters of a person's name, at most."""
LONGEST_TEXT = 10_000
"""Characters of a text, at most."""
MOST_MISSING = 500
"""Things that are missing in one image, at most."""
_Pixel = Annotated[float, Field(ge=0, le=1_000_000, allow_inf_nan=False)]
_Text = Annotated[str, Field(max_length=LONGEST_TEXT)]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _HasBox(_Model):
    box_xyxy: tuple[_Pixel, _Pixel, _Pixel, _Pixel] | None = None
    """Left, top, right and bottom in pixels of the upright image."""

    @field_validator("box_xyxy")
    @classmethod
    def _has_area(cls, box: tuple[float, ...] | None) -> tuple[float, ...] | None:
        if box is not None and not (box[0] < box[2] and box[1] < box[3]):
            raise ValueError("a box needs left < right and top < bottom")
        return box


class Fix(_HasBox):
    """What is right instead; `None` is as it was."""

    span: tuple[Annotated[int, Field(ge=0)], Annotated[int, Field(ge=1)]] | None = None
    """The first and one past the last character of a phrase in its caption."""
    label: _Text | None = None
    text: _Text | None = None

    @model_validator(mode="after")
    def _says_something(self) -> Fix:
        if all(value is None for value in dict(self).values()):
            raise ValueError("a fix changes the box, the span, the label or the text")
        if self.span is not None and self.span[0] >= self.span[1]:
            raise ValueError("a span has at least one character")
        return self


class Missing(_HasBox):
    """A thing that an image shows and the dataset lacks."""

    task: Annotated[str, Field(min_length=1, max_length=200)]
    label: _Text = ""
    text: _Text = ""

    @model_validator(mode="after")
    def _has_words(self) -> Missing:
        if not (self.label.strip() or self.text.strip() or self.box_xyxy):
            raise ValueError("give a box, a label or a text")
        return self


class _Event(_Model):
    at: Annotated[str, Field(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$")]
    """The time in UTC."""


class StatementJudged(_Event):
    """An answer about one annotation. `right` is whether it counts as right, `None` if unsure."""

    event: Literal["statement"] = "statement"
    id: Annotated[str, Field(min_length=1, max_length=100)]
    key: Annotated[str, Field(min_length=1, max_length=1000)]
    answer: Literal["right", "wrong", "unsure", "fixed"]
    right: bool | None
    fix: Fix | None = None
    queue: QueueName
    stratum: str
    stratum_size: Annotated[int, Field(ge=1)]
    """Statements of the stratum when it was asked."""

    @model_validator(mode="after")
    def _fits(self) -> StatementJudged:
        if (self.answer == "fixed") != (self.fix is not None):
            raise ValueError("`fix` goes with the answer `fixed`")
        return self


class ImageSearched(_Event):
    """An answer about one image: what is missing, perhaps nothing. `place` is its shard's number
    and its position there; `chosen` images were opened by the person and enter no estimate."""

    event: Literal["image"] = "image"
    key: Annotated[str, Field(min_length=1, max_length=1000)]
    place: str = ""
    queue: Literal["random", "chosen"]
    missing: Annotated[tuple[Missing, ...], Field(max_length=MOST_MISSING)] = ()


class Undone(_Event):
    """The person's last answer about an annotation, or with no `id` about an image, is taken
    back."""

    event: Literal["undo"] = "undo"
    id: Annotated[str, Field(max_length=100)] = ""
    key: Annotated[str, Field(min_length=1, max_length=1000)]


Answer = StatementJudged | ImageSearched
Event = Annotated[StatementJudged | ImageSearched | Undone, Field(discriminator="event")]
EVENT: TypeAdapter[StatementJudged | ImageSearched | Undone] = TypeAdapter(Event)


def in_force(events: list[StatementJudged | ImageSearched | Undone]) -> list[Answer]:
    """Return a person's answers that were not taken back, in their order; of several about the same
    the last one."""
    answers: list[Answer] = []
    for one in events:
        if not isinstance(one, Undone):
            answers.append(one)
            continue
        subject = subject_of(one)
        for row in reversed(range(len(answers))):
            if subject_of(answers[row]) == subject:
                del answers[row]
                break
    last = {subject_of(one): one for one in answers}
    return [one for one in answers if last[subject_of(one)] is one]


def subject_of(event: Answer | Undone) -> tuple[str, str]:
    """Return what an event is about: an annotation, or with no id an image."""
    return "" if isinstance(event, ImageSearched) else event.id, event.key

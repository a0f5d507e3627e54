"""Captions from templates, filled with the objects, tags and OCR of other stages and with colours.

Colours are measured on the pixels. With few annotations the caption is short, with none there is
no caption.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field

from florilegium.engine.core.annotation import Annotation, MaskRLE
from florilegium.engine.core.rank import ranked
from florilegium.engine.core.sample import Sample
from florilegium.engine.core.stage import ADDED, Input, Specialist, StageConfig, maybe, one_of
from florilegium.specialists.captions.templates import (
    Line,
    ObjectGroup,
    brief,
    detailed,
    medium,
    more_detailed,
)
from florilegium.specialists.regions.places import relative, separate
from florilegium.specialists.words.colours import (
    background,
    has_colour,
    is_black_and_white,
    own_colours,
    thumbnail,
    thumbnail_mask,
)
from florilegium.specialists.words.nouns import is_readable

_PEOPLE = frozenset(("person", "people", "man", "woman", "child", "boy", "girl", "human face"))
"""Nobody calls them by the colour of their clothes."""


class TemplateCaptionConfig(StageConfig):
    """Thresholds for what a caption mentions."""

    least_object: float = Field(default=0.15, ge=0, le=1)
    """Minimum score of an object, 0..1."""
    least_tag: float = Field(default=0.5, ge=0, le=1)
    """Minimum score of a tag without a box, 0..1."""
    least_text: float = Field(default=0.7, ge=0, le=1)
    """Minimum score of a line of text, 0..1."""
    most_overlap: float = Field(default=0.5, ge=0, le=1)
    """Of two boxes that share more than this share of the smaller one, only the first in rank is
    mentioned, 0..1."""
    most_things: int = Field(default=4, ge=1)
    """Maximum number of different objects in a caption."""
    most_lines: int = Field(default=4, ge=0)
    """Maximum lines of text quoted in the longest caption."""
    source_first: bool = True
    """Whether labels of the source come before those of machines, whatever the scores."""
    least_counted: Annotated[float, ADDED] = Field(default=0.0, ge=0, le=1)
    """Minimum score of each of several objects of one name; if one has less, they are mentioned as
    one, without number and position, 0..1."""
    least_mask: Annotated[float, ADDED] = Field(default=0.5, ge=0, le=1)
    """Minimum `support` of a mask that counts, 0..1."""
    has_sizes: Annotated[bool, ADDED] = True
    """Whether it states that an object is large or small, or what share of the picture it takes
    up."""
    has_colours_alone: Annotated[bool, ADDED] = False
    """Whether a picture of which nothing is known has its colours stated, or that it is black and
    white."""


class TemplateCaption(Specialist[TemplateCaptionConfig]):
    """A brief, a detailed and a more detailed caption, in English.

    The score is the lowest score of what the caption mentions. A longer caption that would only
    repeat the shorter one is left out. If the stage reads masks, a box without one is not sure: its
    object is only named, without number, position, size and colour. A colour is that of the mask's
    pixels; a black and white photograph has none.
    """

    Config: ClassVar[type[StageConfig]] = TemplateCaptionConfig
    version: ClassVar[int] = 4
    reads: tuple[Input, ...] = (
        one_of("object_detection", "tag"),
        maybe("ocr"),
        maybe("segmentation"),
    )
    produces: tuple[str, ...] = ("caption", "detailed_caption", "more_detailed_caption")

    @property
    def model(self) -> str:
        """The templates in this file."""
        return "template"

    def predict(self, samples: Sequence[Sample]) -> list[list[Annotation]]:
        """Write the captions of each sample."""
        return [self._compose(sample) for sample in samples]

    def _compose(self, sample: Sample) -> list[Annotation]:
        small = thumbnail(sample.image)
        things, lines = self._things(sample, small), self._lines(sample)
        if not things and not lines:
            return self._alone(small)
        few, many = lines[:1], lines[: self.config.most_lines]
        around = _around(small, things)
        drafts: list[tuple[str, str, list[ObjectGroup | Line]]] = [
            ("caption", brief(things, lines), [*(things or lines)[:1]]),
            ("detailed_caption", detailed(things[:3], few, around), [*things[:3], *few]),
            ("more_detailed_caption", more_detailed(things, many, around), [*things, *many]),
        ]
        captions: list[Annotation] = []
        for task, text, parts in drafts:
            if not captions or len(text) > len(captions[-1].text):
                score = min((part.score for part in parts if part.score is not None), default=None)
                captions.append(_caption(task, text, score))
        return captions

    def _alone(self, small: np.ndarray) -> list[Annotation]:
        """Return the caption of a picture of which nothing is known."""
        text = medium(background(small, []), is_black_and_white=is_black_and_white(small))
        return [_caption("caption", text)] if text and self.config.has_colours_alone else []

    def _things(self, sample: Sample, small: np.ndarray) -> list[ObjectGroup]:
        """Return the objects and tags to mention, the objects first in rank first."""
        boxes = [
            box
            for box in sample.of("object_detection")
            if box.label and box.box_xyxy and _reaches(box, self.config.least_object)
        ]
        grouped: dict[str, list[Annotation]] = {}
        in_rank = ranked(boxes, sample.known, source_first=self.config.source_first)
        for box in separate(in_rank, self.config.most_overlap):
            grouped.setdefault(box.label, []).append(box)
        groups = list(grouped.items())[: self.config.most_things]
        masks = self._masks(sample)
        colours = _colours(sample, small, [own[0] for _, own in groups], masks)
        things = [
            ObjectGroup(
                name=label,
                boxes=tuple(relative(box, sample) for box in own if self._is_placed(own, masks)),
                colour=colour,
                score=own[0].score,
                has_size=self.config.has_sizes,
            )
            for (label, own), colour in zip(groups, colours, strict=True)
        ]
        detected = {box.label for box in sample.of("object_detection")}
        things += [
            ObjectGroup(name=tag.label, score=tag.score)
            for tag in sample.of("tag")
            if tag.label not in detected and _reaches(tag, self.config.least_tag)
        ]
        return things[: self.config.most_things]

    def _masks(self, sample: Sample) -> dict[str, MaskRLE] | None:
        """Return the masks that count by the id of their box, `None` if the stage reads none."""
        if not any("segmentation" in tasks for tasks in sample.upstream.values()):
            return None
        return {
            mask.parent_id: mask.mask_rle
            for mask in sample.of("segmentation")
            if mask.mask_rle and (mask.support is None or mask.support >= self.config.least_mask)
        }

    def _is_placed(self, boxes: Sequence[Annotation], masks: Mapping[str, MaskRLE] | None) -> bool:
        """Return whether all boxes of one name are sure."""
        if masks is not None and any(box.id not in masks for box in boxes):
            return False
        return len(boxes) == 1 or all(_reaches(box, self.config.least_counted) for box in boxes)

    def _lines(self, sample: Sample) -> list[Line]:
        return [
            Line(text=line.text, box_xyxy=relative(line, sample), score=line.score)
            for line in sample.of("ocr")
            if line.box_xyxy and _reaches(line, self.config.least_text) and is_readable(line.text)
        ]


def _caption(task: str, text: str, score: float | None = None) -> Annotation:
    return Annotation(kind="text", task=task, text=text, language="en", score=score)


def _colours(
    sample: Sample,
    small: np.ndarray,
    boxes: Sequence[Annotation],
    masks: Mapping[str, MaskRLE] | None,
) -> list[str]:
    """Return the colour of each object, or ""."""
    if not boxes or is_black_and_white(small):
        return [""] * len(boxes)
    found = {box: thumbnail_mask(mask) for box, mask in (masks or {}).items()}
    places = [relative(box, sample) for box in boxes]
    colours = own_colours(small, places, [found.get(box.id) for box in boxes])
    return [
        colour
        if (masks is None or box.id in found)
        and not has_colour(box.label)
        and box.label.lower() not in _PEOPLE
        else ""
        for box, colour in zip(boxes, colours, strict=True)
    ]


def _around(small: np.ndarray, things: Sequence[ObjectGroup]) -> list[str]:
    """Return the colours of the background, if it is known where it is: around one object, or
    around text."""
    if len(things) > 1 or any(not thing.boxes for thing in things):
        return []
    return background(small, [box for thing in things for box in thing.boxes])


def _reaches(annotation: Annotation, least: float) -> bool:
    """Return whether a score reaches a threshold; an annotation without a score does."""
    return annotation.score is None or annotation.score >= least

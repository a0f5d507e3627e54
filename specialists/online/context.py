"""The annotations of a sample as fields of a prompt: cleaned, quoted and limited.

Texts of annotations are not trusted: they may be text in the image, such as "ignore your rules".
Each is one line in double quotes that it cannot leave (a JSON string), so that a prompt can declare
all quoted text as data.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, fields

from pydantic import BaseModel, ConfigDict, Field

from engine.core.annotation import Annotation
from engine.core.sample import Sample
from engine.core.tasks import CAPTION_TASKS, DESCRIBED_TASKS

TASKS_OF = {
    "captions": CAPTION_TASKS,
    "brief_captions": ("caption",),
    "detailed_captions": ("detailed_caption",),
    "more_detailed_captions": ("more_detailed_caption",),
    "regions": DESCRIBED_TASKS,
    "lines": ("ocr",),
    "tags": ("tag",),
}
"""The tasks that a field of a prompt contains; other fields need none."""

_BINS = 1000


class PromptLimits(BaseModel):
    """Maximum numbers and lengths of annotations in a prompt."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    captions: int = Field(default=12, ge=0)
    """Captions of one task."""
    regions: int = Field(default=40, ge=0)
    """Regions, highest scores first."""
    lines: int = Field(default=20, ge=0)
    """Lines of text in the image, in reading order."""
    tags: int = Field(default=20, ge=0)
    """Tags, highest scores first."""
    caption_characters: int = Field(default=2000, ge=1)
    """Characters of a caption; the rest is cut."""
    name_characters: int = Field(default=120, ge=1)
    """Characters of a region's name, a tag or a line of text."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ContextRegion:
    """A region in a prompt.

    `name` is quoted; `box` is "x1 y1 x2 y2" in thousandths of the image's width and height,
    0..999, from the top-left corner.
    """

    name: str
    box: str


@dataclass(frozen=True, kw_only=True, slots=True)
class PromptContext:
    """The fields of a prompt. All texts are quoted; `width` and `height` are pixels.

    `captions` are those of all three tasks, shortest first; `lines` is text in the image.
    """

    width: int
    height: int
    captions: tuple[str, ...] = ()
    brief_captions: tuple[str, ...] = ()
    detailed_captions: tuple[str, ...] = ()
    more_detailed_captions: tuple[str, ...] = ()
    regions: tuple[ContextRegion, ...] = ()
    lines: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()


FIELDS = tuple(field.name for field in fields(PromptContext))
"""Names that a template may use."""


def context_of(sample: Sample, limits: PromptLimits) -> PromptContext:
    """Return the fields for a sample, from its annotations, without duplicates."""
    captions = [_captions(sample, task, limits) for task in CAPTION_TASKS]
    brief, detailed, more_detailed = captions
    names = limits.name_characters
    return PromptContext(
        width=sample.width,
        height=sample.height,
        captions=(*brief, *detailed, *more_detailed),
        brief_captions=brief,
        detailed_captions=detailed,
        more_detailed_captions=more_detailed,
        regions=tuple(_regions(sample, names))[: limits.regions],
        lines=_distinct((quoted(one.text, names) for one in sample.of("ocr")), limits.lines),
        tags=_distinct(
            (quoted(name_of(one), names) for one in _by_score(sample, "tag")), limits.tags
        ),
    )


def name_of(annotation: Annotation) -> str:
    """Return the label of an annotation, else its text."""
    return annotation.label if annotation.label.strip() else annotation.text


def quoted(text: str, most_characters: int) -> str:
    """Return a text as one line in double quotes, inner quotes escaped; "" stays ""."""
    line = one_line(text)
    if not line:
        return ""
    short = line if len(line) <= most_characters else line[:most_characters].rstrip() + "…"
    return json.dumps(short, ensure_ascii=False)


def one_line(text: str) -> str:
    """Return a text on one line; control and format characters become spaces."""
    visible = "".join(letter if letter.isprintable() else " " for letter in text)
    return " ".join(visible.split())


def _captions(sample: Sample, task: str, limits: PromptLimits) -> tuple[str, ...]:
    texts = (quoted(one.text, limits.caption_characters) for one in sample.of(task))
    return _distinct(texts, limits.captions)


def _regions(sample: Sample, most_characters: int) -> Iterator[ContextRegion]:
    """Yield each region with its name once; of one stage's texts for a box, only the best."""
    known: set[ContextRegion] = set()
    described: set[tuple[str, str]] = set()
    for one in _by_score(sample, *DESCRIBED_TASKS):
        name = quoted(name_of(one), most_characters)
        is_further = bool(one.parent_id) and (one.specialist, one.parent_id) in described
        if name and one.box_xyxy and not is_further:
            described.add((one.specialist, one.parent_id))
            region = ContextRegion(name=name, box=relative_box(one.box_xyxy, sample))
            if region not in known:
                known.add(region)
                yield region


def relative_box(box_xyxy: tuple[float, ...], sample: Sample) -> str:
    """Return a box in thousandths of the image's sides, 0..999."""
    sides = (sample.width, sample.height) * 2
    bins = (int(edge * _BINS / side) for edge, side in zip(box_xyxy, sides, strict=True))
    return " ".join(str(min(max(number, 0), _BINS - 1)) for number in bins)


def _by_score(sample: Sample, *tasks: str) -> list[Annotation]:
    """Return annotations by descending score; those without a score first."""
    return sorted(sample.of(*tasks), key=lambda one: -(1.0 if one.score is None else one.score))


def _distinct(texts: Iterator[str], most: int) -> tuple[str, ...]:
    return tuple(dict.fromkeys(text for text in texts if text))[:most]

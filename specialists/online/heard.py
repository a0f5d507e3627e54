"""What a prompt can tell of a sample: what others said of it, cleaned, quoted and limited.

Words of others are not trusted: they may be text in the image, and say "ignore your rules". Each
reaches the prompt as one line in double quotes that it cannot leave (a JSON string), so that a
prompt can call all that is quoted data. Knows no template and no service.
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
"""The tasks that a field of a prompt needs; those not listed need none."""

_BINS = 1000


class PromptLimits(BaseModel):
    """How much a prompt tells at most."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    captions: int = Field(default=12, ge=0)
    """Captions of one task."""
    regions: int = Field(default=40, ge=0)
    """Regions, the surest first."""
    lines: int = Field(default=20, ge=0)
    """Lines of text in the image, in the order in which they were read."""
    tags: int = Field(default=20, ge=0)
    """Tags, the surest first."""
    caption_characters: int = Field(default=2000, ge=1)
    """Characters of a caption; the rest is left out."""
    name_characters: int = Field(default=120, ge=1)
    """Characters of a region's name, a tag or a line of text."""


@dataclass(frozen=True, kw_only=True, slots=True)
class HeardRegion:
    """A region as a prompt tells it.

    `name` is quoted; `box` is "x1 y1 x2 y2" in thousandths of the image's width and height,
    0..999, from the top-left corner.
    """

    name: str
    box: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Heard:
    """The fields of a prompt. All texts are quoted; `width` and `height` are pixels.

    `captions` are those of all three lengths, shortest kind first; `lines` is text in the image.
    """

    width: int
    height: int
    captions: tuple[str, ...] = ()
    brief_captions: tuple[str, ...] = ()
    detailed_captions: tuple[str, ...] = ()
    more_detailed_captions: tuple[str, ...] = ()
    regions: tuple[HeardRegion, ...] = ()
    lines: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()


FIELDS = tuple(field.name for field in fields(Heard))
"""Names that a template may use."""


def heard_of(sample: Sample, limits: PromptLimits) -> Heard:
    """Return what the earlier annotations of a sample say; the same words only once."""
    captions = [_captions(sample, task, limits) for task in CAPTION_TASKS]
    brief, detailed, more_detailed = captions
    names = limits.name_characters
    return Heard(
        width=sample.width,
        height=sample.height,
        captions=(*brief, *detailed, *more_detailed),
        brief_captions=brief,
        detailed_captions=detailed,
        more_detailed_captions=more_detailed,
        regions=tuple(_regions(sample, names))[: limits.regions],
        lines=_distinct((quoted(one.text, names) for one in sample.of("ocr")), limits.lines),
        tags=_distinct(
            (quoted(name_of(one), names) for one in _surest_first(sample, "tag")), limits.tags
        ),
    )


def name_of(annotation: Annotation) -> str:
    """Return what an annotation calls what it is about: a label, else its text."""
    return annotation.label if annotation.label.strip() else annotation.text


def quoted(text: str, most_characters: int) -> str:
    """Return a text as one line in double quotes, whose own are escaped; empty stays empty."""
    line = one_line(text)
    if not line:
        return ""
    short = line if len(line) <= most_characters else line[:most_characters].rstrip() + "…"
    return json.dumps(short, ensure_ascii=False)


def one_line(text: str) -> str:
    """Return a text on one line; control characters, and those that hide others, become spaces."""
    visible = "".join(letter if letter.isprintable() else " " for letter in text)
    return " ".join(visible.split())


def _captions(sample: Sample, task: str, limits: PromptLimits) -> tuple[str, ...]:
    texts = (quoted(one.text, limits.caption_characters) for one in sample.of(task))
    return _distinct(texts, limits.captions)


def _regions(sample: Sample, most_characters: int) -> Iterator[HeardRegion]:
    told: set[HeardRegion] = set()
    for one in _surest_first(sample, *DESCRIBED_TASKS):
        name = quoted(name_of(one), most_characters)
        if name and one.box_xyxy:
            region = HeardRegion(name=name, box=relative_box(one.box_xyxy, sample))
            if region not in told:
                told.add(region)
                yield region


def relative_box(box_xyxy: tuple[float, ...], sample: Sample) -> str:
    """Write a box in thousandths of the image's sides, 0..999."""
    sides = (sample.width, sample.height) * 2
    bins = (int(edge * _BINS / side) for edge, side in zip(box_xyxy, sides, strict=True))
    return " ".join(str(min(max(place, 0), _BINS - 1)) for place in bins)


def _surest_first(sample: Sample, *tasks: str) -> list[Annotation]:
    """Return annotations by falling score; who gave none is believed."""
    return sorted(sample.of(*tasks), key=lambda one: -(1.0 if one.score is None else one.score))


def _distinct(texts: Iterator[str], most: int) -> tuple[str, ...]:
    return tuple(dict.fromkeys(text for text in texts if text))[:most]

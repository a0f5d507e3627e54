"""The annotations of a sample as fields of a prompt: cleaned, quoted and limited.

Texts of annotations are not trusted: they may be text in the image, such as "ignore your rules".
Each is one line in double quotes that it cannot leave (a JSON string), so that a prompt can declare
all quoted text as data.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, fields
from itertools import islice

from pydantic import BaseModel, ConfigDict, Field

from florilegium.engine.core.annotation import Annotation
from florilegium.engine.core.rank import ranked
from florilegium.engine.core.sample import Sample
from florilegium.engine.core.tasks import CAPTION_TASKS, DESCRIBED_TASKS
from florilegium.specialists.regions.places import places

TASKS_OF = {
    "captions": CAPTION_TASKS,
    "brief_captions": ("caption",),
    "detailed_captions": ("detailed_caption",),
    "more_detailed_captions": ("more_detailed_caption",),
    "regions": DESCRIBED_TASKS,
    "lines": ("ocr",),
    "tags": ("tag",),
    "facts": (*CAPTION_TASKS, *DESCRIBED_TASKS, "ocr", "tag"),
}
"""The tasks that a field of a prompt contains; other fields need none."""

_BINS = 1000


class PromptLimits(BaseModel):
    """Maximum numbers and lengths of annotations in a prompt, and which come first."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    captions: int = Field(default=12, ge=0)
    """Captions of one task."""
    regions: int = Field(default=40, ge=0)
    """Places with their names: labels of the source first, then the highest scores."""
    lines: int = Field(default=20, ge=0)
    """Lines of text in the image, in reading order."""
    tags: int = Field(default=20, ge=0)
    """Tags: labels of the source first, then the highest scores."""
    caption_characters: int = Field(default=2000, ge=1)
    """Characters of a caption; the rest is cut."""
    name_characters: int = Field(default=120, ge=1)
    """Characters of a region's name, a tag or a line of text."""
    source_first: bool = True
    """Whether labels of the source come before those of machines, whatever the scores."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ContextRegion:
    """A place in a prompt.

    `name` has its names, each quoted, with commas between them; `box` is "x1 y1 x2 y2" in
    thousandths of the image's width and height, 0..999, from the top-left corner.
    """

    name: str
    box: str


@dataclass(frozen=True, kw_only=True, slots=True)
class ContextFact:
    """An annotation in a prompt, to be referred to by its `number`, 1 and up.

    `kind` is "caption", "region", "text in the image" or "tag"; `text` is quoted; `box` as in
    `ContextRegion`, "" without a box.
    """

    number: int
    kind: str
    text: str
    box: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class PromptContext:
    """The fields of a prompt. All texts are quoted; `width` and `height` are pixels.

    `captions` are those of all three tasks, shortest first; `lines` is text in the image; `facts`
    has all of these, numbered.
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
    facts: tuple[ContextFact, ...] = ()


FIELDS = tuple(field.name for field in fields(PromptContext))
"""Names that a template may use."""


def context_of(sample: Sample, limits: PromptLimits) -> PromptContext:
    """Return the fields for a sample, from its annotations, without duplicates."""
    captions = [_captions(sample, task, limits) for task in CAPTION_TASKS]
    brief, detailed, more_detailed = captions
    names = limits.name_characters
    tags = ranked(sample.of("tag"), sample.known, source_first=limits.source_first)
    return PromptContext(
        width=sample.width,
        height=sample.height,
        captions=(*brief, *detailed, *more_detailed),
        brief_captions=brief,
        detailed_captions=detailed,
        more_detailed_captions=more_detailed,
        regions=tuple(_regions(sample, limits))[: limits.regions],
        lines=_distinct((quoted(one.text, names) for one in sample.of("ocr")), limits.lines),
        tags=_distinct((quoted(name_of(one), names) for one in tags), limits.tags),
        facts=tuple(fact for fact, _ in numbered(sample, limits)),
    )


def numbered(sample: Sample, limits: PromptLimits) -> list[tuple[ContextFact, Annotation]]:
    """Return the facts of a prompt with the annotations that they stand for, by number.

    Of several that say the same of the same place, only the first has a number.
    """
    found: dict[tuple[str, str, str], Annotation] = {}
    for kind, one, text, box in _facts(sample, limits):
        if text:
            found.setdefault((kind, text, box), one)
    return [
        (ContextFact(number=number, kind=kind, text=text, box=box), one)
        for number, ((kind, text, box), one) in enumerate(found.items(), start=1)
    ]


def _facts(sample: Sample, limits: PromptLimits) -> Iterator[tuple[str, Annotation, str, str]]:
    """Yield kind, annotation, quoted text and box; a place has one box, whoever found it."""
    for task in CAPTION_TASKS:
        for one in islice(sample.of(task), limits.captions):
            yield "caption", one, quoted(one.text, limits.caption_characters), ""
    names = limits.name_characters
    for place in _places(sample, limits)[: limits.regions]:
        box = relative_box(place[0].box_xyxy, sample)
        yield from (("region", one, quoted(name_of(one), names), box) for one in place)
    for one in islice(sample.of("ocr"), limits.lines):
        box = relative_box(one.box_xyxy, sample) if one.box_xyxy else ""
        yield "text in the image", one, quoted(one.text, names), box
    tags = ranked(sample.of("tag"), sample.known, source_first=limits.source_first)
    for one in tags[: limits.tags]:
        yield "tag", one, quoted(name_of(one), names), ""


def name_of(annotation: Annotation) -> str:
    """Return the label of an annotation, else its text."""
    return annotation.label if annotation.label.strip() else annotation.text


def quoted(text: str, max_characters: int) -> str:
    """Return a text as one line in double quotes, inner quotes escaped; "" stays ""."""
    line = one_line(text)
    if not line:
        return ""
    short = line if len(line) <= max_characters else line[:max_characters].rstrip() + "…"
    return json.dumps(short, ensure_ascii=False)


def one_line(text: str) -> str:
    """Return a text on one line; control and format characters become spaces."""
    visible = "".join(letter if letter.isprintable() else " " for letter in text)
    return " ".join(visible.split())


def _captions(sample: Sample, task: str, limits: PromptLimits) -> tuple[str, ...]:
    texts = (quoted(one.text, limits.caption_characters) for one in sample.of(task))
    return _distinct(texts, limits.captions)


def _regions(sample: Sample, limits: PromptLimits) -> Iterator[ContextRegion]:
    """Yield each place with all its different names; of one stage's texts for a box, the best."""
    names_at: dict[str, dict[str, str]] = {}
    for place in _places(sample, limits):
        names = names_at.setdefault(relative_box(place[0].box_xyxy, sample), {})
        for one in place:
            name = quoted(name_of(one), limits.name_characters)
            names.setdefault(name.casefold(), name)
    for box, names in names_at.items():
        yield ContextRegion(name=", ".join(names.values()), box=box)


def _places(sample: Sample, limits: PromptLimits) -> list[tuple[Annotation, ...]]:
    """Return the places of regions that have a name, the first in rank first."""
    named = [one for one in _best_texts(sample, limits) if one.box_xyxy and one_line(name_of(one))]
    return places(named, sample.known, source_first=limits.source_first)


def _best_texts(sample: Sample, limits: PromptLimits) -> Iterator[Annotation]:
    """Yield what names a region; of the texts that one stage has for one box, only the best."""
    described: set[tuple[str, str]] = set()
    texts = sample.of(*DESCRIBED_TASKS)
    for one in ranked(texts, sample.known, source_first=limits.source_first):
        of_box = (one.specialist, one.parent_id)
        if not one.parent_id or of_box not in described:
            described.add(of_box)
            yield one


def relative_box(box_xyxy: tuple[float, ...], sample: Sample) -> str:
    """Return a box in thousandths of the image's sides, 0..999."""
    sides = (sample.width, sample.height) * 2
    bins = (int(edge * _BINS / side) for edge, side in zip(box_xyxy, sides, strict=True))
    return " ".join(str(min(max(number, 0), _BINS - 1)) for number in bins)


def _distinct(texts: Iterator[str], most: int) -> tuple[str, ...]:
    return tuple(dict.fromkeys(text for text in texts if text))[:most]

"""What is known of an image, to ask about: things, phrases of captions, lines of text, and what
may be there.

A fact is an annotation that is sure enough. Any other annotation casts doubt on what it names: it
is neither asked about as if it were there, nor as if it were not.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from florilegium.engine.core.annotation import Annotation
from florilegium.engine.core.rank import ranked
from florilegium.engine.core.sample import Sample
from florilegium.specialists.regions.overlap import box_overlap
from florilegium.specialists.regions.places import relative, separate
from florilegium.specialists.words.colours import own_colours, thumbnail
from florilegium.specialists.words.nouns import is_readable

_SAME_IOU = 0.5
"""Intersection over union from which on two boxes of one name are the same thing."""
_PHRASE = re.compile(r"(?:an?|the) ([^\W\d_]+(?:[ -][^\W\d_]+)*)", re.IGNORECASE)
"""A phrase for one thing, after its article."""
_PLACED = re.compile(
    r"\b(?:left|right|top|bottom|cent(?:er|re)|middle|corner|side|upper|lower|other)\b",
    re.IGNORECASE,
)
"""Words by which a phrase answers itself where its thing is."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Sureness:
    """From which score on an annotation is a fact, 0..1; one without a score always is.

    `specialists` are those whose annotations can be facts, all if it is empty. Of two boxes that
    share more than `most_overlap` of the smaller one, only the first in rank is a fact. No phrase
    is one where `least_phrase` is `None`.
    """

    least_object: float
    least_tag: float
    least_text: float
    least_phrase: float | None
    most_overlap: float
    specialists: tuple[str, ...] = ()

    def is_fact(self, annotation: Annotation, least: float) -> bool:
        """Return whether an annotation is sure enough."""
        is_chosen = not self.specialists or annotation.specialist in self.specialists
        return is_chosen and (annotation.score is None or annotation.score >= least)


@dataclass(frozen=True, kw_only=True, slots=True)
class Thing:
    """A fact about one object; `box_xyxy` is relative to the image, 0..1, `colour` may be empty."""

    name: str
    box_xyxy: tuple[float, ...]
    colour: str
    source: Annotation


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """A line of text; `box_xyxy` is relative to the image, 0..1."""

    text: str
    box_xyxy: tuple[float, ...]
    source: Annotation


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What is known of one image.

    `doubtful` are the names that further annotations have for what may be there; `lines` is `None`
    where a line is too unsure, so that not all text is known. `names` has a source for each name
    that is there. `phrases` are things as captions call them, without an article.
    """

    things: Sequence[Thing]
    phrases: Sequence[Thing]
    doubtful: frozenset[str]
    lines: Sequence[Line] | None
    names: dict[str, Annotation]

    @cached_property
    def counts(self) -> dict[str, int]:
        """The number of things of each name that no annotation casts doubt on."""
        counts = Counter(thing.name for thing in self.things)
        return {name: count for name, count in counts.items() if name not in self.doubtful}

    @cached_property
    def single(self) -> list[Thing]:
        """The things whose names refer to one thing only."""
        return [thing for thing in self.things if self.counts.get(thing.name) == 1]


def facts_of(sample: Sample, sureness: Sureness) -> Facts:
    """Return what the annotations of a sample say is there."""
    boxes = [box for box in sample.of("object_detection") if box.label and box.box_xyxy]
    sure = [box for box in boxes if sureness.is_fact(box, sureness.least_object)]
    facts = separate(ranked(sure, sample.known), sureness.most_overlap)
    tags = [tag for tag in sample.of("tag") if sureness.is_fact(tag, sureness.least_tag)]
    things, doubtful = _things(sample, facts), frozenset(_doubts(boxes, facts))
    return Facts(
        things=things,
        phrases=_phrases(sample, sureness, things, doubtful),
        doubtful=doubtful,
        lines=_lines(sample, sureness),
        names={one.label: one for one in (*reversed(tags), *reversed(facts))},
    )


def _things(sample: Sample, boxes: Sequence[Annotation]) -> list[Thing]:
    places = [relative(box, sample) for box in boxes]
    colours = own_colours(thumbnail(sample.image), places) if places else []
    return [
        Thing(name=box.label, box_xyxy=place, colour=_hue(colour), source=box)
        for box, place, colour in zip(boxes, places, colours, strict=True)
    ]


def _phrases(
    sample: Sample, sureness: Sureness, things: Sequence[Thing], doubtful: frozenset[str]
) -> list[Thing]:
    """Return the phrases that refer to one box only, whoever found it, and do not tell where it is.

    A phrase that ends with the name of an object does so only where there is one object of it.
    """
    least = sureness.least_phrase
    if least is None:
        return []
    by_words: dict[str, list[Annotation]] = {}
    for one in sample.of("phrase_grounding"):
        if one.box_xyxy and (match := _PHRASE.fullmatch(" ".join(one.text.split()))):
            by_words.setdefault(match[1].casefold(), []).append(one)
    counts = Counter(thing.name.casefold() for thing in things)
    several = {name for name, count in counts.items() if count > 1}
    unclear = tuple(several | {name.casefold() for name in doubtful})
    return [
        Thing(name=words, box_xyxy=relative(sure[0], sample), colour="", source=sure[0])
        for words, found in by_words.items()
        if (sure := [one for one in found if sureness.is_fact(one, least)])
        and _is_one_box(found)
        and not _PLACED.search(words)
        and not any(words == name or words.endswith(f" {name}") for name in unclear)
    ]


def _is_one_box(found: Sequence[Annotation]) -> bool:
    boxes = [one.box_xyxy for one in found]
    return bool((box_overlap(boxes, boxes)[0] >= _SAME_IOU).all())


def _hue(colour: str) -> str:
    """Return a colour without its shade, which is vague: "green" of "dark green"."""
    return colour.rpartition(" ")[2]


def _doubts(boxes: Sequence[Annotation], facts: Sequence[Annotation]) -> Iterable[str]:
    """Yield the names of boxes that are no facts, nor the same things as a fact of their name."""
    iou, _ = box_overlap([box.box_xyxy for box in boxes], [fact.box_xyxy for fact in facts])
    is_same = (iou >= _SAME_IOU) & np.array(
        [[box.label == fact.label for fact in facts] for box in boxes], dtype=bool
    ).reshape(iou.shape)
    known = {fact.id for fact in facts}
    for box, is_of_fact in zip(boxes, is_same.any(axis=1), strict=True):
        if box.id not in known and not is_of_fact:
            yield box.label


def _lines(sample: Sample, sureness: Sureness) -> list[Line] | None:
    lines = [line for line in sample.of("ocr") if line.box_xyxy and is_readable(line.text)]
    facts = [line for line in lines if sureness.is_fact(line, sureness.least_text)]
    iou, _ = box_overlap([line.box_xyxy for line in facts], [line.box_xyxy for line in lines])
    if not (iou >= _SAME_IOU).any(axis=0).all():
        return None
    return [
        Line(text=" ".join(line.text.split()), box_xyxy=relative(line, sample), source=line)
        for line in facts
    ]

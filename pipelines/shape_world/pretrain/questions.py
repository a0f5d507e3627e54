"""What the text half is asked about a drawing, and what it should answer.

Prompts and targets follow Florence-2's grammar, which `specialists.florence2.format` writes;
this module only chooses what to ask.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

from pipelines.shape_world.pretrain.scenes import Drawing, described
from pipelines.shape_world.scene import COLOURS, NAMES, PATTERNS
from specialists.florence2.format import TARGETS, locations, prompt_of
from specialists.words.occurrences import located

CAPTIONS = ("caption", "detailed_caption", "more_detailed_caption")
BESIDES: Mapping[str, float] = {
    "caption": 2.0,
    "detailed_caption": 2.0,
    "more_detailed_caption": 1.0,
    "phrase_grounding": 2.0,
    "dense_region_caption": 1.5,
    "open_vocabulary_detection": 1.5,
    "region_category": 1.0,
    "region_description": 1.0,
}
"""How often each task besides object detection is asked; only the proportions count."""

_ABSENT = 0.25
"""Share of open-vocabulary queries for a thing that is not there; the answer is empty."""


class Question(NamedTuple):
    """A prompt in English and its target, both as text with location tokens."""

    prompt: str
    target: str


def ask(task: str, drawing: Drawing, rng: np.random.Generator) -> Question | None:
    """Ask one task about a drawing, or None when the drawing has no answer to it."""
    if task in CAPTIONS:
        text = drawing.captions.get(task, "")
        return Question(prompt_of(task), text) if text else None
    return _ASKED[task](drawing, rng)


def detection(drawing: Drawing) -> Question:
    """Ask for everything there is; there is one right answer."""
    write = TARGETS["object_detection"]
    target = write(drawing.names, drawing.boxes_xyxy, drawing.size_wh)
    return Question(prompt_of("object_detection"), target)


def _descriptions(drawing: Drawing, rng: np.random.Generator) -> Question:
    write = TARGETS["dense_region_caption"]
    target = write(drawing.phrases, drawing.boxes_xyxy, drawing.size_wh)
    return Question(prompt_of("dense_region_caption"), target)


def _grounding(drawing: Drawing, rng: np.random.Generator) -> Question | None:
    """Take a true caption, or make one of the things in any order.

    Of two things with one name nobody knows which one a caption says first: it is not taken.
    """
    caption = drawing.captions.get(CAPTIONS[rng.integers(2)], "")
    first = {phrase: located(phrase, caption) for phrase in drawing.phrases}
    if caption and len(first) == len(drawing.phrases) and rng.random() < 0.6:
        told = {number: span for number, span in enumerate(first.values()) if span}
        order = sorted(told, key=told.__getitem__)
    else:
        order = rng.permutation(len(drawing.kinds))[: rng.integers(1, 4)].tolist()
        caption = " and ".join(f"a {drawing.phrases[place]}" for place in order)
    write = TARGETS["phrase_grounding"]
    target = "".join(
        write([f"a {drawing.phrases[place]}"], drawing.boxes_xyxy[place], drawing.size_wh)
        for place in order
    )
    return Question(prompt_of("phrase_grounding", caption), target)


def _query(drawing: Drawing, rng: np.random.Generator) -> Question:
    if rng.random() < _ABSENT:
        sizes = (len(NAMES), len(COLOURS), len(PATTERNS))
        kind = [int(rng.integers(size)) for size in sizes]
        wanted = NAMES[kind[0]] if rng.random() < 0.5 else described(*kind)
    else:
        wanted = str(rng.choice(drawing.names if rng.random() < 0.5 else drawing.phrases))
    called = zip(drawing.names, drawing.phrases, strict=True)
    found = [place for place, names in enumerate(called) if wanted in names]
    write = TARGETS["open_vocabulary_detection"]
    target = write([wanted] * len(found), drawing.boxes_xyxy[found], drawing.size_wh)
    return Question(prompt_of("open_vocabulary_detection", wanted), target)


def _category(drawing: Drawing, rng: np.random.Generator) -> Question:
    place = rng.integers(len(drawing.kinds))
    region = locations(drawing.boxes_xyxy[place], drawing.size_wh)
    return Question(prompt_of("region_category", region), drawing.names[place])


def _description(drawing: Drawing, rng: np.random.Generator) -> Question:
    place = rng.integers(len(drawing.kinds))
    region = locations(drawing.boxes_xyxy[place], drawing.size_wh)
    return Question(prompt_of("region_description", region), drawing.phrases[place])


_ASKED: Mapping[str, Callable[[Drawing, np.random.Generator], Question | None]] = {
    "object_detection": lambda drawing, rng: detection(drawing),
    "dense_region_caption": _descriptions,
    "phrase_grounding": _grounding,
    "open_vocabulary_detection": _query,
    "region_category": _category,
    "region_description": _description,
}

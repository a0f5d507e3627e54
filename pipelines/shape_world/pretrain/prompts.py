"""Prompts about a drawing, and their targets, for training the text half.

`specialists.florence2.format` writes them in Florence-2's format; this module chooses captions,
phrases and regions. As the shipped weights were trained, a text about a region is the words alone:
the region is not repeated (`region_text_target`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

from florilegium.pipelines.shape_world.pretrain.scenes import Drawing, described
from florilegium.pipelines.shape_world.scene import COLOURS, NAMES, PATTERNS
from florilegium.specialists.florence2.format import TARGETS, locations, prompt_of
from florilegium.specialists.words.occurrences import located

CAPTIONS = ("caption", "detailed_caption", "more_detailed_caption")
SECOND_TASKS: Mapping[str, float] = {
    "caption": 2.0,
    "detailed_caption": 2.0,
    "more_detailed_caption": 1.0,
    "phrase_grounding": 2.0,
    "dense_region_caption": 1.5,
    "open_vocabulary_detection": 1.5,
    "region_category": 1.0,
    "region_description": 1.0,
}
"""Relative frequencies of the tasks besides object detection, chosen by hand."""

_ABSENT_SHARE = 0.25
"""Share of open-vocabulary queries for an absent thing, whose target is empty."""


class PromptTarget(NamedTuple):
    """A prompt in English and its target, both with location tokens."""

    prompt: str
    target: str


def make_pair(task: str, drawing: Drawing, rng: np.random.Generator) -> PromptTarget | None:
    """Return a prompt of a task and its target; `None` if the drawing has no target for it."""
    if task in CAPTIONS:
        text = drawing.captions.get(task, "")
        return PromptTarget(prompt_of(task), text) if text else None
    return _MAKERS[task](drawing, rng)


def detection(drawing: Drawing) -> PromptTarget:
    """Return the prompt and target of detecting all things."""
    write = TARGETS["object_detection"]
    target = write(drawing.names, drawing.boxes_xyxy, drawing.size_wh)
    return PromptTarget(prompt_of("object_detection"), target)


def _descriptions(drawing: Drawing, rng: np.random.Generator) -> PromptTarget:
    write = TARGETS["dense_region_caption"]
    target = write(drawing.phrases, drawing.boxes_xyxy, drawing.size_wh)
    return PromptTarget(prompt_of("dense_region_caption"), target)


def _grounding(drawing: Drawing, rng: np.random.Generator) -> PromptTarget | None:
    """Ground the phrases of a true caption, or of a list of things in random order.

    A caption is not used if two things have the same phrase: the first mention would be ambiguous.
    """
    caption = drawing.captions.get(CAPTIONS[rng.integers(2)], "")
    first = {phrase: located(phrase, caption) for phrase in drawing.phrases}
    if caption and len(first) == len(drawing.phrases) and rng.random() < 0.6:
        spans = {index: span for index, span in enumerate(first.values()) if span}
        order = sorted(spans, key=spans.__getitem__)
    else:
        order = rng.permutation(len(drawing.kinds))[: rng.integers(1, 4)].tolist()
        caption = " and ".join(f"a {drawing.phrases[index]}" for index in order)
    write = TARGETS["phrase_grounding"]
    target = "".join(
        write([f"a {drawing.phrases[index]}"], drawing.boxes_xyxy[index], drawing.size_wh)
        for index in order
    )
    return PromptTarget(prompt_of("phrase_grounding", caption), target)


def _query(drawing: Drawing, rng: np.random.Generator) -> PromptTarget:
    if rng.random() < _ABSENT_SHARE:
        sizes = (len(NAMES), len(COLOURS), len(PATTERNS))
        kind = [int(rng.integers(size)) for size in sizes]
        wanted = NAMES[kind[0]] if rng.random() < 0.5 else described(*kind)
    else:
        wanted = str(rng.choice(drawing.names if rng.random() < 0.5 else drawing.phrases))
    names = zip(drawing.names, drawing.phrases, strict=True)
    found = [index for index, own in enumerate(names) if wanted in own]
    write = TARGETS["open_vocabulary_detection"]
    target = write([wanted] * len(found), drawing.boxes_xyxy[found], drawing.size_wh)
    return PromptTarget(prompt_of("open_vocabulary_detection", wanted), target)


def _category(drawing: Drawing, rng: np.random.Generator) -> PromptTarget:
    index = rng.integers(len(drawing.kinds))
    region = locations(drawing.boxes_xyxy[index], drawing.size_wh)
    return PromptTarget(prompt_of("region_category", region), drawing.names[index])


def _description(drawing: Drawing, rng: np.random.Generator) -> PromptTarget:
    index = rng.integers(len(drawing.kinds))
    region = locations(drawing.boxes_xyxy[index], drawing.size_wh)
    return PromptTarget(prompt_of("region_description", region), drawing.phrases[index])


_MAKERS: Mapping[str, Callable[[Drawing, np.random.Generator], PromptTarget | None]] = {
    "object_detection": lambda drawing, rng: detection(drawing),
    "dense_region_caption": _descriptions,
    "phrase_grounding": _grounding,
    "open_vocabulary_detection": _query,
    "region_category": _category,
    "region_description": _description,
}

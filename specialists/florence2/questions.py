"""What Florence-2 is asked about a sample: prompts, and what each one is about.

A task without input is one question an image. Tasks with text are asked about captions, phrases
or the configured queries, tasks with a region about boxes. Knows no tokens and no weights.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from engine.core.annotation import Annotation
from engine.core.stage import Input, one_of
from engine.core.tasks import CAPTION_TASKS
from specialists.florence2.format import (
    FLORENCE2_TASKS,
    Florence2Task,
    SizeWH,
    clean,
    joined,
    locations,
    prompt_of,
)

_OF_BOXES = ("object_detection",)
SUBJECTS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        **{name: _OF_BOXES for name, task in FLORENCE2_TASKS.items() if task.takes == "region"},
        "phrase_grounding": CAPTION_TASKS,
        "referring_segmentation": ("phrase_grounding", *_OF_BOXES),
    }
)
"""What the tasks with an input are asked about."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Question:
    """One prompt about one image; `subject` is the annotation that it is about, if any."""

    task: Florence2Task
    prompt: str
    size_wh: SizeWH
    subject: Annotation | None = None
    label: str = ""
    queries: tuple[str, ...] = ()


def in_order(tasks: Sequence[str]) -> list[str]:
    """Put tasks after those whose answers they are asked about."""
    return sorted(tasks, key=list(FLORENCE2_TASKS).index)


def inputs(tasks: Sequence[str]) -> tuple[Input, ...]:
    """Return what must be read for some tasks; what they say themselves need not be."""
    wanted = [SUBJECTS[task] for task in in_order(tasks) if task in SUBJECTS]
    return tuple(one_of(*each) for each in dict.fromkeys(wanted) if not set(each) & set(tasks))


def questions(
    task: str, said: Sequence[Annotation], size_wh: SizeWH, queries: Sequence[Sequence[str]]
) -> Iterator[Question]:
    """Yield what to ask about an image of a size.

    `said` are the annotations that questions may be about; `queries` are groups of names, each
    asked for together.
    """
    asked = FLORENCE2_TASKS[task]
    if task == "open_vocabulary_detection":
        for group in queries:
            prompt = prompt_of(task, joined(group))
            yield Question(task=asked, prompt=prompt, size_wh=size_wh, queries=tuple(group))
    elif asked.takes == "nothing":
        yield Question(task=asked, prompt=prompt_of(task), size_wh=size_wh)
    elif asked.takes == "region":
        for box in said:
            if box.task in SUBJECTS[task] and box.box_xyxy:
                inside = np.clip(box.box_xyxy, 0, np.tile(size_wh, 2))
                prompt = prompt_of(task, locations(inside, size_wh))
                yield Question(
                    task=asked, prompt=prompt, size_wh=size_wh, subject=box, label=box.label
                )
    else:
        for text, subject in _texts(task, said):
            prompt = prompt_of(task, text)
            yield Question(task=asked, prompt=prompt, size_wh=size_wh, subject=subject, label=text)


def _texts(task: str, said: Sequence[Annotation]) -> list[tuple[str, Annotation]]:
    """Return the texts to ask about and who says them.

    Each caption is grounded. Expressions are the phrases of captions, and where there are none
    the labels of boxes; each is looked for once, for the first that says it.
    """
    subjects = [one for one in said if one.task in SUBJECTS[task] and _words(one)]
    if task != "referring_segmentation":
        return [(_words(one), one) for one in subjects]
    expressions: dict[str, Annotation] = {}
    for one in [one for one in subjects if one.kind == "phrase"] or subjects:
        expressions.setdefault(_words(one), one)
    return list(expressions.items())


def _words(subject: Annotation) -> str:
    return clean(subject.text or subject.label)

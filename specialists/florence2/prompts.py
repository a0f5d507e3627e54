"""The prompts of Florence-2 for a sample, and the annotation that each one is about.

A task without input has one prompt per image. Tasks with text have one per caption, phrase or group
of queries, tasks with a region one per box. Knows no tokens and no weights.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from florilegium.engine.core.annotation import Annotation
from florilegium.engine.core.stage import Input, one_of
from florilegium.engine.core.tasks import CAPTION_TASKS
from florilegium.specialists.florence2.format import (
    FLORENCE2_TASKS,
    QUESTION_TASKS,
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
        **{name: (name,) for name in QUESTION_TASKS},
        "phrase_grounding": CAPTION_TASKS,
        "referring_segmentation": ("phrase_grounding", *_OF_BOXES),
    }
)
"""The tasks whose annotations are the inputs of a task."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FilledPrompt:
    """One prompt about one image; `subject` is the annotation that it is about, if any."""

    task: Florence2Task
    prompt: str
    size_wh: SizeWH
    subject: Annotation | None = None
    label: str = ""
    queries: tuple[str, ...] = ()


def in_order(tasks: Sequence[str]) -> list[str]:
    """Sort tasks after those whose annotations they take as input."""
    return sorted(tasks, key=list(FLORENCE2_TASKS).index)


def inputs(tasks: Sequence[str]) -> tuple[Input, ...]:
    """Return the inputs from other stages for some tasks."""
    wanted = [SUBJECTS[task] for task in in_order(tasks) if task in SUBJECTS]
    found_here = _found_here(tasks)
    return tuple(one_of(*each) for each in dict.fromkeys(wanted) if not set(each) & found_here)


def _found_here(tasks: Sequence[str]) -> set[str]:
    """Return the tasks that can be subjects of others; questions always come from other stages."""
    return set(tasks) - set(QUESTION_TASKS)


def subjects_of_all(tasks: Sequence[str]) -> tuple[str, ...]:
    """Return the tasks of the annotations about which some tasks answer one by one, of other
    stages; none when one of them looks at the image as a whole, or asks an expression only once."""
    is_of_each = all(task in SUBJECTS and task != "referring_segmentation" for task in tasks)
    subjects = dict.fromkeys(subject for task in tasks for subject in SUBJECTS.get(task, ()))
    return tuple(subjects) if is_of_each and subjects.keys().isdisjoint(_found_here(tasks)) else ()


def prompts_of(
    task: str, annotations: Sequence[Annotation], size_wh: SizeWH, queries: Sequence[Sequence[str]]
) -> Iterator[FilledPrompt]:
    """Yield the prompts of a task for an image.

    `annotations` are the possible subjects; `queries` are groups of names, one prompt each.
    """
    definition = FLORENCE2_TASKS[task]
    if task == "open_vocabulary_detection":
        for group in queries:
            prompt = prompt_of(task, joined(group))
            yield FilledPrompt(
                task=definition, prompt=prompt, size_wh=size_wh, queries=tuple(group)
            )
    elif definition.takes == "nothing":
        yield FilledPrompt(task=definition, prompt=prompt_of(task), size_wh=size_wh)
    elif definition.takes == "region":
        for box in annotations:
            if box.task in SUBJECTS[task] and box.box_xyxy:
                inside = np.clip(box.box_xyxy, 0, np.tile(size_wh, 2))
                prompt = prompt_of(task, locations(inside, size_wh))
                yield FilledPrompt(
                    task=definition, prompt=prompt, size_wh=size_wh, subject=box, label=box.label
                )
    else:
        for text, subject in _texts(task, annotations):
            prompt = prompt_of(task, text)
            yield FilledPrompt(
                task=definition, prompt=prompt, size_wh=size_wh, subject=subject, label=text
            )


def _texts(task: str, annotations: Sequence[Annotation]) -> list[tuple[str, Annotation]]:
    """Return the input texts and their annotations.

    Each caption is grounded. Referring expressions are the phrases of captions or, without any, the
    labels of boxes; each distinct one once, with its first annotation.
    """
    subjects = [one for one in annotations if one.task in SUBJECTS[task] and _words(one)]
    if task != "referring_segmentation":
        return [(_words(one), one) for one in subjects]
    expressions: dict[str, Annotation] = {}
    for one in [one for one in subjects if one.kind == "phrase"] or subjects:
        expressions.setdefault(_words(one), one)
    return list(expressions.items())


def _words(subject: Annotation) -> str:
    return clean(subject.words)

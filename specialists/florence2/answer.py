"""From generated answers to annotations: parsed by the checkpoint's processor, with our coordinates
and scores.

The processor's parser gets the indices of tokens instead of bins, on a canvas on which its integers
are exact: from its result we know which tokens belong to which instance. Knows no weights.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np

from florilegium.engine.core.annotation import Annotation, MaskRLE
from florilegium.specialists.florence2.format import (
    QUESTION_TASKS,
    Florence2Task,
    SizeWH,
    clean,
    dequantise,
)
from florilegium.specialists.florence2.prompts import FilledPrompt
from florilegium.specialists.florence2.scores import (
    GeneratedAnswer,
    location_score,
    name_score,
)
from florilegium.specialists.florence2.tokens import TokenRun, Tokens
from florilegium.specialists.pretrained.token_scores import rounded, sentence_score
from florilegium.specialists.words.nouns import REFERENCES
from florilegium.specialists.words.occurrences import Span, located, occurrences

_CANVAS = (2000, 2000)
"""On this canvas the post-processor puts the centre of bin b at 2 b + 1, an integer."""
_REGION_KEYS = ("bboxes", "quad_boxes", "polygons")
_GRAMMARS = {
    "text": "<CAPTION>",
    "boxes": "<OD>",
    "quads": "<OCR_WITH_REGION>",
    "polygons": "<REGION_TO_SEGMENTATION>",
}
"""The marker of a published task with the same kind of answer, for tasks of plugins."""


@dataclass(frozen=True, kw_only=True)
class Instance:
    """One region of an answer: its text and the tokens of its outlines.

    `outlines` has an array of token indices for a box (4), a quad (8) or each polygon
    (x, y, x, y, ...). Instances with the same `run` share one label.
    """

    run: TokenRun
    outlines: tuple[np.ndarray, ...]
    is_polygon: bool


class AnswerParser:
    """Converts the answers of one checkpoint to annotations."""

    def __init__(self, processor: Any, tokens: Tokens, *, language: str) -> None:
        self._processor = processor
        self._tokens = tokens
        self._language = language

    def annotations(self, prompt: FilledPrompt, answer: GeneratedAnswer) -> list[Annotation]:
        """Return the annotations of an answer, without duplicates."""
        if prompt.task.answers == "text":
            return self._text(prompt, answer)
        instances = self.instances(prompt.task, answer)
        if prompt.task.name == "phrase_grounding":
            found = self._phrases(prompt, answer, instances)
        else:
            found = self._regions(prompt, answer, instances)
        distinct: dict[tuple[Any, ...], Annotation] = {}
        for one in found:
            distinct.setdefault(_identity(one), one)
        return list(distinct.values())

    def instances(self, task: Florence2Task, answer: GeneratedAnswer) -> list[Instance]:
        """Parse an answer by the processor, and find the tokens of each instance."""
        parsed = self._parsed(task, self._tokens.written(answer.ids))
        found = []
        for key in _REGION_KEYS:
            for outlines in parsed.get(key, ()):
                each = outlines if key == "polygons" else [outlines]
                positions = tuple(np.array(one, dtype=np.int64) // 2 for one in each)
                first = min((int(one[0]) for one in positions if len(one)), default=0)
                is_polygon = key == "polygons"
                run = self._tokens.label_of(answer.ids, first, in_brackets=is_polygon)
                found.append(Instance(run=run, outlines=positions, is_polygon=is_polygon))
        return found

    def _parsed(self, task: Florence2Task, text: str) -> Any:
        """Parse an answer by the processor; that of a plugin's task by its kind of answer."""
        is_known = task.marker in self._processor.tasks_answer_post_processing_type
        marker = task.marker if is_known else _GRAMMARS[task.answers]
        return self._processor.post_process_generation(text=text, task=marker, image_size=_CANVAS)[
            marker
        ]

    def _text(self, prompt: FilledPrompt, answer: GeneratedAnswer) -> list[Annotation]:
        task, subject = prompt.task, prompt.subject
        words = self._tokens.words(answer.ids, about_region=task.takes == "region")
        text = self._parsed(task, self._tokens.text(answer.ids[words]))
        if not clean(text):
            return []
        score = rounded(_score_of_words(task)(answer.probabilities[words]))
        if subject is None:
            language = "" if task.name == "transcript" else self._language
            return [
                Annotation(kind="text", task=task.name, text=text, language=language, score=score)
            ]
        if task.name in QUESTION_TASKS:
            return [
                Annotation(
                    kind="text",
                    task=task.name,
                    text=subject.text,
                    label=clean(text),
                    language=subject.language,
                    score=score,
                    parent_id=subject.id,
                )
            ]
        label, sentence = _named(task, clean(text))
        return [
            Annotation(
                kind="region",
                task=task.name,
                label=label,
                text=sentence,
                box_xyxy=subject.box_xyxy,
                score=score,
                parent_id=subject.id,
            )
        ]

    def _regions(
        self, prompt: FilledPrompt, answer: GeneratedAnswer, instances: Sequence[Instance]
    ) -> Iterator[Annotation]:
        task, subject = prompt.task, prompt.subject
        for instance in instances:
            words = clean(instance.run.text)
            if not task.words:
                words = ""
            elif task.name == "open_vocabulary_detection":
                words = next((one for one in prompt.queries if _same(one, words)), "")
            if not words and task.words:
                continue
            region = self._region(instance, answer, prompt.size_wh)
            if region is None:
                continue
            label, text = (prompt.label, "") if subject else _named(task, words)
            yield replace(
                region,
                task=task.name,
                score=self._score(task, instance, answer),
                parent_id=subject.id if subject else "",
                label=label,
                text=text,
            )

    def _phrases(
        self, prompt: FilledPrompt, answer: GeneratedAnswer, instances: Sequence[Instance]
    ) -> Iterator[Annotation]:
        caption = prompt.subject
        if caption is None:
            return
        phrases = {one.run.start: clean(one.run.text) for one in instances}
        spans = dict(zip(phrases, mentions([*phrases.values()], caption.text), strict=True))
        for instance in instances:
            phrase, span = phrases[instance.run.start], spans[instance.run.start]
            region = self._region(instance, answer, prompt.size_wh)
            if span is None or region is None:
                continue
            yield replace(
                region,
                kind="phrase",
                task=prompt.task.name,
                text=caption.text[slice(*span)],
                label=phrase,
                language=caption.language,
                span=span,
                score=self._score(prompt.task, instance, answer),
                parent_id=caption.id,
            )

    def _region(
        self, instance: Instance, answer: GeneratedAnswer, size_wh: SizeWH
    ) -> Annotation | None:
        """Return the region of an instance, or `None` if it is empty."""
        outlines = [
            dequantise(self._tokens.bins(answer.ids[each]).reshape(-1, 2), size_wh).ravel()
            for each in instance.outlines
        ]
        if instance.is_polygon:
            return _masked(outlines, size_wh)
        x, y = outlines[0][0::2], outlines[0][1::2]
        quad: tuple[float, ...] = ()
        if len(x) == 4:
            # As in training: clockwise from the top left of the text.
            quad = tuple(outlines[0].tolist())
            x, y = np.array([x.min(), x.max()]), np.array([y.min(), y.max()])
        if x[1] <= x[0] or y[1] <= y[0]:
            return None
        box_xyxy = (float(x[0]), float(y[0]), float(x[1]), float(y[1]))
        return Annotation(kind="region", task="", box_xyxy=box_xyxy, quad=quad)

    def _score(self, task: Florence2Task, instance: Instance, answer: GeneratedAnswer) -> float:
        words = answer.probabilities[instance.run.start : instance.run.stop]
        if not task.words:
            words = words[:0]
        locations = answer.probabilities[np.concatenate(instance.outlines)]
        return rounded(_score_of_words(task)(words) * location_score(locations))


def mentions(phrases: Sequence[str], caption: str) -> list[Span | None]:
    """Return the span of each phrase of an answer in a caption, in characters; all are different.

    Phrases are in order of mention. If a phrase is answered as often as the caption mentions it,
    the mentions are assigned in order; surplus answers get none. If it is answered less often, it
    gets the only mention between its neighbours in the answer, if there is exactly one. If not,
    "the man" gets the first mention, as all refer to the same man, and "a man" none, as it is
    ambiguous.
    """
    keys = [" ".join(phrase.split()).casefold() for phrase in phrases]
    spans_of = {key: occurrences(key, caption) for key in keys}
    found: dict[int, Span] = {}
    for key, spans in spans_of.items():
        rows = [row for row, one in enumerate(keys) if one == key]
        if len(rows) >= len(spans):
            found.update(zip(rows, spans, strict=False))
    doubtful = [row for row, key in enumerate(keys) if keys.count(key) < len(spans_of[key])]
    only = {row: _only_between(spans_of[keys[row]], row, found) for row in doubtful}
    claims = Counter(only.values())
    found |= {row: span for row, span in only.items() if span and claims[span] == 1}
    for row in doubtful:
        if row not in found and keys[row].partition(" ")[0] in REFERENCES:
            cursor = max((span[1] for other, span in found.items() if other < row), default=0)
            first = located(phrases[row], caption, cursor)
            if first and first not in found.values():
                found[row] = first
    return [found.get(row) for row in range(len(keys))]


def _only_between(spans: Sequence[Span], row: int, found: Mapping[int, Span]) -> Span | None:
    """Return the only one of some spans between the neighbours of a row, if there is exactly one.

    `None` if the answer does not keep the order of the caption.
    """
    rows = sorted(found)
    if any(found[one] > found[other] for one, other in pairwise(rows)):
        return None
    start = max((found[one][1] for one in rows if one < row), default=0)
    stop = min((found[one][0] for one in rows if one > row), default=spans[-1][1])
    inside = [span for span in spans if start <= span[0] and span[1] <= stop]
    return inside[0] if len(inside) == 1 else None


def _masked(polygons: Sequence[np.ndarray], size_wh: SizeWH) -> Annotation | None:
    """Return the union of polygons as a mask with its tight box, or `None` if it is empty."""
    from pycocotools import mask as coco_mask

    width, height = size_wh
    corners = [polygon.tolist() for polygon in polygons if len(polygon) >= 6]
    if not corners:
        return None
    rle = coco_mask.merge(coco_mask.frPyObjects(corners, height, width))
    if not coco_mask.area(rle):
        return None
    left, top, wide, high = coco_mask.toBbox(rle).tolist()
    return Annotation(
        kind="region",
        task="",
        box_xyxy=(left, top, left + wide, top + high),
        mask_rle=MaskRLE(size=(height, width), counts=rle["counts"].decode("ascii")),
    )


def _score_of_words(task: Florence2Task) -> Callable[[np.ndarray], float]:
    return name_score if task.words == "name" else sentence_score


def _named(task: Florence2Task, words: str) -> tuple[str, str]:
    """Return (label, text): a name is a label, a sentence a text."""
    return (words, "") if task.words == "name" else ("", words)


def _same(query: str, words: str) -> bool:
    return clean(query).casefold() == words.casefold()


def _identity(one: Annotation) -> tuple[Any, ...]:
    return one.label, one.text, one.span, one.box_xyxy, one.quad, one.mask_rle

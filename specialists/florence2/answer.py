"""From what Florence-2 said to annotations: the processor's grammar, our coordinates and scores.

Parsing is the job of the checkpoint's own post-processor. It is given positions of tokens in
the place of bins and a canvas on which its integers lose nothing, and so tells which tokens make
which instance. Knows no weights.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np

from engine.core.annotation import Annotation, MaskRLE
from specialists.florence2.format import Florence2Task, SizeWH, clean, dequantise
from specialists.florence2.questions import Question
from specialists.florence2.scores import (
    Utterance,
    name_score,
    place_score,
)
from specialists.florence2.tokens import Run, Tokens
from specialists.pretrained.token_scores import rounded, sentence_score
from specialists.words.nouns import REFERENCES
from specialists.words.occurrences import Span, located, occurrences

_CANVAS = (2000, 2000)
"""On it the post-processor puts the centre of bin b at 2 b + 1, an integer."""
_PLACES = ("bboxes", "quad_boxes", "polygons")
_GRAMMARS = {
    "text": "<CAPTION>",
    "boxes": "<OD>",
    "quads": "<OCR_WITH_REGION>",
    "polygons": "<REGION_TO_SEGMENTATION>",
}
"""Markers by which the processor knows how the answers of other tasks are written."""


@dataclass(frozen=True, kw_only=True)
class Instance:
    """One thing the model pointed at: its words and the tokens of its outlines.

    `outlines` has an array of token positions for a box (4), a quad (8) or each polygon
    (x, y, x, y, ...). Instances with the same `run` were said under one label.
    """

    run: Run
    outlines: tuple[np.ndarray, ...]
    is_polygon: bool


class Reader:
    """Turns utterances of one checkpoint into annotations."""

    def __init__(self, processor: Any, tokens: Tokens, *, language: str) -> None:
        self._processor = processor
        self._tokens = tokens
        self._language = language

    def annotations(self, question: Question, said: Utterance) -> list[Annotation]:
        """Return what was said to a question; the same thing said twice is one annotation."""
        if question.task.answers == "text":
            return self._words(question, said)
        instances = self.instances(question.task, said)
        if question.task.name == "phrase_grounding":
            found = self._phrases(question, said, instances)
        else:
            found = self._regions(question, said, instances)
        distinct: dict[tuple[Any, ...], Annotation] = {}
        for one in found:
            distinct.setdefault(_identity(one), one)
        return list(distinct.values())

    def instances(self, task: Florence2Task, said: Utterance) -> list[Instance]:
        """Let the processor parse an answer, and find the tokens of each instance."""
        answer = self._parsed(task, self._tokens.written(said.ids))
        found = []
        for key in _PLACES:
            for outlines in answer.get(key, ()):
                each = outlines if key == "polygons" else [outlines]
                positions = tuple(np.array(one, dtype=np.int64) // 2 for one in each)
                first = min((int(one[0]) for one in positions if len(one)), default=0)
                is_polygon = key == "polygons"
                run = self._tokens.label_of(said.ids, first, in_brackets=is_polygon)
                found.append(Instance(run=run, outlines=positions, is_polygon=is_polygon))
        return found

    def _parsed(self, task: Florence2Task, text: str) -> Any:
        """Return an answer as the processor reads it; tasks of plugins it knows by their form."""
        is_known = task.marker in self._processor.tasks_answer_post_processing_type
        marker = task.marker if is_known else _GRAMMARS[task.answers]
        return self._processor.post_process_generation(text=text, task=marker, image_size=_CANVAS)[
            marker
        ]

    def _words(self, question: Question, said: Utterance) -> list[Annotation]:
        task, subject = question.task, question.subject
        text = self._tokens.text(said.ids)
        answer = self._parsed(task, text)
        if not clean(answer):
            return []
        score = rounded(_score_of_words(task)(said.chances))
        if subject is None:
            language = "" if task.name == "transcript" else self._language
            return [
                Annotation(kind="text", task=task.name, text=answer, language=language, score=score)
            ]
        label, words = _named(task, clean(answer))
        return [
            Annotation(
                kind="region",
                task=task.name,
                label=label,
                text=words,
                box_xyxy=subject.box_xyxy,
                score=score,
                parent_id=subject.id,
            )
        ]

    def _regions(
        self, question: Question, said: Utterance, instances: Sequence[Instance]
    ) -> Iterator[Annotation]:
        task, subject = question.task, question.subject
        for instance in instances:
            words = clean(instance.run.text)
            if not task.words:
                words = ""
            elif task.name == "open_vocabulary_detection":
                words = next((one for one in question.queries if _same(one, words)), "")
            if not words and task.words:
                continue
            region = self._region(instance, said, question.size_wh)
            if region is None:
                continue
            label, text = (question.label, "") if subject else _named(task, words)
            yield replace(
                region,
                task=task.name,
                score=self._score(task, instance, said),
                parent_id=subject.id if subject else "",
                label=label,
                text=text,
            )

    def _phrases(
        self, question: Question, said: Utterance, instances: Sequence[Instance]
    ) -> Iterator[Annotation]:
        caption = question.subject
        if caption is None:
            return
        phrases = {one.run.start: clean(one.run.text) for one in instances}
        spans = dict(zip(phrases, mentions([*phrases.values()], caption.text), strict=True))
        for instance in instances:
            phrase, span = phrases[instance.run.start], spans[instance.run.start]
            region = self._region(instance, said, question.size_wh)
            if span is None or region is None:
                continue
            yield replace(
                region,
                kind="phrase",
                task=question.task.name,
                text=caption.text[slice(*span)],
                label=phrase,
                language=caption.language,
                span=span,
                score=self._score(question.task, instance, said),
                parent_id=caption.id,
            )

    def _region(self, instance: Instance, said: Utterance, size_wh: SizeWH) -> Annotation | None:
        """Return where an instance is, or nothing when it has no extent."""
        outlines = [
            dequantise(self._tokens.bins(said.ids[each]).reshape(-1, 2), size_wh).ravel()
            for each in instance.outlines
        ]
        if instance.is_polygon:
            return _masked(outlines, size_wh)
        x, y = outlines[0][0::2], outlines[0][1::2]
        quad: tuple[float, ...] = ()
        if len(x) == 4:
            # As the model was taught: clockwise from the top left of the text.
            quad = tuple(outlines[0].tolist())
            x, y = np.array([x.min(), x.max()]), np.array([y.min(), y.max()])
        if x[1] <= x[0] or y[1] <= y[0]:
            return None
        box_xyxy = (float(x[0]), float(y[0]), float(x[1]), float(y[1]))
        return Annotation(kind="region", task="", box_xyxy=box_xyxy, quad=quad)

    def _score(self, task: Florence2Task, instance: Instance, said: Utterance) -> float:
        words = said.chances[instance.run.start : instance.run.stop]
        if not task.words:
            words = words[:0]
        places = said.chances[np.concatenate(instance.outlines)]
        return rounded(_score_of_words(task)(words) * place_score(places))


def mentions(phrases: Sequence[str], caption: str) -> list[Span | None]:
    """Return the characters of each phrase of an answer in a caption; no two get the same.

    The phrases come in the order of mention. Those that are answered as often as they are
    mentioned are the mentions one after another; those answered more often than that are none.
    One that is answered less often is the only mention between its neighbours in the answer, if
    there is just one there. If not, "the man" is the first mention, for all are of the same man,
    and "a man" is none, for nobody can tell which.
    """
    keys = [" ".join(phrase.split()).casefold() for phrase in phrases]
    places = {key: occurrences(key, caption) for key in keys}
    found: dict[int, Span] = {}
    for key, spans in places.items():
        rows = [row for row, one in enumerate(keys) if one == key]
        if len(rows) >= len(spans):
            found.update(zip(rows, spans, strict=False))
    doubtful = [row for row, key in enumerate(keys) if keys.count(key) < len(places[key])]
    only = {row: _only_between(places[keys[row]], row, found) for row in doubtful}
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
    """Return the only one of some spans between those found before and after a row, if it is one.

    Where the answer does not keep the order of the caption, its neighbours tell nothing.
    """
    rows = sorted(found)
    if any(found[one] > found[other] for one, other in pairwise(rows)):
        return None
    start = max((found[one][1] for one in rows if one < row), default=0)
    stop = min((found[one][0] for one in rows if one > row), default=spans[-1][1])
    inside = [span for span in spans if start <= span[0] and span[1] <= stop]
    return inside[0] if len(inside) == 1 else None


def _masked(polygons: Sequence[np.ndarray], size_wh: SizeWH) -> Annotation | None:
    """Return the union of polygons as a mask with its tight box, or nothing where it is empty."""
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
    """Return label and text: a name is a label, a sentence a text."""
    return (words, "") if task.words == "name" else ("", words)


def _same(query: str, words: str) -> bool:
    return clean(query).casefold() == words.casefold()


def _identity(one: Annotation) -> tuple[Any, ...]:
    return one.label, one.text, one.span, one.box_xyxy, one.quad, one.mask_rle

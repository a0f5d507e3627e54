"""From what Florence-2 said to annotations: the processor's grammar, our coordinates and scores.

Parsing is the job of the checkpoint's own post-processor. It is given positions of tokens in
the place of bins and a canvas on which its integers lose nothing, and so tells which tokens make
which instance. Knows no weights.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from engine.annotation import Annotation, MaskRLE
from specialists.florence2.format import Florence2Task, SizeWH, clean, dequantise
from specialists.florence2.questions import Question
from specialists.florence2.scores import (
    Utterance,
    name_score,
    place_score,
)
from specialists.florence2.tokens import Run, Tokens
from specialists.pretrained.token_scores import rounded, sentence_score

_CANVAS = (2000, 2000)
"""On it the post-processor puts the centre of bin b at 2 b + 1, an integer."""
_PLACES = ("bboxes", "quad_boxes", "polygons")
_NAMES = ("object_detection", "open_vocabulary_detection", "phrase_grounding", "region_category")
"""Tasks whose words are names; those of the others are sentences."""
_NAMELESS = ("region_proposal", "segmentation", "referring_segmentation")


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
        answer = self._processor.post_process_generation(
            text=self._tokens.written(said.ids), task=task.marker, image_size=_CANVAS
        )[task.marker]
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

    def _words(self, question: Question, said: Utterance) -> list[Annotation]:
        task, subject = question.task, question.subject
        text = self._tokens.text(said.ids)
        answer = self._processor.post_process_generation(
            text=text, task=task.marker, image_size=_CANVAS
        )[task.marker]
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
            if task.name in _NAMELESS:
                words = ""
            elif task.name == "open_vocabulary_detection":
                words = next((one for one in question.queries if _same(one, words)), "")
            if not words and task.name not in _NAMELESS:
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
        spans: dict[int, tuple[int, int] | None] = {}
        cursor = 0
        for instance in instances:
            phrase = clean(instance.run.text)
            if instance.run.start not in spans:
                span = located(phrase, caption.text, cursor)
                spans[instance.run.start] = span
                cursor = span[1] if span else cursor
            span = spans[instance.run.start]
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
            quad = tuple(outlines[0].tolist())
            x, y = np.array([x.min(), x.max()]), np.array([y.min(), y.max()])
        if x[1] <= x[0] or y[1] <= y[0]:
            return None
        box_xyxy = (float(x[0]), float(y[0]), float(x[1]), float(y[1]))
        return Annotation(kind="region", task="", box_xyxy=box_xyxy, quad=quad)

    def _score(self, task: Florence2Task, instance: Instance, said: Utterance) -> float:
        words = said.chances[instance.run.start : instance.run.stop]
        if task.name in _NAMELESS:
            words = words[:0]
        places = said.chances[np.concatenate(instance.outlines)]
        return rounded(_score_of_words(task)(words) * place_score(places))


def located(phrase: str, caption: str, cursor: int) -> tuple[int, int] | None:
    """Return the characters of a phrase in a caption, from a cursor on or else anywhere.

    Case and the kind of white space do not matter.
    """
    if not phrase:
        return None
    pattern = re.compile(r"\s+".join(map(re.escape, phrase.split())), re.IGNORECASE)
    match = pattern.search(caption, cursor) or pattern.search(caption)
    return match.span() if match else None


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
    return name_score if task.name in _NAMES else sentence_score


def _named(task: Florence2Task, words: str) -> tuple[str, str]:
    """Return label and text: a name is a label, a sentence a text."""
    return (words, "") if task.name in _NAMES else ("", words)


def _same(query: str, words: str) -> bool:
    return clean(query).casefold() == words.casefold()


def _identity(one: Annotation) -> tuple[Any, ...]:
    return one.label, one.text, one.span, one.box_xyxy, one.quad, one.mask_rle

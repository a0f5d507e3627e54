"""From annotations to pairs of input and target, in both directions.

What is known of an image gives a question about it and its answer (`forward`), and where the answer
says enough, the way back (`reverse`): from a region to its name, from a caption to the image.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

import numpy as np

from florilegium.engine.core.annotation import Annotation
from florilegium.engine.core.tasks import MASK_TASKS, PHRASE_TASKS, TABLE, names_of
from florilegium.pipelines.sequences.codec import Codec
from florilegium.pipelines.sequences.tokens import (
    SizeWH,
    box_text,
    image_text,
    mask_text,
    polygons_text,
    quad_text,
    words_of,
)

Direction = Literal["forward", "reverse"]
QUESTION = "question_answer"
SEQUENCE_TASKS = names_of(lambda task: bool(task.words) or "mask_rle" in task.needs)
"""Tasks that become sequences."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SequenceExample:
    """A pair of input and target about one image."""

    task: str
    direction: Direction
    input: str
    target: str


@dataclass(frozen=True, kw_only=True)
class SequenceMaker:
    """Makes the examples of a sample.

    Masks become codes of `mask_codec`, or polygons of at most `corners` corners without one; images
    become codes of `image_codec`, or are no target without one.
    """

    tasks: Sequence[str] = SEQUENCE_TASKS
    mask_codec: Codec | None = None
    image_codec: Codec | None = None
    corners: int = 64

    def examples(
        self, annotations: Sequence[Annotation], size_wh: SizeWH, image: Callable[[], np.ndarray]
    ) -> Iterator[SequenceExample]:
        """Yield the examples of a sample, task by task; `image` returns its pixels, RGB, uint8, and
        is called where they are a target. Pairs with an empty side are left out."""
        names = {one.id: one.words for one in annotations}
        for task in self.tasks:
            found = [  # a mask without words has those of its box
                one if one.words else replace(one, text=names.get(one.parent_id, ""))
                for one in annotations
                if one.task == task
            ]
            for direction, question, answer in self._pairs(task, found, size_wh, image):
                if question.strip() and answer.strip():
                    yield SequenceExample(
                        task=task, direction=direction, input=question, target=answer
                    )

    def _pairs(
        self,
        task: str,
        found: Sequence[Annotation],
        size_wh: SizeWH,
        image: Callable[[], np.ndarray],
    ) -> Iterator[tuple[Direction, str, str]]:
        """Yield direction, input and target."""
        kind, words = TABLE[task].kind, TABLE[task].words
        if not found:
            return
        if task == QUESTION:
            for one in found:
                question, answer = words_of(one.text), words_of(one.label)
                yield "forward", question, answer
                if answer:
                    yield "reverse", f"Which question has this answer? {answer}", question
        elif task in MASK_TASKS:
            yield from self._masks(found)
        elif kind != "text":
            yield from _regions(task, found, size_wh)
        elif words == "name":
            names = ", ".join(filter(None, (words_of(one.name) for one in found)))
            yield "forward", "What is in the image?", names
        elif words == "reading":
            for one in found:
                yield "forward", "What is the text in the image?", words_of(one.text)
        else:
            yield from self._captions(task, found, image)

    def _captions(
        self, task: str, found: Sequence[Annotation], image: Callable[[], np.ndarray]
    ) -> Iterator[tuple[Direction, str, str]]:
        prompt = TABLE[task].florence2
        question = prompt.prompt if prompt else "What does the image describe?"
        for one in found:
            text = words_of(one.text)
            yield "forward", question, text
            if text and self.image_codec is not None:
                yield "reverse", f"Which image has this caption? {text}", self._image(image)

    def _image(self, image: Callable[[], np.ndarray]) -> str:
        assert self.image_codec is not None
        return image_text(image(), self.image_codec)

    def _masks(self, found: Sequence[Annotation]) -> Iterator[tuple[Direction, str, str]]:
        write = (
            partial(mask_text, codec=self.mask_codec)
            if self.mask_codec is not None
            else partial(polygons_text, corners=self.corners)
        )
        for one in found:
            if one.mask_rle is None:
                continue
            name, mask = words_of(one.words), write(one.mask_rle)
            size_wh = (one.mask_rle.size[1], one.mask_rle.size[0])
            where = f" in {box_text(one.box_xyxy, size_wh)}" if one.box_xyxy else ""
            yield "forward", f"Which pixels are {name or 'the object'}{where}?", mask
            if mask:
                yield "reverse", f"What is {mask}?", name


def _regions(
    task: str, found: Sequence[Annotation], size_wh: SizeWH
) -> Iterator[tuple[Direction, str, str]]:
    """Yield pairs about regions with words: all of them, then one by one back."""
    written = [(_region_text(one, size_wh), words_of(one.words)) for one in found if one.box_xyxy]
    written = [(region, words) for region, words in written if words]
    every = "".join(f"{region} {words} " for region, words in written).strip()
    if task in PHRASE_TASKS:
        regions: dict[str, list[str]] = {}
        for region, words in written:
            regions.setdefault(words, []).append(region)
        for words, own in regions.items():
            yield "forward", f"Where is this? {words}", "".join(own)
        question = "What is in {}?"
    elif TABLE[task].words == "reading":
        yield "forward", "Which texts are in the image, and where?", every
        question = "What is the text in {}?"
    elif TABLE[task].words == "sentence":
        yield "forward", "Which regions are in the image, with descriptions?", every
        question = "What does {} describe?"
    else:
        yield "forward", "Which objects are in the image, and where?", every
        question = "What is in {}?"
    for region, words in written:
        yield "reverse", question.format(region), words


def _region_text(annotation: Annotation, size_wh: SizeWH) -> str:
    if annotation.quad:
        return quad_text(annotation.quad, size_wh)
    return box_text(annotation.box_xyxy, size_wh)

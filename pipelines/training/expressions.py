"""Referring expressions: the texts of regions that refer to one region of the image only.

Works on words and boxes, not on pixels: a thing that no annotation names cannot be counted.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

import numpy as np

from florilegium.engine.core.annotation import Annotation
from florilegium.engine.core.tasks import DESCRIBED_TASKS
from florilegium.specialists.florence2.format import clean
from florilegium.specialists.regions.overlap import box_overlap

_SAME_REGION = 0.6
"""IoU from which two boxes with the same words are one region, as in the filter `nms`."""
_WORD = re.compile(r"\w+")
_ARTICLES = frozenset(("a", "an", "the"))


def unique_texts(
    described: Iterable[Annotation], annotations: Iterable[Annotation]
) -> dict[str, tuple[float, ...]]:
    """Return the texts that refer to one region, with its box.

    A text refers to another region too if the name or text of that has all of its words: "the dog"
    to a region called "a brown dog".

    Args:
        described: the annotations whose texts may become expressions.
        annotations: all of the sample.
    """
    texts = [one for one in described if one.box_xyxy and _words(one.text)]
    named = [one for one in annotations if one.task in DESCRIBED_TASKS and one.box_xyxy]
    if not texts:
        return {}
    iou, _ = box_overlap([one.box_xyxy for one in texts], [one.box_xyxy for one in named])
    words = [(_words(one.label), _words(one.text)) for one in named]
    return {
        clean(one.text): one.box_xyxy
        for one, is_other in zip(texts, iou < _SAME_REGION, strict=True)
        if not _fits_any(_words(one.text), [words[row] for row in np.flatnonzero(is_other)])
    }


def _fits_any(words: frozenset[str], regions: Sequence[tuple[frozenset[str], ...]]) -> bool:
    return any(words <= own for region in regions for own in region)


def _words(text: str) -> frozenset[str]:
    """Return the words of a text, case-folded, without articles."""
    return frozenset(_WORD.findall(clean(text).casefold())) - _ARTICLES

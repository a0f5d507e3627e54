"""Checks that an annotation of a specialist or a source is well formed.

Quality is not judged here. A box partly outside the image is for a filter; swapped corners, a mask
that does not fill its image or a text that is no text are refused.
"""

from __future__ import annotations

import math
from typing import get_args

import numpy as np

from florilegium.engine.core.annotation import Annotation, MaskRLE
from florilegium.engine.core.task import Kind
from florilegium.engine.core.tasks import TABLE

_KINDS = frozenset(get_args(Kind))
_LONGEST_SPAN = 2**31
_MAX_GROUPS = 7  # of five bits, in a number of a mask
_CONTENT = ("text", "label", "box_xyxy", "quad", "mask_rle", "span", "parent_id")
TEXTS = ("task", "text", "label", "language", "parent_id", "id")
"""The fields of an annotation that are texts."""


def problem_of(
    annotation: Annotation, *, width: int | None = None, height: int | None = None
) -> str:
    """Return what is wrong with an annotation of an image of this size, with its task, or `None`.

    Without a size, positions are not checked.
    """
    problem = (
        _text_problem(annotation)
        or _type_problem(annotation)
        or _score_problem(annotation)
        or _shape_problem(annotation)
        or _span_problem(annotation)
    )
    if not problem and width is not None and height is not None:
        problem = _box_problem(annotation.box_xyxy, width, height) or _mask_problem(
            annotation.mask_rle, width, height
        )
    if problem:
        task = annotation.task if isinstance(annotation.task, str) else "?"
        return f"{task}: {problem}"
    return _fields_problem(annotation)


def _fields_problem(annotation: Annotation) -> str:
    """Return which required fields of its task an annotation lacks."""
    task = annotation.task
    wanted = TABLE.get(task)
    if wanted is None:
        return ""
    name = f"{'an' if task[0] in 'aeiou' else 'a'} {task}"
    if annotation.kind != wanted.kind:
        return f"{name} is of kind {wanted.kind!r}, not {annotation.kind!r}"
    missing = [f"`{field}`" for field in wanted.needs if not _has(annotation, field)]
    if wanted.either and not any(_has(annotation, field) for field in wanted.either):
        missing.append(" or ".join(f"`{field}`" for field in wanted.either))
    if not missing:
        return ""
    given = [f"`{field}`" for field in _CONTENT if _has(annotation, field)]
    found = f"only {', '.join(given)}" if given else "nothing"
    return f"{name} needs {', '.join(missing)}; it has {found}"


def _has(annotation: Annotation, field: str) -> bool:
    value = getattr(annotation, field)
    return value is not None and len(value.strip() if isinstance(value, str) else value) > 0


def _text_problem(annotation: Annotation) -> str:
    if not isinstance(annotation.kind, str) or annotation.kind not in _KINDS:
        return f"a kind of {shown(annotation.kind)}, not {', '.join(sorted(_KINDS))}"
    for name in TEXTS:
        value = getattr(annotation, name)
        if not isinstance(value, str):
            return f"a {name} that is no text: {shown(value)}"
        if not value.isascii() and not _is_unicode(value):
            return f"a {name} with characters that are not Unicode"
    return ""


def _type_problem(annotation: Annotation) -> str:
    for name in ("box_xyxy", "quad", "span", "merged_from"):
        value = getattr(annotation, name)
        if not isinstance(value, tuple | list):
            return f"a {name} that is no sequence: {shown(value)}"
    if not all(isinstance(one, str) for one in annotation.merged_from):
        return f"a merged_from that names no annotations: {shown(annotation.merged_from)}"
    mask: object = annotation.mask_rle
    if mask is None:
        return ""
    if not isinstance(mask, MaskRLE) or not isinstance(mask.size, tuple | list):
        return (
            f"a mask_rle that is no MaskRLE: {shown(mask)}; give "
            "MaskRLE(size=(height, width), counts=...), with the counts of pycocotools as text, "
            "counts.decode()"
        )
    return ""


def _is_whole(value: object) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _score_problem(annotation: Annotation) -> str:
    for value in (annotation.score, annotation.support, annotation.confidence):
        if value is not None and not (is_number(value) and 0 <= value <= 1):
            return f"a score of {shown(value)}, not in 0..1"
    return ""


def _shape_problem(annotation: Annotation) -> str:
    box, quad = annotation.box_xyxy, annotation.quad
    if len(box) not in (0, 4) or len(quad) not in (0, 8):
        return f"a box of {len(box)} and a quad of {len(quad)} numbers, not 4 and 8"
    if not all(map(is_number, (*box, *quad))):
        return "a coordinate that is not a finite number"
    if box:
        x1, y1, x2, y2 = box
        if x2 < x1 or y2 < y1:
            return f"a box with its corners swapped: {box}"
    return ""


def _box_problem(box: tuple[float, ...], width: int, height: int) -> str:
    if not box:
        return ""
    x1, y1, x2, y2 = box
    if x2 < 0 or y2 < 0 or x1 > width or y1 > height:
        return f"a box outside the {width}x{height} image: {box}"
    return ""


def is_number(value: object) -> bool:
    """Whether a value is a finite number that a double can hold."""
    try:
        return not isinstance(value, bool) and math.isfinite(value)  # type: ignore[arg-type]
    except (TypeError, OverflowError, ValueError):
        return False


def shown(value: object) -> str:
    """Return any value as a short text."""
    try:
        return f"{value!r:.100}"
    except (ValueError, RecursionError):  # an integer with thousands of digits
        return f"something of type {type(value).__name__}"


def _span_problem(annotation: Annotation) -> str:
    span = annotation.span
    if not span:
        return ""
    is_range = len(span) == 2 and all(map(_is_whole, span))
    if not is_range or not 0 <= span[0] < span[1] < _LONGEST_SPAN:
        return f"a span of {shown(span)}"
    return ""


def _mask_problem(mask: MaskRLE | None, width: int, height: int) -> str:
    if mask is None:
        return ""
    if tuple(mask.size) != (height, width) or not all(map(_is_whole, mask.size)):
        return f"a mask of {shown(mask.size)}, the image is ({height}, {width})"
    if not isinstance(mask.counts, str) or not _fills(mask.counts, height * width):
        return "a mask whose runs do not fill the image"
    return ""


def _fills(counts: str, pixels: int) -> bool:
    """Whether the run lengths of a mask are well formed and fill it exactly.

    Decoders do not check them and would read beyond their memory. A number is written in
    groups of five bits, lowest first: `0x20` marks that more follow, `0x10` of the last group
    the sign. From the fourth number on it is the difference to the one two before (COCO API).
    """
    if len(counts) > _MAX_GROUPS * (pixels + 2):  # of runs that are mostly empty
        return False
    groups = np.frombuffer(counts.encode("utf-8", "replace"), np.uint8).astype(np.int64) - 48
    if len(groups) == 0 or groups.min() < 0 or groups.max() >= 64 or groups[-1] & 0x20:
        return False
    last = np.flatnonzero(groups & 0x20 == 0)
    first = np.concatenate(([0], last[:-1] + 1))
    length = last - first + 1
    if length.max() > _MAX_GROUPS:
        return False
    position = np.arange(len(groups)) - np.repeat(first, length)
    runs = np.add.reduceat((groups & 0x1F) << (5 * position), first)
    runs -= np.where(groups[last] & 0x10, 1 << (5 * length), 0)
    runs[1::2] = np.cumsum(runs[1::2])
    runs[2::2] = np.cumsum(runs[2::2])
    return bool(runs.min() >= 0 and runs.sum() == pixels)

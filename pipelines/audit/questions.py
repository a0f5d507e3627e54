"""What a person is asked, as values that any page can show."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import numpy as np
from pycocotools import mask as coco_mask

from florilegium.engine.core.annotation import Annotation
from florilegium.engine.core.errors import UsageError
from florilegium.pipelines.audit.events import Fix
from florilegium.pipelines.audit.queue import QueueName
from florilegium.specialists.regions.likeness import box_of, rle


@dataclass(frozen=True, kw_only=True)
class Shown:
    """An annotation as it is drawn: `box_xyxy` is that of any region, `mask` has the run lengths of
    off and on pixels, column by column."""

    id: str
    task: str
    specialist: str
    label: str
    text: str
    box_xyxy: tuple[float, ...]
    quad: tuple[float, ...]
    mask: tuple[int, ...]
    span: tuple[int, ...]

    @classmethod
    def of(cls, annotation: Annotation) -> Shown:
        """Return an annotation as it is drawn."""
        box = box_of(annotation)
        return cls(
            id=annotation.id,
            task=annotation.task,
            specialist=annotation.specialist,
            label=annotation.label,
            text=annotation.text,
            box_xyxy=() if np.isnan(box).any() else tuple(map(float, box)),
            quad=annotation.quad,
            mask=_runs(annotation) if annotation.mask_rle else (),
            span=annotation.span,
        )


@dataclass(frozen=True, kw_only=True)
class StatementQuestion:
    """Is this annotation right? `caption` is the one that a phrase is of. No score is shown: it
    would sway the answer."""

    question: Literal["statement"] = "statement"
    key: str
    width: int
    height: int
    statement: Shown
    caption: str
    queue: QueueName
    fix: dict[str, Any] | None = None
    """The person's earlier answer, if it was taken back."""


@dataclass(frozen=True, kw_only=True)
class ImageQuestion:
    """What does the image show that no annotation names? `missing` was answered before."""

    question: Literal["image"] = "image"
    key: str
    width: int
    height: int
    annotations: tuple[Shown, ...]
    queue: Literal["random", "chosen"]
    missing: tuple[dict[str, Any], ...] = ()


def to_json(question: StatementQuestion | ImageQuestion | None) -> dict[str, Any] | None:
    """Return a question as JSON values."""
    return None if question is None else asdict(question)


def with_fix(annotation: Annotation, fix: Fix, size_wh: tuple[int, int]) -> Annotation:
    """Return an annotation of an image of this size with what a person changed.

    Raises:
        UsageError: the annotation has nothing like it to change, or the box reaches out.
    """
    if fix.box_xyxy is not None and annotation.kind == "text":
        raise UsageError("an annotation of the whole image has no box")
    if fix.box_xyxy is not None and annotation.mask_rle is not None:
        raise UsageError("a mask has no box to move: correct it in another program")
    if fix.span is not None and not annotation.span:
        raise UsageError("only a phrase has a span")
    given = {name: value for name, value in dict(fix).items() if value is not None}
    if fix.box_xyxy is not None:
        if fix.box_xyxy[2] > size_wh[0] or fix.box_xyxy[3] > size_wh[1]:
            raise UsageError("a box reaches out of its image")
        given["quad"] = ()  # the box takes its place
    return replace(annotation, **given)


def with_words(fix: Fix, caption: Annotation | None) -> Fix:
    """Return a fix of a span with the words there.

    Raises:
        UsageError: the span reaches out of its caption.
    """
    if fix.span is None:
        return fix
    start, end = fix.span
    if caption is None or end > len(caption.text):
        raise UsageError("the span reaches out of its caption")
    return fix.model_copy(update={"text": caption.text[start:end]})


def _runs(annotation: Annotation) -> tuple[int, ...]:
    column = coco_mask.decode(rle(annotation)).ravel(order="F")
    edges = np.flatnonzero(np.diff(column, prepend=0)) if len(column) else np.zeros(0, int)
    return tuple(np.diff(np.concatenate([[0], edges, [len(column)]])).tolist())

"""Finds out what people changed: an image as it came back against what the run has of it.

An annotation that is as it was is confirmed, another one changed, one that is gone rejected, and
what has no id was added, or is one of the run's whose id the program lost.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from florilegium.engine.core.annotation import Annotation
from florilegium.engine.core.tasks import CAPTION_TASKS
from florilegium.engine.core.validity import problem_of
from florilegium.pipelines.corrections.correction import Correction, Finding, stated
from florilegium.pipelines.imports.drawing import box_around, drawn, mask_iou
from florilegium.pipelines.imports.importer import ReturnedImage, Shape

SAME_EDGE_PX = 0.5
"""Pixels by which an edge may differ and still be the same: programs round."""
SAME_MASK = 0.95
"""Intersection over union from which on a drawn outline is that of the mask it was made from."""
UNKNOWN_ID = "unknown_id"
UNUSABLE = "unusable"


@dataclass(frozen=True, kw_only=True)
class Subject:
    """An image of the run: all its annotations by id, and the ids of those that are kept."""

    key: str
    sha256: str
    size_wh: tuple[int, int]
    annotations: Mapping[str, Annotation]
    kept: frozenset[str] = frozenset()


@dataclass(frozen=True, kw_only=True)
class Told:
    """Who says it, the time now, and by which program."""

    who: str
    when: str
    tool: str


@dataclass
class Compared:
    """The corrections of one image, and what could not be used, counted by reason."""

    corrections: list[Correction] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)


def compare(image: ReturnedImage, subject: Subject, told: Told) -> Compared:
    """Compare an image that came back with what the run has of it."""
    found = Compared()
    rows = subject.annotations
    base: dict[str, Any] = {"sha256": subject.sha256, "key": subject.key}
    when = min(image.when or told.when, told.when)  # of a clock that is fast, it would win forever
    base |= {"who": image.who or told.who, "when": when, "tool": told.tool}
    pairs: list[tuple[Annotation | None, Shape]] = []
    left: list[Shape] = []
    taken: set[str] = set()
    shapes = _resolved(image.shapes, rows)
    for shape in sorted(shapes, key=lambda one: not _is_same(rows.get(one.id), one)):
        known = rows.get(shape.id)
        if shape.id and known is None:
            found.left_out[UNKNOWN_ID] += 1
        elif known is None or shape.id in taken:  # copied within the program, with its id
            left.append(replace(shape, id=""))
        else:
            taken.add(shape.id)
            pairs.append((known, shape))
    shown = subject.kept if image.shown is None else image.shown
    if gone := shown - rows.keys() - {one.id for one in shapes}:
        found.left_out[UNKNOWN_ID] += len(gone)
    waiting = {name: rows[name] for name in rows if name in shown and name not in taken}

    def is_new(shape: Shape) -> bool:
        return not any(_is_same(one, shape) for one in waiting.values())

    for shape in sorted(left, key=is_new):  # what is as it was comes first
        own = _recognised(shape, waiting)
        if own is not None:
            del waiting[own.id]
        pairs.append((own, shape))
    for own, shape in pairs:
        if one := _finding(own, shape, subject, base, found):
            found.corrections.append(one)
    if image.shown is not None:
        found.corrections += [
            Correction(finding="rejected", about=one, **base)
            for one in waiting.values()
            if not image.unusable & {one.id, one.parent_id}
        ]
    return found


def shown_in(image: ReturnedImage, subject: Subject) -> frozenset[str]:
    """Return the ids of the annotations that a file has as it was exported."""
    nobody = Told(who="", when="", tool="")
    corrections = compare(replace(image, shown=None), subject, nobody).corrections
    return frozenset(one.about.id for one in corrections if one.about)


def _resolved(shapes: Sequence[Shape], rows: Mapping[str, Annotation]) -> list[Shape]:
    """Return shapes, of an object whose annotation is a mask itself without the box around it."""
    masks = {one.annotation.parent_id for one in shapes if one.annotation.mask_rle and not one.id}
    own = {name for name in masks if (known := rows.get(name)) and known.mask_rle}
    resolved: list[Shape] = []
    for one in shapes:
        parent = one.annotation.parent_id
        if not one.id and parent in own:
            annotation = replace(one.annotation, parent_id=rows[parent].parent_id)
            resolved.append(replace(one, id=parent, annotation=annotation))
        elif one.id not in own or one.annotation.mask_rle:
            resolved.append(one)
    return resolved


def _finding(
    own: Annotation | None,
    shape: Shape,
    subject: Subject,
    base: Mapping[str, Any],
    found: Compared,
) -> Correction | None:
    """Return what was found about one shape, unless it cannot be used."""
    if own is not None and _is_same(own, shape):
        return Correction(finding="confirmed", about=own, **base)
    annotation = stated(_within(_laid_over(own, shape), subject.size_wh))
    width, height = subject.size_wh
    is_flat = bool(annotation.box_xyxy) and not _has_area(annotation.box_xyxy)
    if is_flat or problem_of(annotation, width=width, height=height):
        found.left_out[UNUSABLE] += 1
        return None
    finding: Finding = "added" if own is None else "changed"
    return Correction(finding=finding, about=own, annotation=annotation, **base)


def _within(annotation: Annotation, size_wh: tuple[int, int]) -> Annotation:
    """Return an annotation whose box and quad end where the image ends."""
    most = np.tile(size_wh, 4).astype(np.float64)
    clipped: dict[str, Any] = {
        name: tuple(np.clip(edges, 0, most[: len(edges)]).tolist())
        for name in ("box_xyxy", "quad")
        if (edges := getattr(annotation, name))
    }
    return replace(annotation, **clipped) if clipped else annotation


def _has_area(box_xyxy: tuple[float, ...]) -> bool:
    left, top, right, bottom = box_xyxy
    return right > left and bottom > top


def _laid_over(own: Annotation | None, shape: Shape) -> Annotation:
    """Return the run's annotation with what the file states; a drawn mask moves its box."""
    new = shape.annotation
    if own is None:
        return new
    changes = {name: getattr(new, name) for name in shape.fields}
    if shape.is_outline and _is_same_mask(own, shape):
        changes.pop("mask_rle", None)  # the exact one stays: only its words were changed
        changes.pop("box_xyxy", None)
    elif new.mask_rle is not None and own.box_xyxy:
        changes["box_xyxy"] = box_around(new.mask_rle)
    if "box_xyxy" in changes and own.quad and "quad" not in changes:
        changes["quad"] = ()  # it was around the box before
    return replace(own, **changes)


def _recognised(shape: Shape, waiting: Mapping[str, Annotation]) -> Annotation | None:
    """Return the annotation that a shape without an id is, among those that are not found yet."""
    alike = [one for one in waiting.values() if one.task == shape.annotation.task]
    if same := next((one for one in alike if _is_same(one, shape)), None):
        return same
    if shape.annotation.task in CAPTION_TASKS:
        return next(iter(alike), None)
    if parent := shape.annotation.parent_id:  # a mask of a box that is known
        return next((one for one in alike if one.parent_id == parent), None)
    return None


def _is_same(own: Annotation | None, shape: Shape) -> bool:
    """Whether a shape is an annotation of the run as it was exported."""
    return own is not None and all(_is_same_field(own, shape, name) for name in shape.fields)


def _is_same_field(own: Annotation, shape: Shape, name: str) -> bool:
    before, after = getattr(own, name), getattr(shape.annotation, name)
    if name == "mask_rle":
        return _is_same_mask(own, shape)
    if name == "box_xyxy" and shape.annotation.mask_rle is not None:
        return True  # it is that of the mask
    if name in ("box_xyxy", "quad"):
        return len(before) == len(after) and bool(
            np.all(np.abs(np.subtract(before, after)) <= SAME_EDGE_PX)
        )
    if name in ("text", "label"):
        return str(before).strip() == str(after).strip()
    return bool(before == after)


def _is_same_mask(own: Annotation, shape: Shape) -> bool:
    before, after = own.mask_rle, shape.annotation.mask_rle
    if before is None or after is None:
        return before is after
    if not shape.is_outline:
        return before == after or mask_iou(before, after) == 1.0
    outlined = drawn(before) or before
    return max(mask_iou(outlined, after), mask_iou(before, after)) >= SAME_MASK

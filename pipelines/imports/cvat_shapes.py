"""Shapes of "CVAT for images 1.1": what each element states, and CVAT's run lengths of masks.

A label is a class; a caption, or a region without a class, has the name of its task as its label.
Attributes carry what CVAT has no place for: `id`, `task`, `score`, `text`.
Source: docs.cvat.ai, XML annotation format.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from florilegium.engine.core.annotation import Annotation, MaskRLE
from florilegium.engine.core.limits import PILLOW_MAX_PIXELS
from florilegium.engine.core.task import Task
from florilegium.engine.core.tasks import CAPTION_TASKS, TABLE
from florilegium.pipelines.imports.drawing import as_mask, box_around, mask_of
from florilegium.pipelines.imports.importer import Shape

ID, TASK, SCORE, TEXT = "id", "task", "score", "text"
ATTRIBUTES = (ID, TASK, SCORE, TEXT)
"""The attributes of every label."""
SHAPES = ("box", "polygon", "mask", "tag")
OTHER_SHAPES = ("polyline", "points", "ellipse", "cuboid", "skeleton")
"""Elements that state nothing that an annotation holds."""
_NEW = {"box": "object_detection", "polygon": "segmentation", "mask": "segmentation", "tag": "tag"}
"""The tasks of shapes that a person drew."""
_CORNERS = 4


def shape_of(
    element: str,
    values: Mapping[str, str],
    attributes: Mapping[str, str],
    size_wh: tuple[int, int],
) -> Shape:
    """Return what an element states.

    Raises:
        ValueError: it is malformed, or lies outside of the image.
        KeyError: it lacks a value.
    """
    label = values["label"]
    task = _task_of(element, label, attributes.get(TASK, ""))
    words, word_fields = _words(task, label, attributes.get(TEXT))
    place, place_fields, is_outline = _place(element, values, task, size_wh)
    return Shape(
        id=attributes.get(ID, ""),
        annotation=Annotation(kind=task.kind, task=task.name, **words, **place),
        fields=(*word_fields, *place_fields),
        is_outline=is_outline,
    )


def _task_of(element: str, label: str, name: str) -> Task:
    """Return the task of a shape: its own, that of which the label is the name, or the usual."""
    kind = "text" if element == "tag" else "region"
    for one in (name, label, _NEW[element]):
        if one in TABLE and TABLE[one].kind == kind:
            return TABLE[one]
    raise ValueError(f"no task for a {element}")


def _words(task: Task, label: str, text: str | None) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return label and text; a text that was emptied is stated, too: it is no reading any more."""
    words: dict[str, Any] = {}
    if label != task.name:
        words["label"] = label
    if "text" in (*task.needs, *task.either) and text is not None:
        words["text"] = text.strip() and text
    if task.name in CAPTION_TASKS:
        words.pop("label", None)
    return words, tuple(words)


def _place(
    element: str, values: Mapping[str, str], task: Task, size_wh: tuple[int, int]
) -> tuple[dict[str, Any], tuple[str, ...], bool]:
    """Return the region of a shape, the fields that have it, and whether it is an outline."""
    if element == "tag":
        return {}, (), False
    if element == "mask":
        mask = mask_of_cvat(values, size_wh)
        return {"mask_rle": mask, "box_xyxy": box_around(mask)}, ("mask_rle",), False
    corners = _box(values) if element == "box" else _points(values["points"])
    if element == "polygon" and "mask_rle" in task.needs:
        drawn = mask_of([corners], size_wh)
        if drawn is None:
            raise ValueError("a polygon without a pixel")
        return {"mask_rle": drawn, "box_xyxy": box_around(drawn)}, ("mask_rle",), True
    box = (*corners.min(axis=0).tolist(), *corners.max(axis=0).tolist())
    is_turned = element == "polygon" or float(values.get("rotation", "0")) % 360 != 0
    if is_turned and task.words == "reading" and len(corners) == _CORNERS:
        return {"box_xyxy": box, "quad": tuple(corners.ravel().tolist())}, ("quad",), False
    return {"box_xyxy": box}, ("box_xyxy",), False


def _box(values: Mapping[str, str]) -> np.ndarray:
    """Return the corners of a box, (4, 2), clockwise; it is turned around its middle."""
    left, top, right, bottom = (_number(values[name]) for name in ("xtl", "ytl", "xbr", "ybr"))
    corners = np.array([[left, top], [right, top], [right, bottom], [left, bottom]])
    angle = math.radians(_number(values.get("rotation", "0")))
    if not angle:
        return corners
    turn = np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
    middle = corners.mean(axis=0)
    return (corners - middle) @ turn + middle


def _points(text: str) -> np.ndarray:
    points = [[_number(x) for x in one.split(",")] for one in text.split(";")]
    if any(len(one) != 2 for one in points):
        raise ValueError("a point without two numbers")
    return np.array(points, dtype=np.float64)


def _number(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError("a number that is none")
    return number


def rle_of(mask: MaskRLE) -> dict[str, str] | None:
    """Return a mask as CVAT has it: row by row within its box, beginning with what is outside;
    `None` for an empty one."""
    pixels = coco_mask.decode(mask._asdict())
    left, top, right, bottom = map(int, box_around(mask))
    inside = pixels[top:bottom, left:right].ravel()
    if not inside.any():
        return None
    changes = np.flatnonzero(np.diff(inside)) + 1
    runs = np.diff(np.concatenate(([0], changes, [len(inside)]))).tolist()
    counts = [0, *runs] if inside[0] else runs
    sides = {"left": left, "top": top, "width": right - left, "height": bottom - top}
    return {"rle": ", ".join(map(str, counts)), **{name: str(one) for name, one in sides.items()}}


def mask_of_cvat(values: Mapping[str, str], size_wh: tuple[int, int]) -> MaskRLE:
    """Return the mask of run lengths of CVAT.

    Raises:
        ValueError: they are malformed, or do not fit into the image.
    """
    left, top, width, height = (int(values[name]) for name in ("left", "top", "width", "height"))
    fits = min(left, top) >= 0 and min(width, height) > 0
    if not fits or left + width > size_wh[0] or top + height > size_wh[1]:
        raise ValueError("a mask outside of its image")
    if size_wh[0] * size_wh[1] > PILLOW_MAX_PIXELS:
        raise ValueError(f"a mask of {size_wh[0]} x {size_wh[1]} pixels")
    counts = np.array([int(one) for one in values["rle"].split(",")], dtype=np.int64)
    if counts.min(initial=0) < 0 or counts.sum() != width * height:
        raise ValueError("run lengths that do not fill the box")
    inside = np.repeat(np.arange(len(counts)) % 2, counts).astype(np.uint8)
    pixels = np.zeros((size_wh[1], size_wh[0]), np.uint8, order="F")
    pixels[top : top + height, left : left + width] = inside.reshape(height, width)
    if not pixels.any():
        raise ValueError("an empty mask")
    return as_mask(coco_mask.encode(pixels))

"""The `objects` of Hugging Face datasets: boxes as COCO xywh, in the upright frame.

They come as columns (`{bbox: [[x, y, w, h]], categories: [name], iscrowd: [0]}`) or as rows.
One bad box costs one box. A crowd region is no object of its class but many, so it does not
become a detection. This module does not know the size of the image.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from engine.annotation import COORDINATE_DECIMALS, Annotation
from engine.sources.text import NotText, check_text, decoded

CATEGORY_KEYS = ("category", "categories", "label", "labels")
_CROWD_KEYS = frozenset({"iscrowd", "isgroupof"})
"""Flags of COCO and Open Images, compared without case and underscores."""
_YES = (True, "1", "true")
_NO = (False, None, "", "0", "false")


@dataclass(frozen=True, kw_only=True)
class Objects:
    """Detections, and what was left out: crowds by number, bad boxes by reason.

    `is_all` tells that the annotations say everything that the objects said.
    """

    annotations: tuple[Annotation, ...] = ()
    count: int = 0
    crowds: int = 0
    problems: tuple[str, ...] = ()
    is_all: bool = True


def read_objects(value: object, encoding: str = "") -> Objects:
    """Read objects; names of categories that are bytes are texts in `encoding`.

    Raises:
        ValueError: the shape is another one, so that no box can be matched with its category.
    """
    columns = _columns(value)
    boxes = _column(columns, "bbox")
    names = [_column(columns, key, len(boxes)) for key in CATEGORY_KEYS if key in columns]
    if not boxes and not any(names):
        return Objects()
    if not names:
        raise ValueError(f"objects have no {' or '.join(CATEGORY_KEYS[:2])} for their bbox")
    crowd = [
        _column(columns, key, len(boxes))
        for key in columns
        if str(key).replace("_", "").lower() in _CROWD_KEYS
    ]
    annotations: list[Annotation] = []
    problems: list[str] = []
    crowds = 0
    for number, box in enumerate(boxes):
        try:
            if any(_is_crowd(flags[number]) for flags in crowd):
                crowds += 1
                continue
            label = _label([column[number] for column in names], encoding)
            box_xyxy = _box_xyxy(box)
        except ValueError as error:
            problems.append(f"box {number + 1} {error}")
            continue
        annotations.append(
            Annotation(kind="region", task="object_detection", label=label, box_xyxy=box_xyxy)
        )
    return Objects(
        annotations=tuple(annotations),
        count=len(boxes),
        crowds=crowds,
        problems=tuple(problems),
        is_all=len(columns) == 2 and not crowds and not problems,
    )


def _columns(value: object) -> Mapping[Any, Any]:
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        if not all(row is None or isinstance(row, Mapping) for row in value):
            raise ValueError("objects are neither columns nor rows")
        rows = [row or {} for row in value]
        keys = dict.fromkeys(("bbox", *(key for row in rows for key in row)))
        return {key: [row.get(key) for row in rows] for key in keys}
    if not isinstance(value, Mapping) or "bbox" not in value:
        raise ValueError("objects have no bbox")
    return value


def _column(columns: Mapping[Any, Any], key: Any, length: int | None = None) -> Sequence[Any]:
    values = columns[key]
    if values is None and not length:
        return []
    if not isinstance(values, list | tuple):
        raise ValueError(f"{key} is {_shown(values)}, not a list with an entry for each object")
    if length is not None and len(values) != length:
        raise ValueError(f"{len(values)} {key} for {length} bbox")
    return values


def _is_crowd(flag: object) -> bool:
    plain = flag.strip().lower() if isinstance(flag, str) else flag
    for answer, values in ((True, _YES), (False, _NO)):
        if plain in values:
            return answer
    raise ValueError(f"has the crowd flag {_shown(flag)}, not 0 or 1")


def _label(names: Sequence[Any], encoding: str) -> str:
    """Return the first of the categories of one object that is a name."""
    given = [name for name in names if name is not None and name not in ("", b"")]
    for name in given:
        if isinstance(name, str | bytes):
            try:
                text = check_text(name) if isinstance(name, str) else decoded(name, encoding)
            except NotText as error:
                raise ValueError(f"has a category that is no text: {error}") from None
            if text.strip():
                return text
    if any(isinstance(name, int) for name in given):
        raise ValueError(f"has the category {_shown(given[0])}, a number without a name")
    if given and not isinstance(given[0], str | bytes):
        raise ValueError(f"has the category {_shown(given[0])}, which is no name")
    raise ValueError("has no category")


def _box_xyxy(box: object) -> tuple[float, ...]:
    """Turn `[x, y, width, height]` into corners."""
    if not isinstance(box, list | tuple) or len(box) != 4:
        raise ValueError(f"is {_shown(box)}, not [x, y, width, height]")
    if not all(isinstance(number, int | float) and not isinstance(number, bool) for number in box):
        raise ValueError(f"is {_shown(box)}, which are not four numbers")
    try:
        x, y, width, height = (float(number) for number in box)
    except OverflowError:
        raise ValueError("has a number that is too large") from None
    if not all(map(math.isfinite, (x, y, width, height, x + width, y + height))):
        raise ValueError(f"is {_shown(box)}, which is not finite")
    for name, size in (("width", width), ("height", height)):
        if round(size, COORDINATE_DECIMALS) <= 0:
            raise ValueError(f"is {_shown(box)}: its {name} is not above 0")
    return (x, y, x + width, y + height)


def _shown(value: object) -> str:
    """Write a value that may be anything, in few characters."""
    try:
        return f"{value!r:.100}"
    except (ValueError, RecursionError):  # an integer with thousands of digits
        return f"something of type {type(value).__name__}"

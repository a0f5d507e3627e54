"""The `objects` of Hugging Face datasets: boxes as COCO xywh, in the upright frame.

They come as columns (`{bbox: [[x, y, w, h]], categories: [name], iscrowd: [0]}`) or as rows. A bad
box is left out alone. A crowd region covers several objects of its class, so it does not become a
detection. This module does not know the size of the image.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from florilegium.engine.core.annotation import COORDINATE_DECIMALS, Annotation
from florilegium.engine.core.validity import shown
from florilegium.engine.sources.text import NotText, check_text, decoded

DETECTION = "object_detection"
CATEGORY_KEYS = ("category", "categories", "label", "labels")
_CROWD_KEYS = frozenset({"iscrowd", "isgroupof"})
"""Flags of COCO and Open Images, compared without case and underscores."""
_YES = (True, "1", "true")
_NO = (False, None, "", "0", "false")


@dataclass(frozen=True, kw_only=True)
class Objects:
    """Detections, and what was left out: crowds by number, bad boxes by reason.

    `beyond` counts the boxes after the first `most`, which are not read. `is_all`: the annotations
    have all information of the objects.
    """

    annotations: tuple[Annotation, ...] = ()
    count: int = 0
    crowds: int = 0
    beyond: int = 0
    problems: tuple[str, ...] = ()
    is_all: bool = True


class _Given(NamedTuple):
    """One object of the source: its box, its categories and whether it is a crowd."""

    box: Any
    names: Sequence[Any]
    flags: Sequence[Any]


def read_objects(value: object, encoding: str = "", *, most: int = 1 << 62) -> Objects:
    """Read at most `most` objects; names of categories that are bytes are in `encoding`.

    Raises:
        ValueError: the shape is another one, so boxes cannot be matched with categories.
    """
    is_rows = isinstance(value, Sequence) and not isinstance(value, str | bytes)
    keys, given = _in_rows(value) if is_rows else _in_columns(value)  # type: ignore[arg-type]
    if not given:
        return Objects()
    if not any(key in keys for key in CATEGORY_KEYS):
        raise ValueError(f"objects have no {' or '.join(CATEGORY_KEYS[:2])} for their bbox")
    annotations: list[Annotation] = []
    problems: list[str] = []
    crowds = 0
    for number, one in enumerate(given[:most]):
        try:
            if any(map(_is_crowd, one.flags)):
                crowds += 1
                continue
            label = _label(one.names, encoding)
            box_xyxy = _box_xyxy(one.box)
        except ValueError as error:
            problems.append(f"box {number + 1} {error}")
            continue
        annotations.append(
            Annotation(kind="region", task=DETECTION, label=label, box_xyxy=box_xyxy)
        )
    return Objects(
        annotations=tuple(annotations),
        count=len(given),
        crowds=crowds,
        beyond=max(len(given) - most, 0),
        problems=tuple(problems),
        is_all=len(keys) == 2 and not crowds and not problems and len(given) <= most,
    )


def _in_rows(rows: Sequence[Any]) -> tuple[set[Any], list[_Given]]:
    """Return all keys of the rows, and the objects."""
    if rows and not any(isinstance(row, Mapping) for row in rows):
        raise ValueError("objects are neither columns nor rows")
    given = [row if isinstance(row, Mapping) else {} for row in rows]
    keys = {"bbox"}.union(*given)
    return keys, [
        _Given(
            row.get("bbox"),
            [row.get(key) for key in CATEGORY_KEYS],
            [flag for key, flag in row.items() if _marks_crowds(key)],
        )
        for row in given
    ]


def _in_columns(value: object) -> tuple[set[Any], list[_Given]]:
    """Return the names of the columns, and the objects."""
    if not isinstance(value, Mapping) or "bbox" not in value:
        raise ValueError("objects have no bbox")
    boxes = _column(value, "bbox")
    names = [_column(value, key, len(boxes)) for key in CATEGORY_KEYS if key in value]
    crowd = [_column(value, key, len(boxes)) for key in value if _marks_crowds(key)]
    return set(value), [
        _Given(box, [column[n] for column in names], [flags[n] for flags in crowd])
        for n, box in enumerate(boxes)
    ]


def _marks_crowds(key: object) -> bool:
    return str(key).replace("_", "").lower() in _CROWD_KEYS


def _column(columns: Mapping[Any, Any], key: Any, length: int | None = None) -> Sequence[Any]:
    values = columns[key]
    if values is None and not length:
        return []
    if not isinstance(values, list | tuple):
        raise ValueError(f"{key} is {shown(values)}, not a list with an entry for each object")
    if length is not None and len(values) != length:
        raise ValueError(f"{len(values)} {key} for {length} bbox")
    return values


def _is_crowd(flag: object) -> bool:
    plain = flag.strip().lower() if isinstance(flag, str) else flag
    for answer, values in ((True, _YES), (False, _NO)):
        if plain in values:
            return answer
    raise ValueError(f"has the crowd flag {shown(flag)}, not 0 or 1")


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
        raise ValueError(f"has the category {shown(given[0])}, a number without a name")
    if given and not isinstance(given[0], str | bytes):
        raise ValueError(f"has the category {shown(given[0])}, which is no name")
    raise ValueError("has no category")


def _box_xyxy(box: object) -> tuple[float, ...]:
    """Turn `[x, y, width, height]` into corners."""
    if not isinstance(box, list | tuple) or len(box) != 4:
        raise ValueError(f"is {shown(box)}, not [x, y, width, height]")
    if not all(isinstance(number, int | float) and not isinstance(number, bool) for number in box):
        raise ValueError(f"is {shown(box)}, which are not four numbers")
    try:
        x, y, width, height = (float(number) for number in box)
    except OverflowError:
        raise ValueError("has a number that is too large") from None
    if not all(map(math.isfinite, (x, y, width, height, x + width, y + height))):
        raise ValueError(f"is {shown(box)}, which is not finite")
    for name, size in (("width", width), ("height", height)):
        if round(size, COORDINATE_DECIMALS) <= 0:
            raise ValueError(f"is {shown(box)}: its {name} is not above 0")
    return (x, y, x + width, y + height)

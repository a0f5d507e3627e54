"""Label Studio: the JSON of a project, as its export `JSON` has it.

Tasks that nobody submitted, or that were skipped, do not count. Of brushes nothing is read: their
run lengths are Label Studio's own.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from florilegium.engine.core.annotation import Annotation
from florilegium.engine.core.task import Task
from florilegium.engine.core.tasks import TABLE
from florilegium.engine.core.validity import is_number
from florilegium.engine.untrusted.bounded_json import parsed
from florilegium.pipelines.imports.drawing import box_around, mask_of
from florilegium.pipelines.imports.importer import Importer, ReturnedImage, Shape, read_bounded
from florilegium.pipelines.imports.label_studio_controls import (
    OUTLINE,
    PART,
    TEXT,
    control_of,
    has_label,
    has_text,
)
from florilegium.pipelines.imports.times import utc

_MAX_DEPTH = 32
_ID_DIGITS = 16
_CORNERS = 4


class LabelStudioImporter(Importer):
    """Reads the tasks of a project with the annotations that people submitted."""

    tool: ClassVar[str] = "label-studio"

    def read(self, path: Path) -> Iterator[ReturnedImage]:
        """Yield an image for each submitted annotation, the earliest first.

        Raises:
            ValueError: it is no export of Label Studio, or too large.
        """
        document = parsed(read_bounded(path), max_depth=_MAX_DEPTH)
        tasks = document if isinstance(document, list) else [document]
        if not all(isinstance(one, dict) and isinstance(one.get("data"), dict) for one in tasks):
            raise ValueError("it has no tasks with `data`: export the project as JSON")
        if any("annotations" not in one for one in tasks):
            raise ValueError("its tasks have no `annotations`: export as JSON, not as JSON-MIN")
        for task in tasks:
            submitted = [one for one in _dicts(task["annotations"]) if not one.get("was_cancelled")]
            for annotation in sorted(submitted, key=lambda one: utc(_time_of(one))):
                yield _image(task["data"], annotation)


def _image(data: Mapping[str, Any], annotation: Mapping[str, Any]) -> ReturnedImage:
    results = _dicts(annotation.get("result"))
    sizes = [(data.get("width"), data.get("height"))]
    sizes += [(one.get("original_width"), one.get("original_height")) for one in results]
    known = ((_whole(width), _whole(height)) for width, height in sizes)
    size_wh = next((one for one in known if all(one)), (0, 0))
    shapes, problems, unusable = _shapes(results, size_wh)
    ids = data.get("ids")
    return ReturnedImage(
        name=str(data.get("image", "")),
        sha256=str(data.get("sha256", "")),
        key=str(data.get("key", "")),
        size_wh=size_wh,
        shapes=tuple(shapes),
        shown=frozenset(map(str, ids)) if isinstance(ids, list) else None,
        who=_person(annotation.get("completed_by")),
        when=utc(_time_of(annotation)),
        problems=tuple(problems),
        unusable=frozenset(unusable - {""}),
    )


def _time_of(annotation: Mapping[str, Any]) -> Any:
    return annotation.get("updated_at") or annotation.get("created_at")


def _person(value: Any) -> str:
    if isinstance(value, Mapping):
        value = value.get("email") or value.get("username") or value.get("id")
    if isinstance(value, int) and not isinstance(value, bool):
        return f"user {value}"
    return value if isinstance(value, str) else ""


def _shapes(
    results: Sequence[Mapping[str, Any]], size_wh: tuple[int, int]
) -> tuple[list[Shape], list[str], set[str]]:
    """Return what results state, what is wrong with those that state nothing usable, and the ids of
    these."""
    texts = _texts_of_regions(results)
    polygons: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    shapes: list[Shape] = []
    problems: list[str] = []
    unusable: set[str] = set()
    for number, result in enumerate(results):
        name = str(result.get("from_name", ""))
        task = TABLE.get(name.removesuffix(OUTLINE).removesuffix(TEXT))
        kind = result.get("type")
        if name.endswith(TEXT):
            continue
        try:
            if task is None or not control_of(task):
                raise ValueError("unknown_control")
            if result.get("image_rotation"):  # its places are those of the turned image
                raise ValueError("turned_image")
            if kind == "polygonlabels" and control_of(task) == kind:
                own = _base_id(result) or f"new {number}"
                polygons.setdefault((task.name, own), []).append(result)
            else:
                shapes += _shapes_of(result, task, kind, texts, size_wh)
        except (AttributeError, KeyError, LookupError, TypeError, ValueError, OverflowError):
            problems.append("unusable_result")
            unusable.add(_base_id(result))
    for (name, own), parts in polygons.items():
        try:
            shapes.append(_mask(TABLE[name], own, parts, texts, size_wh))
        except (AttributeError, KeyError, LookupError, TypeError, ValueError, OverflowError):
            problems.append("unusable_result")
            unusable.add(own)
    return shapes, problems, unusable


def _shapes_of(
    result: Mapping[str, Any],
    task: Task,
    kind: Any,
    texts: Mapping[str, str],
    size_wh: tuple[int, int],
) -> Iterator[Shape]:
    value = result["value"]
    if kind == "choices":
        for label in _strings(value["choices"]):
            annotation = Annotation(kind="text", task=task.name, label=label)
            yield Shape(annotation=annotation, fields=("label",))
    elif kind == "textarea":
        for text in _strings(value["text"]):
            annotation = Annotation(kind="text", task=task.name, text=text)
            yield Shape(annotation=annotation, fields=("text",))
    elif kind == "rectanglelabels":
        quad, is_turned = _corners(value, size_wh)
        yield _region(task, result, value[kind], texts, quad, has_quad=is_turned)
    elif kind == "polygonlabels":  # of a quad
        quad = _points(value, size_wh)
        yield _region(task, result, value[kind], texts, quad, has_quad=len(quad) == _CORNERS)
    else:
        raise ValueError("unknown_type")


def _region(
    task: Task,
    result: Mapping[str, Any],
    labels: Any,
    texts: Mapping[str, str],
    corners: np.ndarray,
    *,
    has_quad: bool,
) -> Shape:
    """Return a box, with a quad where it has one and the task reads text."""
    box = (*corners.min(axis=0).tolist(), *corners.max(axis=0).tolist())
    words, fields = _words(task, result, labels, texts)
    takes_quad = has_quad and task.words == "reading"
    return Shape(
        id=_base_id(result),
        annotation=Annotation(
            kind="region",
            task=task.name,
            box_xyxy=box,
            quad=tuple(corners.ravel().tolist()) if takes_quad else (),
            **words,
        ),
        fields=(*fields, *(("quad",) if takes_quad else ("box_xyxy",))),
    )


def _mask(
    task: Task,
    own: str,
    parts: Sequence[Mapping[str, Any]],
    texts: Mapping[str, str],
    size_wh: tuple[int, int],
) -> Shape:
    """Return the mask that one or more polygons draw."""
    mask = mask_of([_points(one["value"], size_wh) for one in parts], size_wh)
    if mask is None:
        raise ValueError("empty_mask")
    words, fields = _words(task, parts[0], parts[0]["value"]["polygonlabels"], texts)
    return Shape(
        id="" if own.startswith("new ") else own,
        annotation=Annotation(
            kind="region", task=task.name, mask_rle=mask, box_xyxy=box_around(mask), **words
        ),
        fields=(*fields, "mask_rle"),
        is_outline=True,
    )


def _words(
    task: Task, result: Mapping[str, Any], labels: Any, texts: Mapping[str, str]
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return label and text of a region, and which of them are stated."""
    words: dict[str, Any] = {}
    label = next(_strings(labels), "")
    if has_label(task) and label and label != task.name:
        words["label"] = label
    text = texts.get(str(result.get("id", "")), "")
    if has_text(task) and (text or "text" in task.needs):  # one that was emptied is stated, too
        words["text"] = text
    return words, tuple(words)


def _texts_of_regions(results: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Return the texts of regions by the id of the region."""
    found: dict[str, str] = {}
    for one in results:
        value = one.get("value")
        if str(one.get("from_name", "")).endswith(TEXT) and isinstance(value, Mapping):
            found[str(one.get("id", ""))] = "\n".join(_strings(value.get("text")))
    return found


def _base_id(result: Mapping[str, Any]) -> str:
    """Return the id of an annotation of a run, of which a result may be one of several parts; empty
    for an id of Label Studio."""
    name = str(result.get("id", "")).partition(PART)[0]
    is_own = len(name) == _ID_DIGITS and set(name) <= set("0123456789abcdef")
    return name if is_own else ""


def _corners(value: Mapping[str, Any], size_wh: tuple[int, int]) -> tuple[np.ndarray, bool]:
    """Return the corners of a rectangle in pixels, clockwise, (4, 2), and whether it is turned. It
    is turned clockwise around its first corner."""
    scale = np.array(size_wh) / 100
    x, y, width, height = (_number(value[name]) for name in ("x", "y", "width", "height"))
    angle = math.radians(_number(value.get("rotation", 0)))
    along = np.array([math.cos(angle), math.sin(angle)]) * width * scale[0]
    down = np.array([-math.sin(angle), math.cos(angle)]) * height * scale[1]
    first = np.array([x, y]) * scale
    return np.array([first, first + along, first + along + down, first + down]), bool(
        angle % math.tau
    )


def _points(value: Mapping[str, Any], size_wh: tuple[int, int]) -> np.ndarray:
    points = [[_number(x), _number(y)] for x, y in value["points"]]
    return np.array(points, dtype=np.float64).reshape(-1, 2) * np.array(size_wh) / 100


def _number(value: Any) -> float:
    if not is_number(value):
        raise ValueError("no_number")
    return float(value)


def _whole(value: Any) -> int:
    return value if isinstance(value, int) and 0 < value < 1 << 31 else 0


def _strings(value: Any) -> Iterator[str]:
    given = [value] if isinstance(value, str) else value
    if isinstance(given, list):
        yield from (one for one in given if isinstance(one, str) and one.strip())


def _dicts(value: Any) -> list[dict[str, Any]]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []

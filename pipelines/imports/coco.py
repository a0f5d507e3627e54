"""COCO: instances or captions, as `florilegium export --format coco` writes them.

An instance has the id of its annotation in the run as `annotation_id`, which other programs may
drop: then one that is as it was is recognised, and a moved one counts as new. An instance with a
mask states a box and its mask. What is gone was rejected only where the file as it was exported is
given, too. COCO names no person.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from pycocotools import mask as coco_mask

from florilegium.engine.core.annotation import Annotation, MaskRLE
from florilegium.engine.core.tasks import CAPTION_TASKS
from florilegium.engine.core.validity import is_number, problem_of
from florilegium.engine.untrusted.bounded_json import parsed
from florilegium.pipelines.imports.drawing import as_mask, mask_of
from florilegium.pipelines.imports.importer import Importer, ReturnedImage, Shape, read_bounded
from florilegium.pipelines.imports.times import utc

_MAX_DEPTH = 16
_BOX, _MASK = "object_detection", "segmentation"


class CocoImporter(Importer):
    """Reads a file of COCO."""

    tool: ClassVar[str] = "coco"

    def read(self, path: Path) -> Iterator[ReturnedImage]:
        """Yield the images of a file.

        Raises:
            ValueError: it is no COCO, or too large.
        """
        document = parsed(read_bounded(path), max_depth=_MAX_DEPTH)
        if not isinstance(document, dict) or not all(
            isinstance(document.get(name), list) for name in ("images", "annotations")
        ):
            raise ValueError("it has no lists `images` and `annotations`")
        names = {
            one.get("id"): str(one.get("name", ""))
            for one in _dicts(document.get("categories"))
            if isinstance(one.get("id"), int)
        }
        of_image: dict[Any, list[Mapping[str, Any]]] = {}
        for one in _dicts(document["annotations"]):
            if isinstance(one.get("image_id"), int | str):
                of_image.setdefault(one["image_id"], []).append(one)
        info = document.get("info")
        when = utc(info.get("date_created")) if isinstance(info, dict) else ""
        for image in _dicts(document["images"]):
            own = of_image.get(image.get("id"), []) if _is_id(image.get("id")) else []
            yield _image(image, own, names, when)


def _is_id(value: Any) -> bool:
    return isinstance(value, int | str)


def _image(
    image: Mapping[str, Any],
    annotations: list[Mapping[str, Any]],
    names: Mapping[Any, str],
    when: str,
) -> ReturnedImage:
    sides = [image.get(name) for name in ("width", "height")]
    if not all(isinstance(one, int) and 0 < one < 1 << 24 for one in sides):
        raise ValueError(f"the image {image.get('file_name')!r:.200} has no width and height")
    size_wh = (sides[0], sides[1])
    shapes: list[Shape] = []
    problems: list[str] = []
    unusable: set[str] = set()
    for one in annotations:
        try:
            shapes += _shapes(one, names, size_wh)
        except (KeyError, LookupError, TypeError, ValueError, OverflowError):
            problems.append("unusable_annotation")
            unusable.add(str(one.get("annotation_id", "")))
    return ReturnedImage(
        name=str(image.get("file_name", "")),
        key=str(image.get("key", "")),
        size_wh=size_wh,  # type: ignore[arg-type]
        shapes=tuple(shapes),
        when=when,
        problems=tuple(problems),
        unusable=frozenset(unusable - {""}),
    )


def _shapes(
    one: Mapping[str, Any], names: Mapping[Any, str], size_wh: tuple[Any, Any]
) -> Iterator[Shape]:
    if isinstance(caption := one.get("caption"), str):
        task = one.get("task") if one.get("task") in CAPTION_TASKS else "caption"
        annotation = Annotation(kind="text", task=str(task), text=caption)
        yield Shape(annotation=annotation, fields=("text",))
        return
    label, own = names[one["category_id"]], str(one.get("annotation_id", ""))
    left, top, width, height = map(_number, one["bbox"])
    box = (left, top, left + width, top + height)
    yield Shape(
        id=own,
        annotation=Annotation(kind="region", task=_BOX, label=label, box_xyxy=box),
        fields=("label", "box_xyxy"),
    )
    mask, is_outline = _mask(one.get("segmentation"), size_wh)
    if mask is not None:
        yield Shape(
            annotation=Annotation(
                kind="region", task=_MASK, label=label, mask_rle=mask, box_xyxy=box, parent_id=own
            ),
            fields=("mask_rle",),
            is_outline=is_outline,
        )


def _mask(value: Any, size_wh: tuple[int, int]) -> tuple[MaskRLE | None, bool]:
    """Return a mask, and whether it is an outline: polygons, which have no holes.

    Raises:
        ValueError: it is malformed, or of another size.
    """
    if not value:
        return None, False
    if isinstance(value, list):
        polygons = [np.array([_number(x) for x in one]).reshape(-1, 2) for one in value]
        return mask_of(polygons, size_wh), True
    counts, size = value["counts"], value["size"]
    width, height = size_wh
    if list(size) != [height, width]:
        raise ValueError("a mask of another size")
    if isinstance(counts, list):
        runs = np.array([int(_number(one)) for one in counts], dtype=np.int64)
        if runs.min(initial=0) < 0 or runs.sum() != width * height:
            raise ValueError("runs that do not fill the image")
        whole = {"size": [height, width], "counts": runs.tolist()}
        return as_mask(coco_mask.frPyObjects(whole, height, width)), False
    mask = MaskRLE((height, width), counts)
    wrong = problem_of(
        Annotation(kind="region", task=_MASK, mask_rle=mask), width=width, height=height
    )
    if wrong:  # pycocotools reads beyond its memory
        raise ValueError(wrong)
    return mask, False


def _number(value: Any) -> float:
    if not is_number(value):
        raise ValueError("no_number")
    return float(value)


def _dicts(value: Any) -> list[dict[str, Any]]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []

"""The annotations of one image as the page shows them: words, shapes, places, provenance.

A place is where on the canvas something was said; what was said of one place lights up
together: a box, the mask made from it, the phrases grounded to it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from engine.core.annotation import Annotation, from_json
from engine.core.tasks import CAPTION_TASKS, NAMELESS_TASKS
from pipelines.report.chips import Chip, Rectangle, place_chip
from pipelines.report.drawing import Canvas, box_path, mask_path, polygon_path


@dataclass(frozen=True, kw_only=True)
class Shape:
    """A region on the canvas: an SVG path, what it is (`box`, `quad`, `mask`), perhaps a name."""

    path: str
    form: str
    area: int
    chip: Chip | None


@dataclass(frozen=True, kw_only=True)
class Statement:
    """An annotation on the page. `drops` says which filter dropped it and why, or nothing."""

    annotation: Annotation
    kept: bool
    drops: str
    judged: str
    speaker: int
    place: str
    shape: Shape | None

    @property
    def words(self) -> str:
        """What was said, in words; empty when only a place was shown."""
        return self.annotation.text or self.annotation.label

    @property
    def task(self) -> str:
        """The task, as people write it."""
        return self.annotation.task.replace("_", " ")

    @property
    def model(self) -> str:
        """The model behind it and its revision."""
        return " ".join(filter(None, (self.annotation.model, self.annotation.revision)))

    @property
    def by(self) -> str:
        """Who said it: the specialist, its model and revision, the round."""
        said = self.annotation
        return " · ".join(filter(None, (said.specialist, self.model, f"round\u00a0{said.round}")))

    @property
    def score(self) -> str:
        """The score to two digits; empty when the specialist gave none."""
        return "" if self.annotation.score is None else f"{self.annotation.score:.2f}"

    @property
    def tip(self) -> str:
        """Everything about it in a few lines."""
        words = self.words if self.annotation.task not in CAPTION_TASKS else ""
        scored = "no score" if self.annotation.score is None else f"score {self.score}"
        verdict = f"dropped by {self.drops}" if self.drops else f"kept{self.judged}"
        return "\n".join(filter(None, (words, f"{self.task}, {scored}", self.by, verdict)))


def read_statements(
    rows: Sequence[Mapping[str, Any]], canvas: Canvas, speakers: Mapping[str, int]
) -> list[Statement]:
    """Turn the Parquet rows of one sample into statements, in their order.

    `speakers` are the numbers of the specialists.
    """
    names = Annotation.__dataclass_fields__
    annotations = [from_json({name: row[name] for name in names}) for row in rows]
    places = _places(annotations, canvas)
    shapes = _shapes(annotations, places, [row["kept"] for row in rows], canvas)
    return [
        Statement(
            annotation=annotation,
            kept=row["kept"],
            drops="" if row["kept"] else _drops(row["verdicts"]),
            judged=_judged(row["verdicts"]),
            speaker=speakers.get(annotation.specialist, 0),
            place=place,
            shape=shape,
        )
        for row, annotation, place, shape in zip(rows, annotations, places, shapes, strict=True)
    ]


def _drops(verdicts: Sequence[Mapping[str, Any]]) -> str:
    """Say which filter dropped an annotation, why, and what it had measured."""
    for verdict in verdicts:
        if not verdict["keep"]:
            numbers = _numbers(verdict)
            return f"{verdict['filter']}: {verdict['reason']}{numbers and f' ({numbers})'}"
    return "an unknown filter"


def _judged(verdicts: Sequence[Mapping[str, Any]]) -> str:
    names = ", ".join(verdict["filter"] for verdict in verdicts if verdict["keep"])
    return f" by {names}" if names else ", no filter judges it"


def _numbers(verdict: Mapping[str, Any]) -> str:
    return ", ".join(f"{one['name']} {one['value']:.3g}" for one in verdict["measurement"])


def _places(annotations: Sequence[Annotation], canvas: Canvas) -> list[str]:
    """Name the place of each annotation; equal regions and masks of a region share one."""
    by_id = {annotation.id: annotation for annotation in annotations}
    numbers: dict[tuple[int, ...], str] = {}
    places = []
    for annotation in annotations:
        parent = by_id.get(annotation.parent_id)
        of_parent = annotation.mask_rle and parent and (parent.box_xyxy or parent.quad)
        where = of_parent or annotation.box_xyxy or annotation.quad
        key = tuple(canvas.points(where).ravel().tolist())
        places.append(numbers.setdefault(key, f"p{len(numbers)}") if key else "")
    return places


def _shapes(
    annotations: Sequence[Annotation], places: Sequence[str], kept: Sequence[bool], canvas: Canvas
) -> list[Shape | None]:
    """Draw every region. Names are placed from the largest on, those of kept regions first."""
    outlines = [outline_of(annotation, canvas) for annotation in annotations]
    order = sorted(
        (row for row, outline in enumerate(outlines) if outline),
        key=lambda row: (not kept[row], -area_of(outlines[row])),
    )
    shapes: list[Shape | None] = [None] * len(annotations)
    taken = _written(annotations, outlines, places, kept)
    for row in order:
        outline = outlines[row] or ("", "", np.zeros((1, 2), int))
        chip = None
        name = annotations[row].text or annotations[row].label
        if name and annotations[row].task not in NAMELESS_TASKS:
            # Names of one place may cover each other: only the first of them is shown.
            others = [one for place, one in taken if place != places[row]]
            chip = place_chip(name, around(outline), canvas, others)
            if kept[row] and not chip.is_crowded:
                taken.append((places[row], chip.rectangle))
        shapes[row] = Shape(path=outline[0], form=outline[1], area=area_of(outline), chip=chip)
    return shapes


Outline = tuple[str, str, np.ndarray]
"""Path, form and corners of a region, int, shape (n, 2)."""


def outline_of(annotation: Annotation, canvas: Canvas) -> Outline | None:
    """Return path, form and corners of an annotation's region, its mask before quad and box."""
    if annotation.mask_rle is not None:
        path = mask_path(annotation.mask_rle, canvas)
        if path:
            return path, "mask", canvas.points(annotation.box_xyxy or (0, 0, *canvas.image_wh))
    if annotation.quad:
        points = canvas.points(annotation.quad)
        return polygon_path(points), "quad", points
    if annotation.box_xyxy:
        points = canvas.points(annotation.box_xyxy)
        return box_path(points), "box", points
    return None


def _written(
    annotations: Sequence[Annotation],
    outlines: Sequence[Outline | None],
    places: Sequence[str],
    kept: Sequence[bool],
) -> list[tuple[str, Rectangle]]:
    """Return where text can be read in the image, so that no name is written over it."""
    rows = zip(annotations, outlines, places, kept, strict=True)
    return [
        (place, around(outline))
        for annotation, outline, place, is_kept in rows
        if annotation.task == "ocr" and outline and is_kept
    ]


def around(outline: Outline) -> Rectangle:
    """Return the rectangle around a region."""
    (left, top), (right, bottom) = outline[2].min(axis=0).tolist(), outline[2].max(axis=0).tolist()
    return Rectangle(left, top, right, bottom)


def area_of(outline: Outline | None) -> int:
    """Return the area of the rectangle around a region; 0 where there is none."""
    return 0 if outline is None else int(np.ptp(outline[2], axis=0).prod())

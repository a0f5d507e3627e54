"""The annotations of one image as the page shows them: text, shape, region id, provenance.

Annotations of one region share a region id and are highlighted together: a box, the mask made
from it, the phrases grounded to it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from florilegium.engine.core.annotation import Annotation, from_json
from florilegium.engine.core.tasks import CAPTION_TASKS, NAMELESS_TASKS
from florilegium.pipelines.report.chips import Chip, Rectangle, place_chip
from florilegium.pipelines.report.drawing import Canvas, box_path, mask_path, polygon_path


@dataclass(frozen=True, kw_only=True)
class Shape:
    """A region on the canvas: an SVG path, its form (`box`, `quad`, `mask`), perhaps a label."""

    path: str
    form: str
    area: int
    chip: Chip | None


@dataclass(frozen=True, kw_only=True)
class ShownAnnotation:
    """An annotation on the page.

    `dropped_by` is the filter that dropped it, with the reason; "" if it was kept. `judged_by`
    lists the filters that kept it. `specialist_number` selects the colour. `is_alone` where nothing
    of the image was kept: what was dropped is shown then.
    """

    annotation: Annotation
    kept: bool
    dropped_by: str
    judged_by: str
    specialist_number: int
    region_id: str
    shape: Shape | None
    is_alone: bool = False

    @property
    def switch(self) -> str:
        """The switch that shows it: `kept` or `dropped`; none where nothing was kept."""
        return "kept" if self.kept else "" if self.is_alone else "dropped"

    @property
    def text(self) -> str:
        """The text, else the label; empty for a bare region."""
        return self.annotation.words

    @property
    def task(self) -> str:
        """The task, with spaces."""
        return self.annotation.task.replace("_", " ")

    @property
    def drop(self) -> str:
        """The filter that dropped it, with the reason, without measurements."""
        return self.dropped_by.partition(" (")[0]

    @property
    def model(self) -> str:
        """The model and its revision."""
        return " ".join(filter(None, (self.annotation.model, self.annotation.revision)))

    @property
    def provenance(self) -> str:
        """The specialist, its model and revision, the round."""
        one = self.annotation
        return " · ".join(filter(None, (one.specialist, self.model, f"round\u00a0{one.round}")))

    @property
    def score(self) -> str:
        """The score with two digits; empty if there is none."""
        return "" if self.annotation.score is None else f"{self.annotation.score:.2f}"

    @property
    def tip(self) -> str:
        """All facts about it, in a few lines."""
        text = self.text if self.annotation.task not in CAPTION_TASKS else ""
        scored = "no score" if self.annotation.score is None else f"score {self.score}"
        verdict = f"dropped by {self.dropped_by}" if self.dropped_by else f"kept{self.judged_by}"
        return "\n".join(filter(None, (text, f"{self.task}, {scored}", self.provenance, verdict)))


def shown_annotations(
    rows: Sequence[Mapping[str, Any]], canvas: Canvas, specialist_numbers: Mapping[str, int]
) -> list[ShownAnnotation]:
    """Convert the Parquet rows of one sample, in their order."""
    names = Annotation.__dataclass_fields__
    annotations = [from_json({name: row[name] for name in names}) for row in rows]
    region_ids = _region_ids(annotations, canvas)
    kept = [row["kept"] for row in rows]
    shapes = _shapes(annotations, region_ids, kept, canvas)
    return [
        ShownAnnotation(
            annotation=annotation,
            kept=row["kept"],
            dropped_by="" if row["kept"] else _dropped_by(row["verdicts"]),
            judged_by=_judged_by(row["verdicts"]),
            specialist_number=specialist_numbers.get(annotation.specialist, 0),
            region_id=region_id,
            shape=shape,
            is_alone=not any(kept),
        )
        for row, annotation, region_id, shape in zip(
            rows, annotations, region_ids, shapes, strict=True
        )
    ]


def _dropped_by(verdicts: Sequence[Mapping[str, Any]]) -> str:
    """Return the filter that dropped an annotation, its reason and its measurements."""
    for verdict in verdicts:
        if not verdict["keep"]:
            numbers = _numbers(verdict)
            return f"{verdict['filter']}: {verdict['reason']}{numbers and f' ({numbers})'}"
    return "an unknown filter"


def _judged_by(verdicts: Sequence[Mapping[str, Any]]) -> str:
    names = ", ".join(verdict["filter"] for verdict in verdicts if verdict["keep"])
    return f" by {names}" if names else ", no filter judges it"


def _numbers(verdict: Mapping[str, Any]) -> str:
    return ", ".join(f"{one['name']} {one['value']:.3g}" for one in verdict["measurement"])


def _region_ids(annotations: Sequence[Annotation], canvas: Canvas) -> list[str]:
    """Return the region id of each annotation; equal regions, and masks made from them, share
    one."""
    by_id = {annotation.id: annotation for annotation in annotations}
    numbers: dict[tuple[int, ...], str] = {}
    region_ids = []
    for annotation in annotations:
        parent = by_id.get(annotation.parent_id)
        of_parent = annotation.mask_rle and parent and (parent.box_xyxy or parent.quad)
        where = of_parent or annotation.box_xyxy or annotation.quad
        key = tuple(canvas.points(where).ravel().tolist())
        region_ids.append(numbers.setdefault(key, f"p{len(numbers)}") if key else "")
    return region_ids


def _shapes(
    annotations: Sequence[Annotation],
    region_ids: Sequence[str],
    kept: Sequence[bool],
    canvas: Canvas,
) -> list[Shape | None]:
    """Draw every region. Labels are placed for kept regions first, from the largest down."""
    outlines = [outline_of(annotation, canvas) for annotation in annotations]
    order = sorted(
        (row for row, outline in enumerate(outlines) if outline),
        key=lambda row: (not kept[row], -area_of(outlines[row])),
    )
    shapes: list[Shape | None] = [None] * len(annotations)
    taken = _written(annotations, outlines, region_ids, kept)
    for row in order:
        outline = outlines[row] or ("", "", np.zeros((1, 2), int))
        chip = None
        name = annotations[row].text or annotations[row].label
        if name and annotations[row].task not in NAMELESS_TASKS:
            # Labels of one region may cover each other: only the first of them is shown.
            others = [one for region_id, one in taken if region_id != region_ids[row]]
            chip = place_chip(name, around(outline), canvas, others)
            if kept[row] and not chip.is_crowded:
                taken.append((region_ids[row], chip.rectangle))
        shapes[row] = Shape(path=outline[0], form=outline[1], area=area_of(outline), chip=chip)
    return shapes


Outline = tuple[str, str, np.ndarray]
"""Path, form and corners of a region, int, shape (n, 2)."""


def outline_of(annotation: Annotation, canvas: Canvas) -> Outline | None:
    """Return path, form and corners of an annotation's region: its mask, else its quad or box."""
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
    region_ids: Sequence[str],
    kept: Sequence[bool],
) -> list[tuple[str, Rectangle]]:
    """Return the rectangles of text in the image, which labels must not cover."""
    rows = zip(annotations, outlines, region_ids, kept, strict=True)
    return [
        (region_id, around(outline))
        for annotation, outline, region_id, is_kept in rows
        if annotation.task == "ocr" and outline and is_kept
    ]


def around(outline: Outline) -> Rectangle:
    """Return the bounding rectangle of a region."""
    (left, top), (right, bottom) = outline[2].min(axis=0).tolist(), outline[2].max(axis=0).tolist()
    return Rectangle(left, top, right, bottom)


def area_of(outline: Outline | None) -> int:
    """Return the area of the bounding rectangle of a region; 0 without a region."""
    return 0 if outline is None else int(np.ptp(outline[2], axis=0).prod())

"""YOLO: images, a text file of boxes or polygons beside each, and `data.yaml`.

    OUTPUT/data.yaml               folders of the parts, names of the classes
    OUTPUT/images/train/KEY.jpg    upright; without parts directly in `images/`
    OUTPUT/labels/train/KEY.txt    CLASS X Y WIDTH HEIGHT (centre) or CLASS X1 Y1 X2 Y2 ..., in
                                   shares of the image, 0..1; empty where nothing is in it

The format has no place for scores and provenance, and none for a polygon's holes or further parts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
import yaml
from pycocotools import mask as coco_mask
from pydantic import BaseModel

from florilegium.engine.core.annotation import MaskRLE
from florilegium.engine.core.counted import counted
from florilegium.engine.core.errors import UsageError
from florilegium.pipelines.export.exporter import (
    NOT_EXPORTED,
    SELECTING,
    ExportConfig,
    ExportedAnnotations,
    Exporter,
    LeftOut,
)
from florilegium.pipelines.export.images import ImageFiles
from florilegium.pipelines.export.selected import SelectedDataset, SelectedSample
from florilegium.pipelines.export.things import INSTANCE_TASKS, Thing, things_of
from florilegium.specialists.regions.outline import outline

DATA, IMAGES, LABELS = "data.yaml", "images", "labels"
NO_MASK, OUTSIDE = "no_mask", "outside_of_the_image"
PARTS_LOST = "masks of several parts, of which the largest is written"
HOLES_LOST = "masks whose holes are filled"
_DECIMALS = 6
_CORNERS, _LEAST_IOU = 400, 0.98


class YoloConfig(ExportConfig):
    """Options of `YoloExporter`."""

    kind: Literal["detect", "segment"] = "detect"
    """Whether boxes are written, or polygons around masks."""


@dataclass(frozen=True, kw_only=True)
class YoloExported(ExportedAnnotations):
    """What was written, what was left out, and what masks lost, by what."""

    images: Mapping[str, int]
    objects: int
    classes: int
    lost: Mapping[str, int]

    def summary(self) -> Iterator[str]:
        """Yield the counts."""
        for part, count in self.images.items():
            yield f"{part} {counted(count, 'image')}".strip()
        classes = counted(self.classes, "class", "classes")
        yield f"{counted(self.objects, 'object')} of {classes}"

    def warnings(self) -> Iterator[str]:
        """Yield what is not as it was."""
        yield from super().warnings()
        for what, count in sorted(self.lost.items()):
            yield f"{count} {what}"
        if "" in self.images:
            yield "train and val are the same images: split them by --split train=.9,val=.1"


class YoloExporter(Exporter[YoloConfig, YoloExported]):
    """Writes images and labels; nothing but the classes is kept in memory."""

    Config: ClassVar[type[BaseModel]] = YoloConfig
    supports: ClassVar[frozenset[str]] = SELECTING | {"split"}

    def write(self, dataset: SelectedDataset, output: Path) -> YoloExported:
        """Write images, labels and `data.yaml`.

        Raises:
            UsageError: there is no object.
            StorageError: a shard cannot be read.
        """
        classes = dataset.classes_of(INSTANCE_TASKS)
        ids = {name: number for number, name in enumerate(classes)}
        images, left_out, lost = ImageFiles(dataset, output), LeftOut(), Counter[str]()
        objects = 0
        for part in dataset.parts:
            for folder in (IMAGES, LABELS):
                (output / folder / part).mkdir(parents=True)
        for sample in dataset:
            images.add(sample, f"{IMAGES}/{sample.part}".rstrip("/"), sample.key)
            lines = list(self._lines(sample, ids, left_out, lost))
            path = output / LABELS / sample.part / f"{sample.key}.txt"
            path.write_text("".join(lines), encoding="ascii")
            objects += len(lines)
        if not objects:
            raise UsageError(f"{dataset.url} has no object that YOLO has a place for")
        (output / DATA).write_text(_data(dataset, classes), encoding="utf-8")
        return YoloExported(
            images=dict(images.count),
            objects=objects,
            classes=len(classes),
            left_out=left_out,
            lost=lost,
        )

    def _lines(
        self, sample: SelectedSample, ids: Mapping[str, int], left_out: LeftOut, lost: Counter[str]
    ) -> Iterator[str]:
        tasks = {one.id: one.task for one in sample.annotations}
        left_out.update(
            (task, NOT_EXPORTED) for task in tasks.values() if task not in INSTANCE_TASKS
        )
        for thing in things_of(sample.annotations, INSTANCE_TASKS, left_out):
            if self.config.kind == "segment" and thing.mask_rle is None:
                left_out[tasks[thing.id], NO_MASK] += 1
                continue
            numbers = self._numbers(thing, (sample.width, sample.height), lost)
            if numbers is None:
                left_out[tasks[thing.id], OUTSIDE] += 1
            else:
                words = " ".join(f"{number:.{_DECIMALS}f}" for number in numbers)
                yield f"{ids[thing.label]} {words}\n"

    def _numbers(
        self, thing: Thing, size_wh: tuple[int, int], lost: Counter[str]
    ) -> np.ndarray | None:
        """Return the numbers of a line; `None` where nothing is inside of the image."""
        if self.config.kind == "segment" and thing.mask_rle is not None:
            polygons = outline(thing.mask_rle, corners=_CORNERS, min_iou=_LEAST_IOU)
            if not polygons:
                return None
            parts, holes = _parts_and_holes(thing.mask_rle)
            lost.update({PARTS_LOST: int(parts > 1), HOLES_LOST: int(holes > 0)})
            return (np.clip(polygons[0], 0, size_wh) / size_wh).ravel()
        corners = np.clip(np.reshape(thing.box_xyxy, (2, 2)), 0, size_wh) / size_wh
        sides = corners[1] - corners[0]
        return None if (sides <= 0).any() else np.concatenate([corners.mean(axis=0), sides])


def _parts_and_holes(mask: MaskRLE) -> tuple[int, int]:
    """Count the parts of a mask that do not touch, and its holes."""
    import cv2

    pixels = coco_mask.decode(mask._asdict())
    contours, tree = cv2.findContours(pixels, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    holes = int((tree.reshape(-1, 4)[:, 3] >= 0).sum()) if len(contours) else 0
    return len(contours) - holes, holes


def _data(dataset: SelectedDataset, classes: tuple[str, ...]) -> str:
    folders = {part: f"{IMAGES}/{part}" for part in dataset.parts if part}
    document = {
        **(folders or {"train": IMAGES, "val": IMAGES}),
        "nc": len(classes),
        "names": dict(enumerate(classes)),
    }
    return yaml.safe_dump(document, sort_keys=False, allow_unicode=True)

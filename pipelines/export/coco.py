"""COCO: instances with boxes and masks, captions, and upright images.

    OUTPUT/annotations/instances.json   images, categories, an annotation for each object
    OUTPUT/annotations/captions.json    images, an annotation for each caption
    OUTPUT/images/9f2c....jpg           upright, named by the digest of the source's image

With parts, `instances_train.json`, `captions_train.json`, `images/train/` and so on.

A box and the mask made from it are one instance: `bbox` is the box, `segmentation` the mask as
compressed RLE. `iscrowd` is always 0, as crowd regions of a source never become annotations. Ids
count from 1 in stored order.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, ClassVar, Self

from pydantic import BaseModel, Field, field_validator

from florilegium.engine.core.annotation import (
    ANNOTATION_NAMES,
    from_table,
)
from florilegium.engine.core.counted import counted
from florilegium.engine.core.errors import StorageError, UsageError, nearest
from florilegium.engine.core.tasks import names_of
from florilegium.pipelines.export.classes import ordered
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

ANNOTATIONS, IMAGES = "annotations", "images"
INSTANCES, CAPTIONS = f"{ANNOTATIONS}/instances.json", f"{ANNOTATIONS}/captions.json"
INFO = {"description": "Built by Florilegium"}
CAPTION_TASKS = names_of(lambda task: task.coco == "caption")


class CocoConfig(ExportConfig):
    """Options of `CocoExporter`."""

    tasks: tuple[str, ...] = Field(default=(*INSTANCE_TASKS, *CAPTION_TASKS), min_length=1)
    """Tasks whose annotations become instances or captions. An object that two tasks found becomes
    two instances: leave one task out."""
    categories: tuple[str, ...] = ()
    """Labels that get the ids 1, 2, ...; all others follow in alphabetical order. Name those of an
    earlier export to keep their ids."""

    @field_validator("tasks")
    @classmethod
    def _have_a_meaning(cls, tasks: tuple[str, ...]) -> tuple[str, ...]:
        known = (*INSTANCE_TASKS, *CAPTION_TASKS)
        for task in tasks:
            if task not in known:
                raise ValueError(f"{task!r} has no meaning in COCO, {nearest(task, known)}")
        return tasks

    @field_validator("categories")
    @classmethod
    def _are_distinct(cls, categories: tuple[str, ...]) -> tuple[str, ...]:
        for label, count in Counter(categories).items():
            if count > 1 or not label.strip():
                raise ValueError(f"{label!r} occurs {counted(count, 'time')}: name each label once")
        return categories


@dataclass(frozen=True, kw_only=True)
class CocoExported(ExportedAnnotations):
    """What was written, and the annotations that were left out."""

    images: int
    instances: int
    captions: int
    categories: int

    def summary(self) -> Iterator[str]:
        """Yield the counts."""
        instances = counted(self.instances, "instance")
        yield counted(self.images, "image")
        yield f"{instances} of {counted(self.categories, 'category', 'categories')}"
        yield counted(self.captions, "caption")


class CocoExporter(Exporter[CocoConfig, CocoExported]):
    """Writes instances, captions and images; only the entries of images are kept in memory."""

    Config: ClassVar[type[BaseModel]] = CocoConfig
    supports: ClassVar[frozenset[str]] = SELECTING | {"split", "images"}

    def write(self, dataset: SelectedDataset, output: Path) -> CocoExported:
        """Write both files of each part, and the images.

        Raises:
            UsageError: there is no instance and no caption.
            StorageError: a shard cannot be read.
        """
        ids = self._category_ids(dataset)
        images = ImageFiles(dataset, output)
        left_out = LeftOut()
        (output / ANNOTATIONS).mkdir()
        with ExitStack() as stack:
            parts = {name: stack.enter_context(_Part(output, name)) for name in dataset.parts}
            for sample in dataset:
                part = parts[sample.part]
                number = part.add_image(sample, images)
                for thing in things_of(sample.annotations, self.config.tasks, left_out):
                    part.instances.add(image_id=number, **fields_of(thing, ids))
                for one in sample.annotations:
                    if one.task not in self.config.tasks:
                        left_out[one.task, NOT_EXPORTED] += 1
                    elif one.task in CAPTION_TASKS:
                        part.captions.add(image_id=number, caption=one.text, task=one.task)
            for part in parts.values():
                part.end(ids)
        instances = sum(part.instances.count for part in parts.values())
        captions = sum(part.captions.count for part in parts.values())
        if not (instances or captions):
            tasks = ", ".join(self.config.tasks)
            raise UsageError(f"{dataset.url} has nothing to export of {tasks}: label more samples")
        return CocoExported(
            images=images.count.total(),
            instances=instances,
            captions=captions,
            categories=len(ids),
            left_out=left_out,
        )

    def _category_ids(self, dataset: SelectedDataset) -> dict[str, int]:
        if self.config.categories and dataset.first_classes:
            raise UsageError("`categories` and --classes both order the ids: leave one out")
        labels: set[str] = set()
        for table in dataset.tables(ANNOTATION_NAMES):
            annotations = from_table(table)
            labels.update(one.label for one in things_of(annotations, self.config.tasks, LeftOut()))
        names = ordered(labels, self.config.categories or dataset.first_classes)
        return {label: number for number, label in enumerate(names, start=1)}


class _Part:
    """The two files of one part; ids of images and annotations count within it."""

    def __init__(self, output: Path, name: str) -> None:
        self.instances, self.captions = (
            _Entries((output / path_of(path, name)).open("w", encoding="ascii"))
            for path in (INSTANCES, CAPTIONS)
        )
        self._images: list[dict[str, Any]] = []
        self._folder = f"{IMAGES}/{name}".rstrip("/")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.instances.close()
        self.captions.close()

    def add_image(self, sample: SelectedSample, images: ImageFiles) -> int:
        """Add a sample's image; return its id."""
        name = images.add(sample, self._folder, sample.sha256).removeprefix(f"{self._folder}/")
        size = {"width": sample.width, "height": sample.height}
        number = len(self._images) + 1
        self._images.append({"id": number, "file_name": name, **size, "key": sample.key})
        return number

    def end(self, ids: Mapping[str, int]) -> None:
        """Write what stands at the end of the files."""
        categories = [
            {"id": number, "name": label, "supercategory": ""} for label, number in ids.items()
        ]
        self.instances.end(images=self._images, categories=categories)
        self.captions.end(images=self._images)


def path_of(path: str, part: str) -> str:
    """Return the path of a file of one part: `annotations/instances_train.json`."""
    return path.replace(".json", f"_{part}.json") if part else path


def fields_of(thing: Thing, category_ids: Mapping[str, int]) -> dict[str, Any]:
    """Return the fields of a COCO annotation; `area` is that of the mask, else of the box.

    Raises:
        StorageError: the label has no id: it is in a tar, and not in the Parquet file.
    """
    if thing.label not in category_ids:
        raise StorageError(
            f"the annotation {thing.id!r} differs between the tar and the Parquet file of its "
            f"shard: run `florilegium verify`, which finds the fault"
        )
    fields: dict[str, Any] = {
        "category_id": category_ids[thing.label],
        "bbox": [*thing.box_xyxy[:2], *thing.size_wh],
        "area": thing.area,
        "iscrowd": 0,
        "annotation_id": thing.id,
    }
    if thing.score is not None:
        fields["score"] = thing.score
    if thing.mask_rle:
        fields["segmentation"] = thing.mask_rle._asdict()
    return fields


class _Entries:
    """A COCO file, written annotation by annotation, with ids from 1."""

    def __init__(self, file: IO[str]) -> None:
        self._file = file
        self.count = 0
        self.close = file.close
        file.write('{"annotations": [')

    def add(self, **fields: Any) -> None:
        """Write an annotation."""
        self._file.write(",\n" if self.count else "\n")
        self.count += 1
        self._file.write(json.dumps({"id": self.count, **fields}, allow_nan=False))

    def end(self, **lists: list[dict[str, Any]]) -> None:
        """Write the other lists: images, categories."""
        rest = json.dumps({"info": INFO, "licenses": [], **lists}, allow_nan=False)
        self._file.write(f"\n],\n{rest.removeprefix('{')}\n")

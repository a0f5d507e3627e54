"""CVAT: "CVAT for images 1.1", to be uploaded to a task with the same images and labels.

    OUTPUT/annotations.xml      shapes with id, task, score and text as attributes
    OUTPUT/labels.json          the labels of the task, for CVAT's constructor of labels (raw)
    OUTPUT/images/9f2c....jpg   upright, named by the digest of the source's image

Boxes, quads as polygons, masks exactly as run lengths; labels and captions of the image as tags.
Phrases, and questions with answers, are left out.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any, ClassVar
from xml.sax.saxutils import escape, quoteattr

from pydantic import BaseModel, Field, field_validator

from florilegium.engine.core.annotation import Annotation
from florilegium.engine.core.counted import counted
from florilegium.engine.core.errors import UsageError
from florilegium.engine.core.tasks import TABLE
from florilegium.engine.results.dataset_sample import DatasetSample
from florilegium.pipelines.export.correctable import (
    CORRECTABLE,
    KNOWN_TASKS,
    checked_tasks,
    refuse_references,
)
from florilegium.pipelines.export.exporter import (
    NOT_EXPORTED,
    ExportConfig,
    ExportedAnnotations,
    Exporter,
    LeftOut,
)
from florilegium.pipelines.export.images import ImageFiles
from florilegium.pipelines.export.selected import SelectedDataset
from florilegium.pipelines.export.things import NO_BOX
from florilegium.pipelines.imports.cvat_shapes import ATTRIBUTES, ID, SCORE, TASK, TEXT, rle_of
from florilegium.pipelines.imports.label_studio_controls import has_label

XML, LABELS, IMAGES = "annotations.xml", "labels.json", "images"
NO_XML = "characters_that_xml_forbids"
COPY = "copy_of_another_image"
_FORBIDDEN = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


class CvatConfig(ExportConfig):
    """Options of `CvatExporter`."""

    tasks: tuple[str, ...] = Field(default=KNOWN_TASKS, min_length=1)
    """Tasks whose annotations are written."""

    @field_validator("tasks")
    @classmethod
    def _have_a_shape(cls, tasks: tuple[str, ...]) -> tuple[str, ...]:
        return checked_tasks(tasks, "shape in CVAT")


@dataclass(frozen=True, kw_only=True)
class CvatExported(ExportedAnnotations):
    """What was written, and the annotations that were left out."""

    images: int
    shapes: int

    def summary(self) -> Iterator[str]:
        """Yield the counts, and what to do with the files."""
        yield f"{counted(self.images, 'image')}, {counted(self.shapes, 'shape')}"
        yield f"create a task with {LABELS} (raw) and {IMAGES}, upload {XML} as CVAT 1.1"


class CvatExporter(Exporter[CvatConfig, CvatExported]):
    """Writes shapes, labels and images; only labels and digests of images are kept in memory."""

    Config: ClassVar[type[BaseModel]] = CvatConfig
    supports: ClassVar[frozenset[str]] = CORRECTABLE

    def write(self, dataset: SelectedDataset, output: Path) -> CvatExported:
        """Write shapes, labels and images.

        Raises:
            UsageError: there is nothing to write, or images are to be references.
            StorageError: a shard cannot be read.
        """
        refuse_references(dataset)
        images = ImageFiles(dataset, output)
        left_out, labels, digests, count = LeftOut(), set[str](), set[str](), 0
        with TemporaryFile("w+", encoding="utf-8") as body:
            for sample in dataset:
                if sample.sha256 in digests:  # a name stands for one image
                    left_out.update((one.task, COPY) for one in sample.annotations)
                    continue
                name = images.add(sample, IMAGES, sample.sha256).removeprefix(f"{IMAGES}/")
                shapes = [(one, _shape(one)) for one in self._written(sample, left_out)]
                labels.update(_label_of(one) for one, _ in shapes)
                _write_image(body, len(digests), name, sample, [shape for _, shape in shapes])
                digests.add(sample.sha256)
                count += len(shapes)
            if not count:
                tasks = ", ".join(self.config.tasks)
                raise UsageError(f"{dataset.url} has nothing to write of {tasks}: label more")
            body.seek(0)
            with (output / XML).open("w", encoding="utf-8") as file:
                file.write(_head(sorted(labels), len(digests)))
                for block in iter(lambda: body.read(1 << 16), ""):
                    file.write(block)
                file.write("</annotations>\n")
        document = [_constructed(label) for label in sorted(labels)]
        (output / LABELS).write_text(json.dumps(document, ensure_ascii=False, indent=1) + "\n")
        return CvatExported(images=len(digests), shapes=count, left_out=left_out)

    def _written(self, sample: DatasetSample, left_out: LeftOut) -> Iterator[Annotation]:
        """Yield the annotations that become shapes; count the others."""
        for one in sample.annotations:
            if one.task not in self.config.tasks:
                left_out[one.task, NOT_EXPORTED] += 1
            elif one.kind == "region" and not (one.box_xyxy or one.quad or _rle(one)):
                left_out[one.task, NO_BOX] += 1
            elif _FORBIDDEN.search(one.text + one.label):
                left_out[one.task, NO_XML] += 1
            else:
                yield one


def _rle(one: Annotation) -> dict[str, str] | None:
    return rle_of(one.mask_rle) if one.mask_rle else None


def _shape(one: Annotation) -> str:
    """Return the element of an annotation."""
    places = {"label": _label_of(one), "source": "auto"}
    if one.kind == "text":
        tag = "tag"
    else:
        tag, place = _place(one)
        places |= {"occluded": "0", **place, "z_order": "0"}
    attributes = {ID: one.id, TASK: one.task, SCORE: _score(one), TEXT: one.text}
    lines = [f"    <{tag} {_attributes(places)}>"]
    lines += [
        f"      <attribute name={quoteattr(name)}>{escape(value)}</attribute>"
        for name, value in attributes.items()
        if value
    ]
    return "\n".join([*lines, f"    </{tag}>", ""])


def _place(one: Annotation) -> tuple[str, dict[str, str]]:
    """Return the element of a region, and where it is."""
    is_mask = "mask_rle" in TABLE[one.task].needs
    if (is_mask or not (one.box_xyxy or one.quad)) and (rle := _rle(one)):
        return "mask", rle
    if one.quad:
        points = zip(one.quad[::2], one.quad[1::2], strict=True)
        return "polygon", {"points": ";".join(f"{x:.2f},{y:.2f}" for x, y in points)}
    edges = zip(("xtl", "ytl", "xbr", "ybr"), one.box_xyxy, strict=True)
    return "box", {name: f"{value:.2f}" for name, value in edges}


def _score(one: Annotation) -> str:
    return "" if one.score is None else f"{one.score:g}"


def _label_of(one: Annotation) -> str:
    """Return the label of a shape: that of the annotation, or the name of its task."""
    task = TABLE[one.task]
    is_named = "label" in task.needs if one.kind == "text" else has_label(task)
    return (one.label if is_named else "") or one.task


def _write_image(
    file: IO[str], number: int, name: str, sample: DatasetSample, shapes: list[str]
) -> None:
    sides = {"width": str(sample.width), "height": str(sample.height)}
    file.write(f"  <image {_attributes({'id': str(number), 'name': name, **sides})}>\n")
    file.writelines(shapes)
    file.write("  </image>\n")


def _attributes(values: Mapping[str, str]) -> str:
    return " ".join(f"{name}={quoteattr(value)}" for name, value in values.items())


def _head(labels: list[str], images: int) -> str:
    """Return the beginning of the file, with the labels of the task."""
    own = "".join(
        f"<attribute><name>{name}</name><mutable>False</mutable><input_type>text</input_type>"
        f"<default_value></default_value><values></values></attribute>"
        for name in ATTRIBUTES
    )
    named = "\n".join(
        f"        <label><name>{escape(label)}</name><attributes>{own}</attributes></label>"
        for label in labels
    )
    return (
        '<?xml version="1.0" encoding="utf-8"?>\n<annotations>\n  <version>1.1</version>\n'
        f"  <meta>\n    <task>\n      <size>{images}</size>\n      <mode>annotation</mode>\n"
        f"      <labels>\n{named}\n      </labels>\n    </task>\n  </meta>\n"
    )


def _constructed(label: str) -> dict[str, Any]:
    attributes = [
        {"name": name, "mutable": False, "input_type": "text", "default_value": "", "values": [""]}
        for name in ATTRIBUTES
    ]
    return {"name": label, "attributes": attributes}

"""Label Studio: tasks with predictions, the labeling config that shows them, and upright images.

    OUTPUT/tasks.json           a task for each image, to be imported into a project
    OUTPUT/config.xml           the labeling interface of that project
    OUTPUT/images/9f2c....jpg   upright, named by the digest of the source's image

A region keeps the id of its annotation, by which `florilegium import` recognises it. Masks become
polygons without holes. Phrases, and questions with answers, are left out.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar
from xml.sax.saxutils import quoteattr

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
from florilegium.pipelines.imports.drawing import polygons_of
from florilegium.pipelines.imports.label_studio_controls import (
    IMAGE,
    OUTLINE,
    PART,
    TEXT,
    control_of,
    has_label,
)

TASKS_FILE, CONFIG_FILE, IMAGES = "tasks.json", "config.xml", "images"


class LabelStudioConfig(ExportConfig):
    """Options of `LabelStudioExporter`."""

    tasks: tuple[str, ...] = Field(default=KNOWN_TASKS, min_length=1)
    """Tasks whose annotations are shown."""
    image_prefix: str = "/data/local-files/?d=images/"
    """What stands before the name of an image in its URL, as Label Studio reaches it: of its local
    storage by default."""

    @field_validator("tasks")
    @classmethod
    def _have_a_control(cls, tasks: tuple[str, ...]) -> tuple[str, ...]:
        return checked_tasks(tasks, "control in Label Studio")


@dataclass(frozen=True, kw_only=True)
class LabelStudioExported(ExportedAnnotations):
    """What was written, and the annotations that were left out."""

    images: int
    annotations: int

    def summary(self) -> Iterator[str]:
        """Yield the counts, and what to do with the files."""
        yield f"{counted(self.images, 'image')}, {counted(self.annotations, 'annotation')}"
        yield f"create a project with {CONFIG_FILE} as its labeling interface, import {TASKS_FILE}"


class LabelStudioExporter(Exporter[LabelStudioConfig, LabelStudioExported]):
    """Writes tasks, config and images; only labels are kept in memory."""

    Config: ClassVar[type[BaseModel]] = LabelStudioConfig
    supports: ClassVar[frozenset[str]] = CORRECTABLE

    def write(self, dataset: SelectedDataset, output: Path) -> LabelStudioExported:
        """Write tasks, config and images.

        Raises:
            UsageError: there is nothing to show, or images are to be references.
            StorageError: a shard cannot be read.
        """
        refuse_references(dataset)
        images = ImageFiles(dataset, output)
        left_out, labels, count, separator = LeftOut(), dict[str, set[str]](), 0, "\n"
        with (output / TASKS_FILE).open("w", encoding="utf-8") as file:
            file.write("[")
            for sample in dataset:
                name = images.add(sample, IMAGES, sample.sha256).removeprefix(f"{IMAGES}/")
                shown = list(self._shown(sample, left_out))
                for one in shown:
                    labels.setdefault(_control_name(one), set()).add(_label_of(one))
                count += len(shown)
                task = _task(sample, f"{self.config.image_prefix}{name}", shown)
                file.write(separator + json.dumps(task, ensure_ascii=False, allow_nan=False))
                separator = ",\n"
            file.write("\n]\n")
        if not count:
            tasks = ", ".join(self.config.tasks)
            raise UsageError(f"{dataset.url} has nothing to show of {tasks}: label more samples")
        (output / CONFIG_FILE).write_text(labeling_config(labels), encoding="utf-8")
        return LabelStudioExported(
            images=images.count.total(), annotations=count, left_out=left_out
        )

    def _shown(self, sample: DatasetSample, left_out: LeftOut) -> Iterator[Annotation]:
        """Yield the annotations that a person will see; count the others."""
        for one in sample.annotations:
            if one.task not in self.config.tasks:
                left_out[one.task, NOT_EXPORTED] += 1
            elif one.kind == "region" and not (one.box_xyxy or one.quad or one.mask_rle):
                left_out[one.task, NO_BOX] += 1
            else:
                yield one


def _task(sample: DatasetSample, url: str, shown: Sequence[Annotation]) -> dict[str, Any]:
    """Return the task of an image: with its results as a prediction for each model."""
    data: dict[str, Any] = {"image": url, "key": sample.key, "sha256": sample.sha256}
    data |= {"width": sample.width, "height": sample.height, "ids": [one.id for one in shown]}
    results = [result for one in shown for result in _results(one, sample)]
    results += _whole_image(shown)
    scores = [one.score for one in shown if one.score is not None]
    prediction: dict[str, Any] = {"model_version": "florilegium", "result": results}
    if scores:
        prediction["score"] = round(sum(scores) / len(scores), 5)
    return {"data": data, "predictions": [prediction]}


def _results(one: Annotation, sample: DatasetSample) -> Iterator[dict[str, Any]]:
    """Yield the results of a region: its box, quad or polygons, and its text."""
    if one.kind != "region":
        return
    kind = "rectanglelabels" if _control_name(one) == one.task else "polygonlabels"
    if one.mask_rle and control_of(TABLE[one.task]) == "polygonlabels":
        kind = "polygonlabels"
    base = {
        "to_name": IMAGE,
        "original_width": sample.width,
        "original_height": sample.height,
        "image_rotation": 0,
        **({} if one.score is None else {"score": one.score}),
    }
    for number, value in enumerate(_values(one, kind, sample)):
        own = f"{one.id}{PART}{number}" if number else one.id
        region = {"id": own, **base}
        labels = {kind: [_label_of(one)]}
        yield {"from_name": _control_name(one), "type": kind, "value": value | labels, **region}
        if one.text and not number:
            text = {"from_name": f"{one.task}{TEXT}", "type": "textarea"}
            yield {**text, "value": {**value, "text": [one.text]}, **region}


def _values(one: Annotation, kind: str, sample: DatasetSample) -> Iterator[dict[str, Any]]:
    """Yield the places of a region in percent of the image."""
    scale_xy = (100 / sample.width, 100 / sample.height)
    if kind == "rectanglelabels":
        left, top, right, bottom = one.box_xyxy
        size = {"width": (right - left) * scale_xy[0], "height": (bottom - top) * scale_xy[1]}
        yield {"x": left * scale_xy[0], "y": top * scale_xy[1], **size, "rotation": 0}
    elif one.mask_rle and control_of(TABLE[one.task]) == "polygonlabels":
        for polygon in polygons_of(one.mask_rle):
            yield {"points": (polygon * scale_xy).tolist(), "closed": True}
    else:
        corners = zip(one.quad[::2], one.quad[1::2], strict=True)
        points = [[x * scale_xy[0], y * scale_xy[1]] for x, y in corners]
        yield {"points": points, "closed": True}


def _whole_image(shown: Sequence[Annotation]) -> Iterator[dict[str, Any]]:
    """Yield the results of an image as a whole: for each task one, with all texts or labels."""
    of_task: dict[str, list[Annotation]] = {}
    for one in shown:
        if one.kind == "text":
            of_task.setdefault(one.task, []).append(one)
    for task, own in of_task.items():
        kind = control_of(TABLE[task])
        value = (
            {"choices": list(dict.fromkeys(one.label for one in own))}
            if kind == "choices"
            else {"text": [one.text for one in own]}
        )
        yield {"id": own[0].id, "from_name": task, "to_name": IMAGE, "type": kind, "value": value}


def _control_name(one: Annotation) -> str:
    """Return the name of the control of an annotation: a quad has one beside that of boxes."""
    is_quad = one.quad and control_of(TABLE[one.task]) == "rectanglelabels"
    is_bare = not one.box_xyxy and not one.mask_rle
    return f"{one.task}{OUTLINE}" if is_quad or (is_bare and one.quad) else one.task


def _label_of(one: Annotation) -> str:
    """Return the label of an annotation; the name of its task where it has none."""
    label = one.label if one.kind == "text" or has_label(TABLE[one.task]) else ""
    return label or one.task


def labeling_config(labels: Mapping[str, set[str]]) -> str:
    """Return the labeling interface of a project, XML, with controls and their labels by name."""
    lines = ["<View>", f'  <Image name="{IMAGE}" value="$image" zoom="true"/>']
    for name in sorted(labels):
        task = TABLE[name.removesuffix(OUTLINE)]
        kind = control_of(task)
        lines.append(f'  <Header value="{name.replace("_", " ").strip()}"/>')
        if kind == "textarea":
            lines.append(
                f'  <TextArea name="{name}" toName="{IMAGE}" editable="true" rows="3" '
                f'maxSubmissions="20"/>'
            )
            continue
        tag, choice, extra = ("PolygonLabels", "Label", "")
        if kind == "choices":
            tag, choice, extra = ("Choices", "Choice", ' choice="multiple"')
        elif kind == "rectanglelabels" and not name.endswith(OUTLINE):
            tag, extra = ("RectangleLabels", ' canRotate="true"')
        lines.append(f'  <{tag} name="{name}" toName="{IMAGE}"{extra}>')
        lines += [f"    <{choice} value={quoteattr(one)}/>" for one in sorted(labels[name])]
        lines.append(f"  </{tag}>")
    lines += _text_controls(labels)
    return "\n".join([*lines, "</View>", ""])


def _text_controls(labels: Mapping[str, set[str]]) -> Iterator[str]:
    """Yield the controls of the texts of regions."""
    tasks = dict.fromkeys(name.removesuffix(OUTLINE) for name in sorted(labels))
    for task in tasks:
        if TABLE[task].kind == "region" and "text" in (*TABLE[task].needs, *TABLE[task].either):
            yield (
                f'  <TextArea name="{task}{TEXT}" toName="{IMAGE}" editable="true" '
                f'perRegion="true" required="false" maxSubmissions="1"/>'
            )

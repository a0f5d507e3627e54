"""FiftyOne: images and samples in its format on disk, `fiftyone.types.FiftyOneDataset`.

    OUTPUT/data/KEY.jpg      upright
    OUTPUT/samples.json      {"samples": [{"filepath": "data/KEY.jpg", "tags": ["train"], ...}]}
    OUTPUT/metadata.json     without a version, by which FiftyOne makes the fields from the values

A task is a field: `Detections` of regions and phrases, with masks cut out to their boxes, and
`Classifications` of texts, tags and answers. Labels carry score, confidence, id and provenance.
"""

from __future__ import annotations

import io
import json
import zlib
from base64 import b64encode
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from pycocotools import mask as coco_mask

from florilegium.engine.core.annotation import Annotation, MaskRLE
from florilegium.engine.core.counted import counted
from florilegium.engine.core.errors import UsageError
from florilegium.engine.core.tasks import ANSWER_TASKS
from florilegium.pipelines.export.exporter import (
    SELECTING,
    ExportConfig,
    ExportedAnnotations,
    Exporter,
    LeftOut,
)
from florilegium.pipelines.export.images import ImageFiles
from florilegium.pipelines.export.selected import SelectedDataset, SelectedSample
from florilegium.pipelines.export.things import NO_BOX

DATA, SAMPLES, METADATA = "data", "samples.json", "metadata.json"


@dataclass(frozen=True, kw_only=True)
class FiftyOneExported(ExportedAnnotations):
    """Images by part, labels by field, and what was left out."""

    images: Mapping[str, int]
    labels: Mapping[str, int]

    def summary(self) -> Iterator[str]:
        """Yield the counts."""
        for part, count in self.images.items():
            yield f"{part} {counted(count, 'image')}".strip()
        for task, count in sorted(self.labels.items()):
            yield f"{task}: {counted(count, 'label')}"


class FiftyOneExporter(Exporter[ExportConfig, FiftyOneExported]):
    """Writes images and samples, one in memory at a time."""

    supports: ClassVar[frozenset[str]] = SELECTING | {"split"}

    def write(self, dataset: SelectedDataset, output: Path) -> FiftyOneExported:
        """Write images, samples and metadata.

        Raises:
            UsageError: no image is selected.
            StorageError: a shard cannot be read.
        """
        images, left_out = ImageFiles(dataset, output), LeftOut()
        labels: dict[str, int] = {}
        with (output / SAMPLES).open("w", encoding="utf-8") as file:
            file.write('{"samples": [')
            for number, sample in enumerate(dataset):
                fields = _fields(sample, left_out)
                for task, value in fields.items():
                    labels[task] = labels.get(task, 0) + len(next(reversed(value.values())))
                name = images.add(sample, DATA, sample.key)
                document = {
                    "filepath": name,
                    "tags": [sample.part] if sample.part else [],
                    "metadata": _metadata(sample, output / name),
                    "key": sample.key,
                    "sha256": sample.sha256,
                    **fields,
                }
                file.write(",\n" if number else "\n")
                file.write(json.dumps(document, ensure_ascii=False, allow_nan=False))
            file.write("\n]}\n")
        if not images.count:
            raise UsageError(f"{dataset.url} has no image that is selected")
        info = {"description": "Built by Florilegium", "classes": list(dataset.first_classes)}
        metadata = json.dumps({"media_type": "image", "info": info}, ensure_ascii=False)
        (output / METADATA).write_text(metadata + "\n", encoding="utf-8")
        return FiftyOneExported(images=dict(images.count), labels=labels, left_out=left_out)


def _metadata(sample: SelectedSample, path: Path) -> dict[str, Any]:
    return {
        "_cls": "ImageMetadata",
        "size_bytes": path.stat().st_size,
        "mime_type": "image/png" if path.suffix == ".png" else "image/jpeg",
        "width": sample.width,
        "height": sample.height,
        "num_channels": 3,
    }


def _fields(sample: SelectedSample, left_out: LeftOut) -> dict[str, dict[str, Any]]:
    """Return the labels of a sample by task; count the annotations that have no place."""
    names = {one.id: one.label for one in sample.annotations}
    found: dict[str, list[dict[str, Any]]] = {}
    kinds: dict[str, str] = {}
    for one in sample.annotations:
        if one.kind == "text":
            label = _classification(one)
        elif one.box_xyxy or one.mask_rle:
            label = _detection(one, names, (sample.width, sample.height))
        else:
            left_out[one.task, NO_BOX] += 1
            continue
        kinds[one.task] = label["_cls"]
        found.setdefault(one.task, []).append(label)
    return {
        task: {"_cls": f"{kinds[task]}s", f"{kinds[task].lower()}s": labels}
        for task, labels in found.items()
    }


def _classification(one: Annotation) -> dict[str, Any]:
    label = {"_cls": "Classification", "label": one.words, **_origin(one)}
    if one.task in ANSWER_TASKS:
        return {**label, "label": one.label, "question": one.text}
    return label


def _detection(
    one: Annotation, names: Mapping[str, str], size_wh: tuple[int, int]
) -> dict[str, Any]:
    """Return the label of a region; a mask is cut out, and its box is the one around it."""
    name = one.name or names.get(one.parent_id, "")
    label: dict[str, Any] = {"_cls": "Detection", "label": name}
    box_xyxy = np.array(one.box_xyxy, np.float64)
    if one.mask_rle is not None and (cut := _cut(one.mask_rle)) is not None:
        box_xyxy, label["mask"] = cut
    corners = box_xyxy.reshape(2, 2) / size_wh
    label["bounding_box"] = np.concatenate([corners[0], corners[1] - corners[0]]).tolist()
    if one.text and one.label:
        label["text"] = one.text
    if one.quad:
        label["quad"] = (np.reshape(one.quad, (4, 2)) / size_wh).ravel().tolist()
    if one.span:
        label["span"] = list(one.span)
    return {**label, **_origin(one)}


def _cut(mask: MaskRLE) -> tuple[np.ndarray, dict[str, Any]] | None:
    """Return the box x1 y1 x2 y2 around a mask and what is in it as FiftyOne keeps arrays:
    `numpy.save`, compressed, in the extended JSON of MongoDB. `None` for an empty mask."""
    left, top, width, height = map(int, coco_mask.toBbox(mask._asdict()))
    if not width * height:
        return None
    pixels = coco_mask.decode(mask._asdict())[top : top + height, left : left + width]
    with io.BytesIO() as file:
        np.save(file, np.ascontiguousarray(pixels, np.bool_), allow_pickle=False)
        data = b64encode(zlib.compress(file.getvalue())).decode("ascii")
    box_xyxy = np.array([left, top, left + width, top + height], np.float64)
    return box_xyxy, {"$binary": {"base64": data, "subType": "00"}}


def _origin(one: Annotation) -> dict[str, Any]:
    """Return score and provenance of an annotation; FiftyOne calls the score `confidence`."""
    return {
        "confidence": one.score,
        "calibrated": one.confidence,
        "annotation_id": one.id,
        "parent_id": one.parent_id,
        "language": one.language,
        "specialist": one.specialist,
        "model": one.model,
        "revision": one.revision,
        "round": one.round,
    }

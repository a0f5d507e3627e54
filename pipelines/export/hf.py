"""Parquet that `datasets.load_dataset` reads: an Image column, and objects as the hub has them.

    OUTPUT/data/train-00000.parquet   rows of one part, `train` without parts
    OUTPUT/README.md                  the card, with the files of each part

`objects` are lists side by side: `bbox` as x, y, width, height in pixels, `category` as ClassLabel,
`area`, masks as COCO run lengths, score, confidence, id and specialist. Captions, tags, questions
and lines of text are columns of the same kind.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from pydantic import BaseModel, Field

from florilegium.engine.core.annotation import Annotation
from florilegium.engine.core.counted import counted
from florilegium.engine.core.errors import UsageError
from florilegium.engine.core.tasks import ANSWER_TASKS, CAPTION_TASKS, TABLE
from florilegium.pipelines.export.exporter import (
    NOT_EXPORTED,
    SELECTING,
    ExportConfig,
    ExportedAnnotations,
    Exporter,
    LeftOut,
    upright,
)
from florilegium.pipelines.export.selected import SelectedDataset, SelectedSample
from florilegium.pipelines.export.things import INSTANCE_TASKS, things_of

CARD, DATA = "README.md", "data"
_ROWS_OF_GROUP = 100
_TEXTS, _NUMBER = pa.list_(pa.string()), pa.list_(pa.float64())
_BOXES = pa.list_(_NUMBER)
_ORIGIN = {"score": _NUMBER, "confidence": _NUMBER, "id": _TEXTS, "specialist": _TEXTS}
GROUPS: Mapping[str, Mapping[str, pa.DataType]] = {
    "objects": {
        "bbox": _BOXES,
        "category": pa.list_(pa.int64()),
        "area": _NUMBER,
        "mask": _TEXTS,
        "task": _TEXTS,
        **_ORIGIN,
    },
    "captions": {"text": _TEXTS, "language": _TEXTS, "task": _TEXTS, **_ORIGIN},
    "tags": {"name": _TEXTS, "language": _TEXTS, "task": _TEXTS, **_ORIGIN},
    "questions": {"question": _TEXTS, "answer": _TEXTS, "language": _TEXTS, **_ORIGIN},
    "lines": {"text": _TEXTS, "bbox": _BOXES, "quad": _BOXES, "task": _TEXTS, **_ORIGIN},
}
"""The columns of lists by name. A mask is the `counts` of COCO's compressed run lengths, of the
size of the image, or empty."""


class HfConfig(ExportConfig):
    """Options of `HfExporter`."""

    rows_per_file: int = Field(default=1000, ge=1)
    """Images in one file at most."""


@dataclass(frozen=True, kw_only=True)
class HfExported(ExportedAnnotations):
    """Images by part, entries by column, and what was left out."""

    images: Mapping[str, int]
    entries: Mapping[str, int]

    def summary(self) -> Iterator[str]:
        """Yield the counts."""
        for part, count in self.images.items():
            yield f"{part} {counted(count, 'image')}"
        for name, count in self.entries.items():
            yield f"{name}: {count}"


class HfExporter(Exporter[HfConfig, HfExported]):
    """Writes Parquet files and the card; a group of rows is in memory at a time."""

    Config: ClassVar[type[BaseModel]] = HfConfig
    supports: ClassVar[frozenset[str]] = SELECTING | {"split"}

    def write(self, dataset: SelectedDataset, output: Path) -> HfExported:
        """Write the files of all parts, and the card.

        Raises:
            UsageError: no image is selected.
            StorageError: a shard cannot be read.
        """
        classes = dataset.classes_of(INSTANCE_TASKS)
        schema = _schema(classes)
        (output / DATA).mkdir()
        parts = {
            part: _Part(output / DATA, part or "train", schema, self.config.rows_per_file)
            for part in dataset.parts
        }
        ids = {name: number for number, name in enumerate(classes)}
        left_out, entries = LeftOut(), Counter[str]()
        try:
            for sample in dataset:
                row = _row(sample, ids, left_out)
                row["image"] = _image(sample, dataset)
                entries.update({name: len(row[name]["id"]) for name in GROUPS})
                parts[sample.part].add(row)
        finally:
            for part in parts.values():
                part.close()
        images = {part.name: part.rows for part in parts.values()}
        if not sum(images.values()):
            raise UsageError(f"{dataset.url} has no image that is selected")
        (output / CARD).write_text(_card(parts.values(), dataset), encoding="utf-8")
        return HfExported(images=images, entries=entries, left_out=left_out)


class _Part:
    """The files of one part, each with so many rows."""

    def __init__(self, folder: Path, name: str, schema: pa.Schema, rows_per_file: int) -> None:
        self.name, self.rows = name, 0
        self._folder, self._schema, self._rows_per_file = folder, schema, rows_per_file
        self._waiting: list[dict[str, Any]] = []
        self._writer: pq.ParquetWriter | None = None

    def add(self, row: dict[str, Any]) -> None:
        """Add a row."""
        number, place = divmod(self.rows, self._rows_per_file)
        if place == 0:
            self.close()
            path = self._folder / f"{self.name}-{number:05d}.parquet"
            self._writer = pq.ParquetWriter(path, self._schema)
        self._waiting.append(row)
        self.rows += 1
        if len(self._waiting) == _ROWS_OF_GROUP:
            self._flush()

    def _flush(self) -> None:
        if self._writer is not None and self._waiting:
            self._writer.write_table(pa.Table.from_pylist(self._waiting, self._schema))
            self._waiting.clear()

    def close(self) -> None:
        """End the file that is open."""
        self._flush()
        if self._writer is not None:
            self._writer.close()
            self._writer = None


def _image(sample: SelectedSample, dataset: SelectedDataset) -> dict[str, Any]:
    image = upright(sample.image, dataset.manifest["images"])
    return {"bytes": bytes(image.data), "path": f"{sample.key}.{image.extension}"}


def _row(sample: SelectedSample, ids: Mapping[str, int], left_out: LeftOut) -> dict[str, Any]:
    """Return the columns of a sample but its image; count the annotations that have no place."""
    rows: dict[str, dict[str, list[Any]]] = {
        name: {column: [] for column in columns} for name, columns in GROUPS.items()
    }

    def add(group: str, one: Annotation, **values: Any) -> None:
        origin = {name: getattr(one, name) for name in _ORIGIN}
        for column, value in {**values, **origin}.items():
            rows[group][column].append(value)

    by_id = {one.id: one for one in sample.annotations}
    for thing in things_of(sample.annotations, INSTANCE_TASKS, left_out):
        add(
            "objects",
            by_id[thing.id],
            bbox=[*thing.box_xyxy[:2], *thing.size_wh],
            category=ids[thing.label],
            area=thing.area,
            mask=thing.mask_rle.counts if thing.mask_rle else "",
            task=by_id[thing.id].task,
        )
    for one in sample.annotations:
        if one.task in CAPTION_TASKS:
            add("captions", one, text=one.text, language=one.language, task=one.task)
        elif one.task in ANSWER_TASKS:
            add("questions", one, question=one.text, answer=one.label, language=one.language)
        elif one.kind == "text" and one.task in TABLE and TABLE[one.task].words == "name":
            add("tags", one, name=one.name, language=one.language, task=one.task)
        elif one.task in TABLE and TABLE[one.task].words == "reading":
            place = {"bbox": _bbox(one), "quad": list(one.quad)}
            add("lines", one, text=one.text, task=one.task, **place)
        elif one.task not in INSTANCE_TASKS:
            left_out[one.task, NOT_EXPORTED] += 1
    own = {name: getattr(sample, name) for name in ("key", "sha256", "width", "height")}
    return {**own, **rows}


def _bbox(one: Annotation) -> list[float]:
    if not one.box_xyxy:
        return []
    left, top, right, bottom = one.box_xyxy
    return [left, top, right - left, bottom - top]


def _schema(classes: tuple[str, ...]) -> pa.Schema:
    """Return the columns, with the features that `datasets` reads from the metadata."""
    fields = [
        pa.field("image", pa.struct([("bytes", pa.binary()), ("path", pa.string())])),
        pa.field("key", pa.string()),
        pa.field("sha256", pa.string()),
        pa.field("width", pa.int64()),
        pa.field("height", pa.int64()),
        *(pa.field(name, pa.struct(list(columns.items()))) for name, columns in GROUPS.items()),
    ]
    features: dict[str, Any] = {one.name: _feature(one.type) for one in fields}
    features["image"] = {"_type": "Image"}
    if classes:
        category = {"names": list(classes), "_type": "ClassLabel"}
        features["objects"]["category"] = {"feature": category, "_type": "Sequence"}
    info = json.dumps({"info": {"features": features}}, ensure_ascii=False)
    return pa.schema(fields, metadata={"huggingface": info})


def _feature(kind: pa.DataType) -> dict[str, Any]:
    if pa.types.is_struct(kind):
        return {one.name: _feature(one.type) for one in kind}
    if pa.types.is_list(kind):
        return {"feature": _feature(kind.value_type), "_type": "Sequence"}
    return {"dtype": {pa.float64(): "float64"}.get(kind, str(kind)), "_type": "Value"}


def _card(parts: Iterator[_Part] | Any, dataset: SelectedDataset) -> str:
    files = [
        {"split": one.name, "path": f"{DATA}/{one.name}-*.parquet"} for one in parts if one.rows
    ]
    head = {"configs": [{"config_name": "default", "data_files": files}]}
    document = yaml.safe_dump(head, sort_keys=False)
    return (
        f"---\n{document}---\n\n# {Path(dataset.url).name}\n\nBuilt by Florilegium. "
        f"Boxes are x, y, width, height in pixels of the upright image; a mask is the `counts` of "
        f"COCO's compressed run lengths, of the image's height and width.\n"
    )

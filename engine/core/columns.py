"""The columns of an annotation: name, type and meaning of each, written once.

Files, the dataset card, `verify` and the readers take them from here.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import pyarrow as pa


@dataclass(frozen=True, kw_only=True, slots=True)
class Column:
    """A field of the output.

    `doc` says what it is, with unit and range. A list has one of `lengths` entries, where there
    are any lengths. `fields` describe the entries of a list of objects, or an object.
    """

    name: str
    type: pa.DataType
    doc: str
    is_nullable: bool = False
    lengths: tuple[int, ...] = ()
    fields: tuple[Column, ...] = ()


def struct_of(columns: Iterable[Column]) -> pa.StructType:
    """Return the Arrow type of an object with these fields."""
    return pa.struct(arrow_fields(columns))


def arrow_fields(columns: Iterable[Column]) -> list[pa.Field]:
    """Return columns as Arrow has them.

    All may be null there, and none has metadata: either would change the bytes of files.
    """
    return [pa.field(column.name, column.type) for column in columns]


MASK_COLUMNS = (
    Column(
        name="size",
        type=pa.list_(pa.int32()),
        doc="height and width of the mask, which are those of the image",
        lengths=(2,),
    ),
    Column(
        name="counts",
        type=pa.string(),
        doc="run lengths in COCO's compressed form, column by column; `pycocotools` decodes them",
    ),
)
"""The fields of a mask."""

ANNOTATION_COLUMNS = (
    Column(
        name="id",
        type=pa.string(),
        doc="16 hex digits, unique within the sample; the same in each build of the same config",
    ),
    Column(
        name="kind",
        type=pa.string(),
        doc="`text` about the whole image, `region`, or `phrase` of a caption with its region",
    ),
    Column(
        name="task",
        type=pa.string(),
        doc="what was asked for, such as `caption`, `object_detection` or `ocr`",
    ),
    Column(
        name="text",
        type=pa.string(),
        doc="a caption, the text that was read, or a phrase; empty where the task has none",
    ),
    Column(
        name="label",
        type=pa.string(),
        doc="the name of a class or a tag; empty where the task has none",
    ),
    Column(
        name="language",
        type=pa.string(),
        doc="the language of `text` or `label`, such as `en`; empty where it is not known",
    ),
    Column(
        name="box_xyxy",
        type=pa.list_(pa.float64()),
        doc="left, top, right and bottom in pixels of the upright image, or empty",
        lengths=(0, 4),
    ),
    Column(
        name="quad",
        type=pa.list_(pa.float64()),
        doc="four corners x, y in pixels of the upright image, clockwise from the top-left corner "
        "of the text, or empty",
        lengths=(0, 8),
    ),
    Column(
        name="mask_rle",
        type=struct_of(MASK_COLUMNS),
        doc="the mask of the region at the size of the upright image",
        is_nullable=True,
        fields=MASK_COLUMNS,
    ),
    Column(
        name="score",
        type=pa.float64(),
        doc="the specialist's own score, 0..1; scores of two specialists cannot be compared",
        is_nullable=True,
    ),
    Column(
        name="support",
        type=pa.float64(),
        doc="the specialist's second score, 0..1: of a phrase how well its words fit the region, "
        "of a mask how stable it is, of a line how likely there is text",
        is_nullable=True,
    ),
    Column(
        name="confidence",
        type=pa.float64(),
        doc="the calibrated probability that the annotation is right, 0..1",
        is_nullable=True,
    ),
    Column(
        name="parent_id",
        type=pa.string(),
        doc="the id of the annotation that this one was made from: the caption of a phrase, the "
        "box of a mask; empty where there is none",
    ),
    Column(
        name="span",
        type=pa.list_(pa.int32()),
        doc="the first and one past the last character of the phrase in its caption, or empty",
        lengths=(0, 2),
    ),
    Column(
        name="merged_from",
        type=pa.list_(pa.string()),
        doc="the ids of the annotations that were merged into this one",
    ),
    Column(name="specialist", type=pa.string(), doc="the stage that made it"),
    Column(name="model", type=pa.string(), doc="its model: a hub id, a package or a file"),
    Column(
        name="revision",
        type=pa.string(),
        doc="the exact model: a commit, a version or a digest of the weights",
    ),
    Column(name="round", type=pa.int32(), doc="the round of refinement, from 0"),
    Column(
        name="stage",
        type=pa.string(),
        doc="the fingerprint of the stage, by which `manifest.json` has its configuration",
    ),
)
"""The columns of an annotation, in the order of the output."""

"""The contract of the output: the fields of a sample's JSON and the columns of a shard's Parquet.

It is written here and in `engine.core.columns` alone: what writes, reads, checks or describes a
dataset takes names, types and meanings from there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pyarrow as pa

from florilegium.engine.core.columns import ANNOTATION_COLUMNS, Column, arrow_fields, struct_of
from florilegium.engine.storage.documents import parse_json

_KEY = Column(
    name="key",
    type=pa.string(),
    doc="the sample's name, unique in the dataset; its files in the tar begin with it",
)
_WIDTH = Column(name="width", type=pa.int64(), doc="width of the upright image in pixels")
_HEIGHT = Column(name="height", type=pa.int64(), doc="height of the upright image in pixels")

SAMPLE_COLUMNS = (
    _KEY,
    Column(
        name="sha256", type=pa.string(), doc="SHA-256 of the image's bytes in the source, in hex"
    ),
    Column(name="image_sha256", type=pa.string(), doc="SHA-256 of the image's bytes here, in hex"),
    _WIDTH,
    _HEIGHT,
    Column(
        name="orientation",
        type=pa.int64(),
        doc="the EXIF orientation of the image in the source, 1..8; coordinates are of the "
        "upright image",
    ),
    Column(name="source", type=pa.string(), doc="where the image lies, relative to the source"),
    Column(
        name="metadata",
        type=pa.string(),
        doc="what the source knows of the image, as JSON text; `label_error` says which of its "
        "labels were left out, and why",
    ),
    Column(
        name="annotations",
        type=pa.list_(struct_of(ANNOTATION_COLUMNS)),
        doc="the kept annotations, in the order of the stages",
        fields=ANNOTATION_COLUMNS,
    ),
)
"""The fields of a sample's JSON."""

MEASUREMENT_COLUMNS = (
    Column(name="name", type=pa.string(), doc="what was measured"),
    Column(name="value", type=pa.float64(), doc="the number"),
)
VERDICT_COLUMNS = (
    Column(
        name="filter",
        type=pa.string(),
        doc="the filter; `lineage` where an annotation was dropped with what it was made from",
    ),
    Column(name="keep", type=pa.bool_(), doc="whether the filter keeps the annotation"),
    Column(name="reason", type=pa.string(), doc="why it was dropped; empty where it was kept"),
    Column(
        name="measurement",
        type=pa.list_(struct_of(MEASUREMENT_COLUMNS)),
        doc="the numbers that the verdict follows from",
        fields=MEASUREMENT_COLUMNS,
    ),
)
"""The fields of what one filter says of an annotation."""

SHARD_COLUMNS = (
    _KEY,
    replace(_WIDTH, type=pa.int32()),
    replace(_HEIGHT, type=pa.int32()),
    *ANNOTATION_COLUMNS,
    Column(
        name="kept",
        type=pa.bool_(),
        doc="whether no filter dropped the annotation: then it is in the tar as well",
    ),
    Column(
        name="verdicts",
        type=pa.list_(struct_of(VERDICT_COLUMNS)),
        doc="what the filters say of it, in their order",
        fields=VERDICT_COLUMNS,
    ),
)
"""The columns of a shard's Parquet file: one row for each annotation, dropped ones too."""

SHARD_SCHEMA = pa.schema(arrow_fields(SHARD_COLUMNS))
MEASUREMENT_TYPE = struct_of(MEASUREMENT_COLUMNS)
VERDICT_TYPE = struct_of(VERDICT_COLUMNS)


def json_type(column: Column) -> type:
    """Return the Python type of a column's values in JSON, where they are not null."""
    kind = column.type
    if pa.types.is_list(kind):
        return list
    if pa.types.is_integer(kind):
        return int
    return {pa.string(): str, pa.float64(): float, pa.bool_(): bool}.get(kind, dict)


SAMPLE_TYPES: Mapping[str, type] = {column.name: json_type(column) for column in SAMPLE_COLUMNS}
"""The Python types of the fields of a sample's JSON."""
HEAD_TYPES = {name: one for name, one in SAMPLE_TYPES.items() if name != "annotations"}
"""Those of the fields beside the annotations."""
_AFTER_ANNOTATIONS = b'],"height":'


def parse_sample(data: bytes) -> dict[str, Any]:
    """Return the JSON of a sample, in which all fields of the contract have their types.

    Raises:
        ValueError: it is no JSON, or lacks a field, or has one of another type.
    """
    return _checked(parse_json(data), SAMPLE_TYPES)


def parse_sample_head(data: bytes) -> dict[str, Any]:
    """Return the JSON of a sample without its annotations, which are most of it and are not parsed.

    They come first, as keys are sorted; within a text, the end of the list would be escaped.

    Raises:
        ValueError: as `parse_sample`.
    """
    end = data.rfind(_AFTER_ANNOTATIONS)
    row = parse_json(b"{" + data[end + len(b"],") :]) if end >= 0 else None
    return _checked(row, HEAD_TYPES)


def _checked(row: Any, types: Mapping[str, type]) -> dict[str, Any]:
    """Return the fields of a sample, if they have these types."""
    if not isinstance(row, dict):
        raise ValueError("a sample's JSON is no object")
    for name, expected in types.items():
        if type(row.get(name)) is not expected:  # true is no number
            raise ValueError(f"a sample lacks {name}, or it is no {expected.__name__}")
    if row["width"] < 1 or row["height"] < 1:
        raise ValueError(f"a sample has no area: {row['width']}x{row['height']}")
    return row

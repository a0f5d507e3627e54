"""The labels that sources bring, as annotations and as metadata.

Knows the shapes in which datasets write them down: captions, the `objects` of Hugging Face
(boxes as COCO xywh, in the upright frame) and the `annotations` of our own output. Knows no
files. What does not fit is never lost silently: it stays in the metadata with the reason.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date, datetime, time
from typing import Any

import numpy as np

from engine.annotation import ANNOTATION_NAMES, Annotation, from_json
from engine.validity import problem_of

MAX_METADATA_BYTES = 64 * 1024
"""Metadata of one sample beyond this size loses its longest values, which are then named."""
LABEL_ERROR = "label_error"
"""The metadata key that says why a label of the source could not be used."""
DROPPED = "metadata_dropped"
"""The metadata key that names values that were too long."""

_ANY_SIZE = 1 << 62

CATEGORY_KEYS = ("category", "categories", "label", "labels")
_PROVENANCE = dict.fromkeys(("specialist", "model", "revision", "stage"), "")
_CONTRACT_KEYS = frozenset({"kind", "task", "box_xyxy", "parent_id", "specialist"})


def captions(value: object) -> tuple[Annotation, ...]:
    """Turn a caption, or a list of them, into annotations; empty ones say nothing."""
    texts = value if isinstance(value, list | tuple) else [value]
    clean = dict.fromkeys(_clean(text).strip() for text in texts if isinstance(text, str))
    return tuple(Annotation(kind="text", task="caption", text=text) for text in clean if text)


def objects(value: object) -> tuple[Annotation, ...]:
    """Turn Hugging Face `objects` into detections: `{bbox: [[x, y, w, h]], categories: [str]}`.

    Raises:
        ValueError: the shape is another one, a box is no box, or a category is not a name.
    """
    if isinstance(value, Sequence) and not isinstance(value, str):
        value = _transposed(value)
    if not isinstance(value, Mapping) or "bbox" not in value:
        raise ValueError("objects have no bbox")
    boxes = value["bbox"]
    names = next((value[key] for key in CATEGORY_KEYS if key in value), None)
    if boxes is None or boxes == []:
        return ()
    if not isinstance(names, list):
        raise ValueError(f"objects have no {' or '.join(CATEGORY_KEYS[:2])} for their bbox")
    try:
        xywh = np.asarray(boxes, dtype=np.float64)
    except (TypeError, ValueError, OverflowError):
        raise ValueError("a bbox is not a list of numbers") from None
    if xywh.shape != (len(names), 4):
        raise ValueError(f"bbox of shape {xywh.shape} for {len(names)} categories")
    if not np.isfinite(xywh).all() or (xywh[:, 2:] <= 0).any():
        raise ValueError("a bbox is empty or not finite; boxes are [x, y, width, height]")
    if not all(isinstance(name, str) for name in names):
        raise ValueError("categories are numbers without names")
    xyxy = np.concatenate([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]], axis=1)
    return tuple(
        Annotation(kind="region", task="object_detection", label=_clean(name), box_xyxy=tuple(box))
        for name, box in zip(names, xyxy.tolist(), strict=True)
    )


def from_row(
    row: Mapping[str, Any], *, caption: object
) -> tuple[dict[str, Any], tuple[Annotation, ...]]:
    """Split a row of a table into metadata and annotations: its caption and its `objects`.

    Objects that are not understood stay in the metadata, with the reason.
    """
    metadata = dict(row)
    said = captions(caption)
    if metadata.get("objects") is None:
        return metadata, said
    try:
        boxes = objects(metadata["objects"])
    except ValueError as error:
        return metadata | {LABEL_ERROR: f"objects: {error}"}, said
    del metadata["objects"]
    return metadata, said + boxes


def _transposed(rows: Sequence[Any]) -> dict[str, list[Any]]:
    if not all(isinstance(row, Mapping) for row in rows):
        raise ValueError("objects are neither columns nor rows")
    return (
        {"bbox": [], "category": []}
        if not rows
        else {key: [row.get(key) for row in rows] for key in rows[0]}
    )


def is_contract(value: object) -> bool:
    """Whether a value is the `annotations` list of a dataset that this engine wrote."""
    return (
        isinstance(value, list)
        and len(value) > 0
        and all(isinstance(row, dict) and row.keys() >= _CONTRACT_KEYS for row in value)
    )


def contract(rows: Sequence[dict[str, Any]]) -> tuple[Annotation, ...]:
    """Turn annotations of our own output back into what a source says: without provenance.

    An `id` stays only as the name by which a `parent_id` of the same list finds it.

    Raises:
        ValueError: an entry is not what the contract says.
    """
    ids = {row.get("id") for row in rows}
    cleared: dict[str, Any] = {**_PROVENANCE, "round": 0, "merged_from": (), "confidence": None}
    annotations = []
    for row in rows:
        known = {name: row[name] for name in ANNOTATION_NAMES if name in row}
        parent = row["parent_id"] if row["parent_id"] in ids else ""
        try:
            annotation = from_json({**known, **cleared, "parent_id": parent})
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise ValueError(f"an annotation does not keep to the contract: {error!r}") from error
        # The size of the image is not known here: boxes and masks are held against it later.
        sizeless = replace(annotation, mask_rle=None)
        if problem := problem_of(sizeless, width=_ANY_SIZE, height=_ANY_SIZE):
            raise ValueError(f"an annotation does not keep to the contract: {problem}")
        annotations.append(annotation)
    return tuple(annotations)


def metadata_json(values: Mapping[str, Any]) -> str:
    """Write metadata as compact JSON with sorted keys, at most `MAX_METADATA_BYTES` long.

    Numbers that JSON lacks become null, bytes hexadecimal, times ISO 8601, others text.
    """
    try:
        plain = _plain(dict(values))
    except RecursionError:
        plain = {LABEL_ERROR: "the metadata is nested too deeply"}
    text = _dumped(plain)
    if len(text.encode()) <= MAX_METADATA_BYTES:
        return text
    return _dumped(_shortened(plain))


def _shortened(plain: dict[str, Any]) -> dict[str, Any]:
    """Keep the shortest values that fit, and name (the first twenty of) the others."""
    sizes = {key: len(_dumped({key: value}).encode()) for key, value in plain.items()}
    budget = MAX_METADATA_BYTES - 4096  # room for the names of what is dropped
    kept = {}
    for key in sorted(sizes, key=lambda key: (sizes[key], key)):
        budget -= sizes[key]
        if budget < 0:
            break
        kept[key] = plain[key]
    return kept | {DROPPED: [key[:100] for key in sorted(plain.keys() - kept.keys())[:20]]}


def _dumped(plain: Mapping[str, Any]) -> str:
    return json.dumps(plain, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic | np.ndarray):
        value = value.tolist()
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {_clean(str(key)): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value).hex()
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    return _clean(str(value))


def _clean(text: str) -> str:
    """Replace what is no Unicode text (lone surrogates), which Arrow refuses."""
    return text.encode("utf-8", "replace").decode()

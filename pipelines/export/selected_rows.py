"""Which rows of a table of annotations are selected, and what their labels become.

A region without a label, such as a mask, is judged by the label of the box that it was made from,
and takes it over where that box is not selected. A phrase leaves with its caption.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from florilegium.engine.core.annotation import MaskRLE
from florilegium.engine.core.tasks import ANSWER_TASKS
from florilegium.pipelines.export.classes import ClassMap
from florilegium.pipelines.export.selection import Selection
from florilegium.pipelines.export.where import AREA, Where

_NEEDED = ("key", "id", "parent_id", "kind", "task", "label")


def columns_for(selection: Selection) -> list[str]:
    """Return the columns that a selection needs."""
    where = selection.where.columns if selection.where else frozenset()
    of_area = ("box_xyxy", "mask_rle") if AREA in where else ()
    return [*_NEEDED, *of_area, *sorted(where - {AREA})]


def selected_rows(table: pa.Table, selection: Selection) -> pa.Table:
    """Return the selected rows of a table that has these columns, with their classes as labels."""
    label, kind, task = (_column(table, name) for name in ("label", "kind", "task"))
    parent = row_of_parent(table)
    is_bare = pc.and_(pc.equal(label, ""), pc.equal(kind, "region"))
    full = pc.if_else(is_bare, pc.fill_null(label.take(parent), ""), label)
    keep = np.ones(len(table), np.bool_)
    if selection.tasks is not None:
        keep &= _bools(pc.is_in(task, value_set=pa.array(sorted(selection.tasks), pa.string())))
    if selection.where is not None:
        keep &= _holding(_with(table, "label", full), selection.where)
    if selection.classes is not None:
        before, full = full, _classes(full, task, selection.classes)
        keep &= _bools(pc.or_(pc.not_equal(full, ""), pc.equal(before, "")))
    has_parent = _bools(pc.is_valid(parent))
    is_with_parent = np.zeros(len(table), np.bool_)
    is_with_parent[has_parent] = keep[pc.drop_null(parent).to_numpy(zero_copy_only=False)]
    keep &= is_with_parent | _bools(pc.not_equal(kind, "phrase"))
    stays_bare = pa.array(_bools(is_bare) & is_with_parent)
    labelled = _with(table, "label", pc.if_else(stays_bare, "", full))
    return labelled.filter(pa.array(keep))


def _classes(labels: pa.Array, tasks: pa.Array, classes: ClassMap) -> pa.Array:
    """Return the classes of labels; the answer to a question is none."""
    encoded = labels.dictionary_encode()
    names = [classes.class_of(one) if one else "" for one in encoded.dictionary.to_pylist()]
    mapped = pa.array(names, pa.string()).take(encoded.indices)
    is_answer = pc.is_in(tasks, value_set=pa.array(ANSWER_TASKS, pa.string()))
    return pc.if_else(is_answer, labels, mapped)


def row_of_parent(table: pa.Table) -> pa.Array:
    """Return for each row that of its parent, null where there is none."""
    own, parents = (
        pc.binary_join_element_wise(_column(table, "key"), _column(table, name), "\0")
        for name in ("id", "parent_id")
    )
    return pc.index_in(parents, value_set=own)


def _holding(table: pa.Table, where: Where) -> npt.NDArray[np.bool_]:
    rows = table.select(sorted(where.columns - {AREA}))
    if AREA in where.columns:
        rows = rows.append_column(AREA, _areas(table))
    numbered = rows.append_column(" row", pa.array(np.arange(len(table))))
    keep = np.zeros(len(table), np.bool_)
    keep[numbered.filter(where.expression)[" row"].to_numpy()] = True
    return keep


def _areas(table: pa.Table) -> pa.Array:
    """Return the area of each box in pixels, else of each mask; null where there is neither."""
    from pycocotools import mask as coco_mask

    areas = np.full(len(table), np.nan)
    boxes = _column(table, "box_xyxy")
    has_box = _bools(pc.equal(pc.list_value_length(boxes), 4))
    left, top, right, bottom = boxes.flatten().to_numpy(zero_copy_only=False).reshape(-1, 4).T
    areas[has_box] = (right - left) * (bottom - top)
    masks = table["mask_rle"].to_pylist()
    bare = [row for row, mask in enumerate(masks) if mask and not has_box[row]]
    if bare:
        areas[bare] = coco_mask.area([MaskRLE(**masks[row])._asdict() for row in bare])
    return pa.array(areas, pa.float64(), from_pandas=True)


def _with(table: pa.Table, name: str, values: Any) -> pa.Table:
    return table.set_column(table.column_names.index(name), name, values)


def _column(table: pa.Table, name: str) -> pa.Array:
    return pa.concat_arrays(table[name].chunks or [pa.array([], table[name].type)])


def _bools(values: pa.Array) -> npt.NDArray[np.bool_]:
    return np.asarray(values.to_numpy(zero_copy_only=False), np.bool_)

"""Drops a table that lies within a larger one: a part of a table is often found as one, too."""

from __future__ import annotations

from typing import Annotated

import numpy as np
from pydantic import Field

from florilegium import THRESHOLD, Filter, StageConfig, Statements, Verdicts, one_of

INSIDE_ANOTHER = "inside_another"


class NestedTablesConfig(StageConfig):
    """Options of `nested_tables`."""

    most_inside: Annotated[float, THRESHOLD, Field(gt=0, le=1)] = 0.9
    """Share of a box that may lie within a larger box of the same image, 0..1."""


class NestedTables(Filter[NestedTablesConfig]):
    """Judges boxes of objects by the largest share of each that another, larger one covers."""

    Config = NestedTablesConfig
    reads = (one_of("object_detection"),)
    judges_by = "task"

    def judge(self, statements: Statements) -> Verdicts:
        verdicts = Verdicts(len(statements))
        judged = statements.of_tasks(["object_detection"])
        inside = np.zeros(len(statements))
        for sample in np.unique(statements.sample[judged]):
            rows = np.flatnonzero(judged & (statements.sample == sample))
            inside[rows] = covered(statements.box_xyxy[rows])
        verdicts.measure("inside", inside, judged)
        verdicts.drop(judged & (inside > self.config.most_inside), INSIDE_ANOTHER)
        return verdicts


def covered(boxes_xyxy: np.ndarray) -> np.ndarray:
    """Return the largest share of each box, shape (n,), that one larger box covers.

    Args:
        boxes_xyxy: boxes in pixels, shape (n, 4).
    """
    least = np.maximum(boxes_xyxy[:, None, :2], boxes_xyxy[None, :, :2])
    most = np.minimum(boxes_xyxy[:, None, 2:], boxes_xyxy[None, :, 2:])
    shared = (most - least).clip(0).prod(axis=2)
    area = (boxes_xyxy[:, 2:] - boxes_xyxy[:, :2]).prod(axis=1)
    is_larger = area[None, :] > area[:, None]
    return np.where(is_larger, shared / area[:, None], 0).max(axis=1, initial=0)

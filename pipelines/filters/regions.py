"""The regions of a shard as shapes: their boxes and how much two of them overlap.

Each box, quad or mask has an upright box around it. This module judges nothing.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from florilegium.engine.core.judgement import Statements
from florilegium.specialists.regions.overlap import box_overlap, mask_overlap


class Regions:
    """The shapes of the rows of a shard.

    `box_xyxy` is the box of a row, else that around its quad, else that around its mask: pixels
    of the upright image, float64, shape (n, 4), NaN where a row has no region at all.
    """

    def __init__(self, statements: Statements) -> None:
        self._rles: list[dict[str, Any] | None] = [
            mask._asdict() if mask else None for mask in statements.masks
        ]
        self._has_mask = np.array([rle is not None for rle in self._rles], dtype=bool)
        self.box_xyxy = statements.box_xyxy.copy()
        self._enclose_quads(statements)
        self._enclose_masks()

    def overlap(self, rows: np.ndarray, others: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return how much `rows` and `others` overlap, 0..1, each of shape (rows, others).

        First the intersection over union, then the share of each other inside the row. Two
        regions with masks are compared by their masks, all others by their boxes.
        """
        iou, inside = box_overlap(self.box_xyxy[rows], self.box_xyxy[others])
        with_mask = np.ix_(self._has_mask[rows], self._has_mask[others])
        iou[with_mask], inside[with_mask] = mask_overlap(self._masks(rows), self._masks(others))
        return iou, inside

    def _masks(self, rows: np.ndarray) -> list[dict[str, Any]]:
        return [rle for row in rows if (rle := self._rles[row]) is not None]

    def _enclose_quads(self, statements: Statements) -> None:
        column = statements.table.column("quad").combine_chunks()
        has_quad = column.value_lengths().to_numpy(zero_copy_only=False) == 8
        corners = column.filter(has_quad).flatten().to_numpy().reshape(-1, 4, 2)
        around = np.full_like(self.box_xyxy, np.nan)
        around[has_quad] = np.hstack([corners.min(axis=1), corners.max(axis=1)])
        without_box = np.isnan(self.box_xyxy[:, 0])
        self.box_xyxy[without_box] = around[without_box]

    def _enclose_masks(self) -> None:
        rows = np.flatnonzero(np.isnan(self.box_xyxy[:, 0]) & self._has_mask)
        if len(rows):
            around = coco_mask.toBbox([self._rles[row] for row in rows])
            self.box_xyxy[rows] = np.hstack([around[:, :2], around[:, :2] + around[:, 2:]])

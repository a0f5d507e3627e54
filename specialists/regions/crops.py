"""Crops of boxes for stages that process regions one by one: options and arithmetic."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import numpy as np
from pydantic import Field, field_validator

from florilegium.engine.core.errors import nearest
from florilegium.engine.core.names_among import NamesAmong
from florilegium.engine.core.stage import StageConfig
from florilegium.engine.core.tasks import REGION_TASKS, names_of
from florilegium.specialists.regions.window import Window, around

WORDS_OF_BOXES = names_of(lambda task: task.is_of_region and task.words in ("name", "sentence"))
"""Tasks whose annotations are texts for existing boxes."""
_BOX_TASKS = tuple(task for task in REGION_TASKS if task not in WORDS_OF_BOXES)


class CropConfig(StageConfig):
    """Options of cropping a region."""

    margin: float = Field(default=0.1, ge=0, le=2)
    """Margin of context around a box, as a share of its sides."""
    least_side: int = Field(default=16, ge=1)
    """Minimum shorter side of a box in pixels."""


class BoxesConfig(CropConfig):
    """Options of stages that process boxes."""

    tasks: Annotated[tuple[str, ...], NamesAmong(_BOX_TASKS)] = Field(
        default=("object_detection", "region_proposal", "open_vocabulary_detection"), min_length=1
    )
    """Tasks whose boxes are processed; of those that mark one place, one is."""
    source_first: bool = True
    """Whether labels of the source come before those of machines, whatever the scores."""

    @field_validator("tasks")
    @classmethod
    def _has_boxes(cls, tasks: tuple[str, ...]) -> tuple[str, ...]:
        for task in tasks:
            if task not in _BOX_TASKS:
                raise ValueError(f"{task!r} has no boxes, {nearest(task, _BOX_TASKS)}")
        return tuple(dict.fromkeys(tasks))


def crop_window(
    box_xyxy: Sequence[float], size_wh: tuple[int, int], config: CropConfig
) -> Window | None:
    """Return the window of a box with its margin, or `None` if it is empty or too small.

    Only the part of the box inside the image counts.
    """
    if not len(box_xyxy):
        return None
    inside = np.clip(box_xyxy, 0, np.tile(size_wh, 2))
    if (inside[2:] - inside[:2]).min() < config.least_side:
        return None
    return around(inside, config.margin, size_wh[::-1])

"""What measured stages read: the same boxes, lines and caption for every image, at no cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from typing import Literal

from pydantic import Field

from florilegium.engine.core.annotation import Annotation
from florilegium.engine.core.sample import Sample
from florilegium.engine.core.stage import Specialist, StageConfig

CAPTION = (
    "A man in a red jacket rides a black motorcycle along the street, and a woman with a small "
    "dog stands under a tree."
)
"""About as long as a detailed caption of FLD-5B."""
GRID = (3, 2)
"""Boxes of an image, across and down."""
TEXT_LINES = 8
"""Lines of text of an image, below each other."""

Box = tuple[float, float, float, float]


def boxes(size_wh: tuple[int, int], grid: tuple[int, int]) -> list[Box]:
    """Cut an image of a size into cells and return the middle of each, x1 y1 x2 y2 in pixels."""
    (width, height), (across, down) = size_wh, grid
    return [
        (
            round(width * (column + 0.1) / across, 2),
            round(height * (row + 0.1) / down, 2),
            round(width * (column + 0.9) / across, 2),
            round(height * (row + 0.9) / down, 2),
        )
        for row, column in product(range(down), range(across))
    ]


class GridConfig(StageConfig):
    """What stands in the cells of an image."""

    task: Literal["object_detection", "ocr"] = "object_detection"
    """Whether they are things or lines of text."""
    grid: tuple[int, int] = Field(default=GRID)
    """Cells across and down."""


class Grid(Specialist[GridConfig]):
    """Boxes that cover an image, the same for all images of one size."""

    Config = GridConfig
    produces: tuple[str, ...] = ("object_detection", "ocr")

    def __init__(self, config: GridConfig) -> None:
        super().__init__(config)
        self.produces = (config.task,)

    def predict(self, samples: Sequence[Sample]) -> list[list[Annotation]]:
        annotation = Annotation(kind="region", task=self.config.task, label="thing", score=0.9)
        if self.config.task == "ocr":
            annotation = Annotation(kind="region", task="ocr", text="line", score=0.9)
        return [
            [
                replace(annotation, box_xyxy=box)
                for box in boxes((one.width, one.height), self.config.grid)
            ]
            for one in samples
        ]


class Saying(Specialist[StageConfig]):
    """One caption for every image."""

    produces = ("detailed_caption",)

    def predict(self, samples: Sequence[Sample]) -> list[list[Annotation]]:
        annotation = Annotation(kind="text", task="detailed_caption", text=CAPTION, language="en")
        return [[annotation] for _ in samples]

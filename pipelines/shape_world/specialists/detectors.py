"""Classical detectors of drawn shapes: three ways to find regions, one way to name them.

A region gets the name of the template with the highest IoU. Nothing is learnt: each detector
misses or misnames other things that are covered, faint or noisy.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import version
from typing import ClassVar

import numpy as np
from pydantic import Field

from florilegium.engine.core.annotation import Annotation
from florilegium.engine.core.sample import Sample
from florilegium.engine.core.stage import Specialist, StageConfig
from florilegium.pipelines.shape_world.specialists.regions import (
    MIN_SIDE,
    Region,
    colour_regions,
    difference_from_background,
    edge_regions,
    residual_regions,
    shrunk,
    smoothed,
)
from florilegium.pipelines.shape_world.specialists.templates import names_of
from florilegium.specialists.regions.overlap import box_overlap

RegionFinder = Callable[[np.ndarray, np.ndarray], Iterator[Region]]
"""Returns regions, from L*a*b* pixels and their difference from the background."""

_CHANCE_FIT = 0.5
"""The IoU that any blob has with some template; it scores 0."""
_HALF_CONTRAST = 8.0
"""Distance to the background in L*a*b* at which the score is halved. Chosen by hand."""
_HALF_SIDE = 12.0
"""Square root of the box's area, in pixels at working size, at which the score is halved."""


class ShapesConfig(StageConfig):
    """Options of the detectors."""

    side: int = Field(default=128, ge=32)
    """Pixels of the long side of the image to work on; smaller images are not enlarged."""
    least_score: float = Field(default=0.1, ge=0, le=1)
    """Minimum score of a region, 0..1."""
    most_overlap: float = Field(default=0.5, ge=0, le=1)
    """Of two boxes with a higher intersection over union only the better one is kept, 0..1."""


class ShapeDetector(Specialist[ShapesConfig]):
    """The common part of the three detectors; subclasses find the regions.

    The score is the fit of the template (IoU above `_CHANCE_FIT`) times two soft thresholds,
    x / (x + half): contrast with the background and size.
    """

    Config: ClassVar[type[StageConfig]] = ShapesConfig
    produces: tuple[str, ...] = ("object_detection",)
    algorithm: ClassVar[str]

    @staticmethod
    @abstractmethod
    def find(lab: np.ndarray, difference: np.ndarray) -> Iterator[Region]:
        """Yield regions, from L*a*b* pixels and their difference from the background."""

    @property
    def model(self) -> str:
        """The algorithm."""
        return self.algorithm

    def revision(self) -> str:
        """Name the OpenCV release."""
        return f"opencv-python-headless {version('opencv-python-headless')}"

    def predict(self, samples: Sequence[Sample]) -> list[list[Annotation]]:
        """Detect shapes in each image."""
        return [detections(sample, self.find, self.config) for sample in samples]


class ShapesColour(ShapeDetector):
    """Connected pixels of a colour; misses covered things, and those as pale as the background."""

    algorithm = "k-means components"
    find = staticmethod(colour_regions)


class ShapesResidual(ShapeDetector):
    """Pixels that differ from a smooth background; merges shapes that touch."""

    algorithm = "background residual"
    find = staticmethod(residual_regions)


class ShapesEdges(ShapeDetector):
    """Regions with a closed outline; misses stripes, and outlines with gaps."""

    algorithm = "Canny contours"
    find = staticmethod(edge_regions)


def detections(sample: Sample, find: RegionFinder, config: ShapesConfig) -> list[Annotation]:
    """Find, name and score the regions of an image, highest score first."""
    image = shrunk(sample.image, config.side)
    height, width = image.shape[:2]
    if min(height, width) < MIN_SIDE:
        return []
    lab = smoothed(image)
    difference = difference_from_background(lab)
    regions = list(find(lab, difference))
    names = names_of([region.mask for region in regions])
    scores = scores_of(regions, np.array([name.fit for name in names]), difference)
    boxes_xyxy = np.array([region.box_xyxy for region in regions]).reshape(-1, 4)
    scale = np.tile((sample.width / width, sample.height / height), 2)
    return [
        Annotation(
            kind="region",
            task="object_detection",
            label=names[index].label,
            box_xyxy=tuple((boxes_xyxy[index] * scale).tolist()),
            score=float(scores[index]),
        )
        for index in best(boxes_xyxy, scores, config.most_overlap)
        if scores[index] >= config.least_score
    ]


def scores_of(regions: Sequence[Region], fits: np.ndarray, difference: np.ndarray) -> np.ndarray:
    """Score regions, 0..1, by the fit of their templates, their contrast and their size."""
    contrast = np.array([np.percentile(region.of(difference), 25) for region in regions])
    side = np.sqrt([region.mask.size for region in regions])
    fit = np.clip((fits - _CHANCE_FIT) / (1 - _CHANCE_FIT), 0, 1)
    return fit * contrast / (contrast + _HALF_CONTRAST) * side / (side + _HALF_SIDE)


def best(boxes_xyxy: np.ndarray, scores: np.ndarray, most_overlap: float) -> list[int]:
    """Non-maximum suppression: return the indices of the kept boxes, best first."""
    iou, _ = box_overlap(boxes_xyxy, boxes_xyxy)
    kept: list[int] = []
    for index in np.argsort(-scores, kind="stable").tolist():
        if not (iou[index, kept] > most_overlap).any():
            kept.append(index)
    return kept

"""Drops screenshots, slides and diagrams: flat colours, and edges along the axes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import numpy as np
from pydantic import Field

from florilegium.engine.core.judgement import SampleColumns, Verdicts
from florilegium.engine.core.sample import Sample
from florilegium.engine.core.stage import THRESHOLD, SampleFilter, StageConfig
from florilegium.pipelines.sample_filters.scaled import grey

SCREENSHOT = "screenshot"
_WINDOW_PX = 1024
"""Side of the window in the middle of a large image that is looked at: not shrunk, which would
blend flat colours."""
_STRONG = 64
"""Least change of grey value over two pixels, 0..255, that is an edge."""
_ALONG = 0.1
"""Most of an edge's change across an axis that counts as along it: 6 degrees."""

Share = Annotated[float, THRESHOLD, Field(ge=0, le=1)]


class ScreenshotConfig(StageConfig):
    """Options of `Screenshot`; an image is dropped that has both shares."""

    least_flat_share: Share = 0.6
    """Share of the pixels, 0..1, whose neighbours to the right and below have the same colour."""
    least_axis_share: Share = 0.4
    """Share of the pixels at edges, 0..1, whose edge is horizontal or vertical; by chance 0.13."""


class Screenshot(SampleFilter[ScreenshotConfig]):
    """Measure how much of an image is flat, and how many of its edges are along the axes.

    That is what screens, slides and charts have in common. A drawing in flat colours or a scanned
    page has it, too: both numbers are stored, so that other thresholds cost nothing.
    """

    Config = ScreenshotConfig
    measured = ("flat_share", "axis_share")

    def measure(self, samples: Sequence[Sample]) -> list[dict[str, float | str]]:
        """Measure each image; the axis share of one without edges is 0."""
        return [_measured(_middle(sample.image)) for sample in samples]

    def judge(self, samples: SampleColumns) -> Verdicts:
        """Judge the stored shares."""
        verdicts = Verdicts(len(samples))
        is_flat = samples.numbers["flat_share"] >= self.config.least_flat_share
        is_square = samples.numbers["axis_share"] >= self.config.least_axis_share
        verdicts.drop(is_flat & is_square, SCREENSHOT)
        return verdicts


def _middle(pixels: np.ndarray) -> np.ndarray:
    height, width = pixels.shape[:2]
    top, left = max(0, height - _WINDOW_PX) // 2, max(0, width - _WINDOW_PX) // 2
    return pixels[top : top + _WINDOW_PX, left : left + _WINDOW_PX]


def _measured(pixels: np.ndarray) -> dict[str, float | str]:
    corner = pixels[:-1, :-1]
    is_flat = (corner == pixels[1:, :-1]).all(axis=2) & (corner == pixels[:-1, 1:]).all(axis=2)
    values = grey(pixels).astype(np.int16)
    across = np.abs(values[1:-1, 2:] - values[1:-1, :-2])
    down = np.abs(values[2:, 1:-1] - values[:-2, 1:-1])
    longer = np.maximum(across, down)
    is_edge = longer >= _STRONG
    is_along = np.minimum(across, down) <= _ALONG * longer
    edges = int(is_edge.sum())
    return {
        "flat_share": round(float(is_flat.mean()), 4) if is_flat.size else 0.0,
        "axis_share": round(float((is_edge & is_along).sum() / edges), 4) if edges else 0.0,
    }

"""Drops images that are out of focus or blurred by motion."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from pydantic import Field

from florilegium.engine.core.judgement import SampleColumns, Verdicts
from florilegium.engine.core.sample import Sample
from florilegium.engine.core.stage import THRESHOLD, SampleFilter, StageConfig
from florilegium.pipelines.sample_filters.scaled import grey, within

BLURRED = "blurred"
_SIDE_PX = 512


class SharpnessConfig(StageConfig):
    """Options of `Sharpness`."""

    least_variance: Annotated[float, THRESHOLD, Field(ge=0)] = 25.0
    """Least variance of the Laplacian of the grey values, 0..255. Photographs in focus have some
    hundreds; plain ones, such as a sky, have little, too."""


class Sharpness(SampleFilter[SharpnessConfig]):
    """Measure the variance of the Laplacian of images whose longer side has 512 pixels.

    The measure of focus of Pech-Pacheco and others (ICPR 2000). Smaller images are not enlarged.
    """

    Config = SharpnessConfig
    measured = ("laplacian_variance",)

    def measure(self, samples: Sequence[Sample]) -> list[dict[str, float | str]]:
        """Measure each image."""
        import cv2

        return [
            {"laplacian_variance": round(float(cv2.Laplacian(one, cv2.CV_64F).var()), 3)}
            for one in (grey(within(sample.image, _SIDE_PX)) for sample in samples)
        ]

    def judge(self, samples: SampleColumns) -> Verdicts:
        """Judge the stored variances."""
        verdicts = Verdicts(len(samples))
        variance = samples.numbers["laplacian_variance"]
        verdicts.drop(variance < self.config.least_variance, BLURRED)
        return verdicts

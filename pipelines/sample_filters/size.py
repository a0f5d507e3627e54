"""Drops images that are too small, too large or too long, by their records: no pixel is read."""

from __future__ import annotations

from typing import Annotated

import numpy as np
from pydantic import Field

from florilegium.engine.core.judgement import SampleColumns, Verdicts
from florilegium.engine.core.stage import THRESHOLD, SampleFilter, StageConfig

TOO_SMALL, TOO_LARGE, TOO_LONG = "too_small", "too_large", "too_long"


class ImageSizeConfig(StageConfig):
    """Options of `ImageSize`."""

    least_side_px: Annotated[int, THRESHOLD, Field(ge=1)] = 200
    """Least pixels of the shorter side."""
    most_pixels: Annotated[int | None, THRESHOLD, Field(ge=1)] = None
    """Most pixels of an image, width times height; by default any number."""
    most_aspect: Annotated[float, THRESHOLD, Field(ge=1)] = 3.0
    """Most pixels of the longer side for each pixel of the shorter one."""


class ImageSize(SampleFilter[ImageSizeConfig]):
    """Judge the size and the aspect of images.

    Banners, strips and icons show little, and models shrink or crop them. It measures nothing, so
    another threshold costs no call.
    """

    Config = ImageSizeConfig

    def judge(self, samples: SampleColumns) -> Verdicts:
        """Judge the sizes of the records."""
        verdicts = Verdicts(len(samples))
        width, height = samples.width_px.astype(float), samples.height_px.astype(float)
        shorter, longer = np.minimum(width, height), np.maximum(width, height)
        aspect = longer / shorter
        every = np.ones(len(samples), bool)
        verdicts.measure("width_px", width, every)
        verdicts.measure("height_px", height, every)
        verdicts.measure("aspect", aspect, every)
        verdicts.drop(shorter < self.config.least_side_px, TOO_SMALL)
        if self.config.most_pixels is not None:
            verdicts.drop(width * height > self.config.most_pixels, TOO_LARGE)
        verdicts.drop(aspect > self.config.most_aspect, TOO_LONG)
        return verdicts

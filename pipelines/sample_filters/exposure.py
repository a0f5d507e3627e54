"""Drops images that are too dark, too bright or without contrast."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import numpy as np
from pydantic import Field

from florilegium.engine.core.judgement import SampleColumns, Verdicts
from florilegium.engine.core.sample import Sample
from florilegium.engine.core.stage import THRESHOLD, SampleFilter, StageConfig
from florilegium.pipelines.sample_filters.scaled import grey, within

UNDEREXPOSED, OVEREXPOSED, NO_CONTRAST = "underexposed", "overexposed", "no_contrast"
_SIDE_PX = 256
_BLACK, _WHITE = 4, 251
"""The highest grey value that counts as black, and the least that counts as white."""

Share = Annotated[float, THRESHOLD, Field(ge=0, le=1)]
Grey = Annotated[float, THRESHOLD, Field(ge=0, le=255)]


class ExposureConfig(StageConfig):
    """Options of `Exposure`."""

    most_black_share: Share = 0.6
    """Most of the image, 0..1, that may be black."""
    most_white_share: Share = 0.8
    """Most of the image, 0..1, that may be white; products on white have much of it."""
    least_mean: Grey = 16.0
    """Least mean grey value, 0..255."""
    most_mean: Grey = 245.0
    """Highest mean grey value, 0..255."""
    least_contrast: Grey = 8.0
    """Least standard deviation of the grey values."""


class Exposure(SampleFilter[ExposureConfig]):
    """Measure the grey values of images: their mean, their deviation, and what is clipped."""

    Config = ExposureConfig
    measured = ("mean", "contrast", "black_share", "white_share")

    def measure(self, samples: Sequence[Sample]) -> list[dict[str, float | str]]:
        """Measure each image, at a longer side of 256 pixels."""
        return [_measured(grey(within(sample.image, _SIDE_PX))) for sample in samples]

    def judge(self, samples: SampleColumns) -> Verdicts:
        """Judge the stored numbers."""
        verdicts = Verdicts(len(samples))
        numbers, config = samples.numbers, self.config
        is_dark = numbers["mean"] < config.least_mean
        is_bright = numbers["mean"] > config.most_mean
        verdicts.drop(is_dark | (numbers["black_share"] > config.most_black_share), UNDEREXPOSED)
        verdicts.drop(is_bright | (numbers["white_share"] > config.most_white_share), OVEREXPOSED)
        verdicts.drop(numbers["contrast"] < config.least_contrast, NO_CONTRAST)
        return verdicts


def _measured(values: np.ndarray) -> dict[str, float | str]:
    return {
        "mean": round(float(values.mean()), 2),
        "contrast": round(float(values.std()), 2),
        "black_share": round(float((values <= _BLACK).mean()), 4),
        "white_share": round(float((values >= _WHITE).mean()), 4),
    }

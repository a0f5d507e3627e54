"""Drops JPEG images of low quality, by their quantisation tables: no pixel is decoded."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Annotated

import numpy as np
from pydantic import Field

from florilegium.engine.core.image import pillow
from florilegium.engine.core.judgement import SampleColumns, Verdicts
from florilegium.engine.core.sample import Sample
from florilegium.engine.core.stage import THRESHOLD, SampleFilter, StageConfig

LOW_QUALITY = "low_jpeg_quality"
_LUMINANCE = (
    *(16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55),
    *(14, 13, 16, 24, 40, 57, 69, 56, 14, 17, 22, 29, 51, 87, 80, 62),
    *(18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113, 92),
    *(49, 64, 78, 87, 103, 121, 120, 101, 72, 92, 95, 98, 112, 100, 103, 99),
)
"""The table for luminance of ITU-T T.81, annex K, which the quality of libjpeg scales."""
_START = b"\xff\xd8\xff"


class JpegQualityConfig(StageConfig):
    """Options of `JpegQuality`."""

    least_quality: Annotated[int, THRESHOLD, Field(ge=1, le=100)] = 40
    """Least quality as libjpeg counts it, 1..100."""


class JpegQuality(SampleFilter[JpegQualityConfig]):
    """Measure the quality at which a JPEG was written last: that whose table is nearest to its own.

    Images in other formats are not measured, and kept. An image that was saved badly once, and well
    afterwards, has the quality of the second time.
    """

    Config = JpegQualityConfig
    measured = ("jpeg_quality",)

    def measure(self, samples: Sequence[Sample]) -> list[dict[str, float | str]]:
        """Measure each JPEG by its header."""
        return [_measured(bytes(sample.picture.data)) for sample in samples]

    def judge(self, samples: SampleColumns) -> Verdicts:
        """Judge the stored qualities."""
        verdicts = Verdicts(len(samples))
        verdicts.drop(samples.numbers["jpeg_quality"] < self.config.least_quality, LOW_QUALITY)
        return verdicts


def _measured(data: bytes) -> dict[str, float | str]:
    if not data.startswith(_START):
        return {}
    with pillow.opened(data, "JPEG") as image:
        tables = getattr(image, "quantization", {})
    if 0 not in tables:
        return {}
    # Sorted, the values do not depend on the order in which a file lists them.
    table = np.sort(np.asarray(tables[0], np.int64))
    return {"jpeg_quality": float(1 + np.abs(_tables() - table).sum(axis=1).argmin())}


@cache
def _tables() -> np.ndarray:
    """Return the sorted table for luminance of each quality from 1 on, (100, 64)."""
    quality = np.arange(1, 101)
    scale = np.where(quality < 50, 5000 // quality, 200 - 2 * quality)
    table = (np.outer(scale, _LUMINANCE) + 50) // 100
    return np.sort(table.clip(1, 255), axis=1)

"""Drops images in a uniform frame, such as the bars beside a film or the mat of a scan."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import numpy as np
from pydantic import Field

from florilegium.engine.core.judgement import SampleColumns, Verdicts
from florilegium.engine.core.sample import Sample
from florilegium.engine.core.stage import THRESHOLD, SampleFilter, StageConfig
from florilegium.pipelines.sample_filters.scaled import within

FRAMED = "framed"
_SIDE_PX = 256
_TOLERANCE = 12
"""Most difference of a pixel of a bar from its colour, in any channel: codecs add some noise."""
_UNIFORM = 0.99
"""Least share of a line within a bar that has its colour."""
_OTHER = 0.5
"""Least share of the line where a bar ends that has another colour: what a bar frames is straight,
what lies on a plain ground is not."""
_SOFT = 2
"""Lines over which the end of a bar may be blended with what it frames."""


class BordersConfig(StageConfig):
    """Options of `Borders`."""

    most_border_share: Annotated[float, THRESHOLD, Field(ge=0, le=1)] = 0.2
    """Most of the image, 0..1, that may be bars of one colour at its sides. A film of 16:9 with
    bars in an image of 4:3 has 0.25."""


class Borders(SampleFilter[BordersConfig]):
    """Measure which share of an image are uniform bars at its four sides, with straight ends.

    Things on a plain ground have no such bars: where the ground ends is no straight line.
    """

    Config = BordersConfig
    measured = ("border_share",)

    def measure(self, samples: Sequence[Sample]) -> list[dict[str, float | str]]:
        """Measure each image, at a longer side of 256 pixels."""
        return [
            {"border_share": round(border_share(within(sample.image, _SIDE_PX)), 4)}
            for sample in samples
        ]

    def judge(self, samples: SampleColumns) -> Verdicts:
        """Judge the stored shares."""
        verdicts = Verdicts(len(samples))
        verdicts.drop(samples.numbers["border_share"] > self.config.most_border_share, FRAMED)
        return verdicts


def border_share(pixels: np.ndarray) -> float:
    """Return the share of an image that is bars, 0..1; of one colour alone, 1."""
    height, width = pixels.shape[:2]
    top, bottom = _bar(pixels), _bar(pixels[::-1])
    if top + bottom >= height:  # of one colour, or fading so slowly that the bars meet
        return 1.0
    inner = pixels[top : height - bottom].swapaxes(0, 1)
    left, right = _bar(inner), _bar(inner[::-1])
    return 1 - (height - top - bottom) * max(width - left - right, 0) / (height * width)


def _bar(pixels: np.ndarray) -> int:
    """Return the number of lines of the bar at the start of an image; 0 where there is none."""
    colour = np.median(pixels[0], axis=0).astype(np.int16)
    is_alike = (np.abs(pixels.astype(np.int16) - colour) <= _TOLERANCE).all(axis=2).mean(axis=1)
    lines = int(np.argmin(is_alike >= _UNIFORM)) if (is_alike < _UNIFORM).any() else len(pixels)
    if lines == len(pixels):
        return lines
    return lines if is_alike[lines : lines + _SOFT].min() <= 1 - _OTHER else 0

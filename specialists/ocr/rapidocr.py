"""PP-OCR by the package `rapidocr`, whose wheel contains the models.

The image is resized and padded before the package gets it, which would enlarge a thin strip without
bound.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from typing import TYPE_CHECKING, Annotated, ClassVar, NamedTuple

import numpy as np
from pydantic import Field

from florilegium.engine.core.annotation import Annotation
from florilegium.engine.core.image.resizing import shrunk
from florilegium.engine.core.sample import Sample
from florilegium.engine.core.stage import RUNTIME, Specialist, StageConfig
from florilegium.specialists.ocr.direction import Reading, View, read_lines, side_by_side
from florilegium.specialists.ocr.ghosts import are_sure
from florilegium.specialists.ocr.text_lines import has_area, laid_flat, line

if TYPE_CHECKING:
    from rapidocr import RapidOCR

_MIN_SIDE = 32
"""Minimum side of the image in pixels; smaller ones are padded."""
_LARGEST_ASPECT = 16
"""Maximum aspect ratio; thinner strips are padded with black."""


class RapidOcrConfig(StageConfig):
    """Options of `rapidocr`."""

    long_side: int = Field(default=2000, ge=64)
    """Maximum pixels of the long side of the image that lines are cropped from."""
    detector_side: int = Field(default=960, ge=64)
    """Maximum pixels of the long side of the image for the detector."""
    least_score: float = Field(default=0.5, ge=0, le=1)
    """Minimum score of a line, 0..1."""
    doubt: float = Field(default=0.0055, ge=0, le=1)
    """A line of n letters and digits needs a score of 1 - this times n², too: a pattern is easily
    read as a letter, hardly as a word. 0.0055 asks 0.9945 of one letter, 0.91 of four, 0.65 of
    eight; 1 asks for any letter or digit only."""
    threads: Annotated[int, RUNTIME, Field(ge=1)] = 1
    """Threads of onnxruntime in the worker."""


class Frame(NamedTuple):
    """The detector's image, with its transformation.

    `pixels` is BGR, uint8; a point p of the original is at p * scale + offset in it.
    """

    pixels: np.ndarray
    scale_xy: np.ndarray
    offset_xy: np.ndarray

    def to_image(self, quads: np.ndarray, size_wh: tuple[int, int]) -> np.ndarray:
        """Transform quads, (n, 4, 2), to coordinates of the original, clipped to it."""
        return np.clip((quads - self.offset_xy) / self.scale_xy, 0, size_wh)


class RapidOcr(Specialist[RapidOcrConfig]):
    """Lines of text in reading order: text, quad, the quad's hull as box, recognition score.

    A quad starts at the top left of the text, in any direction (`read_lines`). The package's
    classifier of upside-down lines is off: it rotated upright lines of the sample photographs.
    """

    Config: ClassVar[type[StageConfig]] = RapidOcrConfig
    version: ClassVar[int] = 3
    produces: tuple[str, ...] = ("ocr",)
    needs: ClassVar[tuple[str, ...]] = ("rapidocr", "onnxruntime")
    extra: ClassVar[str] = "starter"

    @property
    def model(self) -> str:
        """The models in the package's wheel."""
        return "PP-OCRv6-small"

    def revision(self) -> str:
        """Name the package with the models."""
        return f"rapidocr {version('rapidocr')}"

    def load(self) -> None:
        """Load detector and recogniser from the installed package, without downloads."""
        from rapidocr import RapidOCR

        self._reader: RapidOCR = RapidOCR(
            params={
                "Global.log_level": "critical",
                "Global.use_cls": False,
                "Global.use_preprocess_img": False,
                "Global.use_vertical_padding": False,
                "Det.limit_type": "max",
                "Det.limit_side_len": self.config.detector_side,
                "EngineConfig.onnxruntime.intra_op_num_threads": self.config.threads,
                "EngineConfig.onnxruntime.inter_op_num_threads": 1,
            }
        )
        blank = np.zeros((_MIN_SIDE, _MIN_SIDE, 3), dtype=np.uint8)
        # The package loads a model at its first use.
        self._reader(blank, use_det=True, use_cls=False, use_rec=False)
        self._reader(blank, use_det=False, use_cls=False, use_rec=True)

    def predict(self, samples: Sequence[Sample]) -> list[list[Annotation]]:
        """Read each image on its own."""
        return [self._read(sample) for sample in samples]

    def _read(self, sample: Sample) -> list[Annotation]:
        frame = framed(sample.image, self.config.long_side)
        detected = self._reader(frame.pixels, use_det=True, use_cls=False, use_rec=False)
        if detected.boxes is None:
            return []
        quads = np.asarray(detected.boxes, dtype=np.float64)
        (lines,) = read_lines([quads], lambda views: [self._reading(frame, one) for one in views])
        are_lines = are_sure([reading for _, reading in lines], self.config.doubt)
        found = [
            (frame.to_image(quad, (sample.width, sample.height)), reading)
            for (quad, reading), is_line in zip(lines, are_lines, strict=True)
            if is_line and reading.score >= self.config.least_score
        ]
        return [line(text, quad, score) for quad, (text, score) in found if has_area(quad)]

    def _reading(self, frame: Frame, view: View) -> Reading:
        """Read one line per call, without padding, so that no result depends on other lines."""
        crop = side_by_side(laid_flat(frame.pixels, view.quad), view.letters)
        result = self._reader(crop, use_det=False, use_cls=False, use_rec=True)
        return Reading(result.txts[0], float(result.scores[0]))


def framed(pixels: np.ndarray, long_side: int) -> Frame:
    """Shrink an RGB image to `long_side`, and pad one that is too thin for the detector."""
    import cv2

    height, width = pixels.shape[:2]
    small = shrunk(pixels, long_side)
    size_wh = small.shape[1::-1]
    least = max(_MIN_SIDE, max(size_wh) // _LARGEST_ASPECT)
    right, bottom = (max(0, least - side) for side in size_wh)
    left, top = right // 2, bottom // 2
    padded = cv2.copyMakeBorder(
        small, top, bottom - top, left, right - left, cv2.BORDER_CONSTANT, value=(0, 0, 0)
    )
    return Frame(
        pixels=cv2.cvtColor(padded, cv2.COLOR_RGB2BGR),
        scale_xy=np.array(size_wh) / (width, height),
        offset_xy=np.array((left, top)),
    )

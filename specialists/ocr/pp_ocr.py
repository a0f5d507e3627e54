"""PP-OCR v5 and v6 in `transformers`: a detector finds lines of text, a recogniser reads them.

The detector predicts a map of text probabilities, from which its processor makes quads (DB, arXiv
1911.08947); the recogniser reads each rectified quad by greedy CTC (PP-OCRv5, arXiv 2507.05595).
Both preprocess images by torchvision.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from types import SimpleNamespace
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, NamedTuple

import numpy as np
from pydantic import Field

from florilegium.engine.core.annotation import Annotation
from florilegium.engine.core.errors import ConfigError, MissingModel
from florilegium.engine.core.sample import Picture, Sample
from florilegium.engine.core.stage import CONTENT, Specialist, StageConfig
from florilegium.specialists.ocr.direction import Reading, View, read_lines, side_by_side
from florilegium.specialists.ocr.text_lines import (
    LineView,
    hulls_of,
    line,
    order_by_gaps,
    sizes_of,
)
from florilegium.specialists.pretrained.checkpoint import Checkpoint, Family, model_name, resolve
from florilegium.specialists.pretrained.config import PretrainedConfig
from florilegium.specialists.pretrained.network import Network, to_float32, to_numpy
from florilegium.specialists.pretrained.stage import Pretrained
from florilegium.specialists.pretrained.token_scores import rounded
from florilegium.specialists.pretrained.views import Preprocess
from florilegium.specialists.pretrained.views import View as Seen

if TYPE_CHECKING:
    from torch import Tensor

_DETECTORS = (
    *("pp_ocrv5_mobile_det", "pp_ocrv5_server_det"),
    *("pp_ocrv6_small_det", "pp_ocrv6_medium_det"),
)
_RECOGNISERS = (
    *("pp_ocrv5_mobile_rec", "pp_ocrv5_server_rec"),
    *("pp_ocrv6_tiny_rec", "pp_ocrv6_small_rec"),
)
_READER = Family(
    title="a PP-OCR recogniser",
    example="PaddlePaddle/PP-OCRv6_medium_rec_safetensors",
    model_class="AutoModelForTextRecognition",
    model_types=_RECOGNISERS,
    needs_torchvision=_RECOGNISERS,
)
_BLANK = 0
"""The blank class of CTC."""
_STEP = 32
"""Widths of long lines are rounded to multiples of this, of twice this for those twice as long, and
so on: lines of one width share a batch."""
_BATCHES = 64
"""Batches of lines that are cropped at once; among many, more have the same width."""
_LARGEST_SIDE = 2**15 - 1
"""Maximum side for the processor, whose coordinates are 16-bit integers."""


class PpOcrConfig(PretrainedConfig):
    """Options of `pp_ocr`."""

    model: Annotated[str, CONTENT] = "PaddlePaddle/PP-OCRv6_medium_det_safetensors"
    """The detector: a folder, `package://NAME/FOLDER` or a hub id."""
    recogniser: Annotated[str, CONTENT] = "PaddlePaddle/PP-OCRv6_medium_rec_safetensors"
    """The recogniser: a folder, `package://NAME/FOLDER` or a hub id."""
    recogniser_revision: Annotated[str, CONTENT] = ""
    """Branch, tag or commit of a recogniser on the hub; `revision` is that of the detector."""
    image_size: int | None = Field(default=None, ge=32)
    """Maximum pixels of the long side of the image for the detector; by default that of the
    checkpoint, 960 for the released ones."""
    pixel_threshold: float = Field(default=0.3, ge=0, le=1)
    """Minimum text probability of a line's pixels, 0..1."""
    least_support: float = Field(default=0.6, ge=0, le=1)
    """Minimum mean text probability of a line, 0..1."""
    unclip: float = Field(default=1.5, ge=1)
    """Expansion of a quad, as the detector was trained on shrunken ones: times area / perimeter."""
    max_lines: int = Field(default=1000, ge=1)
    """Maximum lines of an image."""
    least_score: float = Field(default=0.2, ge=0, le=1)
    """Minimum score of a line, 0..1."""


class _PixelsOnly(Preprocess):
    """Preprocesses images for a detector, which takes pixels alone."""

    def __call__(self, view: Seen) -> dict[str, Tensor]:
        return {"pixel_values": super().__call__(view)["pixel_values"]}


@dataclass(frozen=True)
class _Stacked:
    """A line of stacked letters, which are laid side by side."""

    picture: Picture
    quad: np.ndarray
    letters: int

    def pixels(self) -> np.ndarray:
        """Return RGB pixels, uint8, (height, width, 3)."""
        flat = LineView(self.picture, self.quad).pixels()
        return side_by_side(flat, self.letters)


class _Found(NamedTuple):
    """The lines of an image: quads, (n, 4, 2), in reading order, each from the corner at the top
    left, and their mean text probabilities, (n,)."""

    quads: np.ndarray
    support: np.ndarray


class PpOcr(Pretrained[PpOcrConfig], Specialist[PpOcrConfig]):
    """Lines of text in reading order, each a quad clockwise from the top left of the text, in any
    direction (`read_lines`).

    `score` is the recogniser's, the mean probability of the letters; `support` the detector's, the
    mean text probability in the quad. They are not multiplied: one measures whether there is text,
    the other whether it was read well. A quad without letters is left out.
    """

    Config: ClassVar[type[StageConfig]] = PpOcrConfig
    version: ClassVar[int] = 2
    produces: tuple[str, ...] = ("ocr",)
    family: ClassVar[Family] = Family(
        title="a PP-OCR detector",
        example="PaddlePaddle/PP-OCRv6_medium_det_safetensors",
        model_class="AutoModelForObjectDetection",
        model_types=_DETECTORS,
        needs_torchvision=_DETECTORS,
    )

    @property
    def model(self) -> str:
        """Detector and recogniser."""
        names = model_name(self.config.model), model_name(self.config.recogniser)
        return self.config.named(", ".join(names))

    def revision(self) -> str:
        """Name the commits on the hub or the digests of the files, the detector's first.

        Raises:
            MissingModel: one or both are missing.
        """
        return ", ".join(checkpoint.digest for checkpoint in self.checkpoints())

    def load(self) -> None:
        """Load detector and recogniser onto the device.

        Raises:
            ConfigError: the recogniser's processor lacks letters.
        """
        super().load()
        if self.config.image_size is not None:
            processor = self.network.processor
            processor.limit_side_len, processor.limit_type = self.config.image_size, "max"
        checkpoint = self._recogniser()
        # Lines have a fixed height.
        config = self.config.model_copy(update={"image_size": None})
        self._reader = Network(checkpoint, config, beside=self.network)
        self._letters: list[str] = list(self._reader.processor.character_list)
        classes = self._reader.model.config.head_out_channels
        if len(self._letters) < classes:
            raise ConfigError(
                f"model {checkpoint.model!r} has {classes} classes of letters, but its processor "
                f"{len(self._letters)}; use the preprocessor_config.json of the weights"
            )

    def networks(self) -> list[Network]:
        """Return detector and recogniser."""
        return [self.network, self._reader]

    def predict(self, samples: Sequence[Sample]) -> list[list[Annotation]]:
        """Detect the lines of each image, then read those of all images."""
        pictures = [sample.picture for sample in samples]
        views = self.network.prepare(pictures, _PixelsOnly(self.network.processor))
        maps = self.network.run(views, self._text_map, _checked)
        found = self.network.in_threads(list(zip(samples, maps, strict=True)), self._lines)
        lines = read_lines([quads for quads, _ in found], partial(self._read, samples))
        return [
            [
                line(reading.text, quad, reading.score, rounded(float(support)))
                for (quad, reading), support in zip(own, supports, strict=True)
                if reading.text and reading.score >= self.config.least_score
            ]
            for own, (_, supports) in zip(lines, found, strict=True)
        ]

    def _read(self, samples: Sequence[Sample], views: list[View]) -> list[Reading]:
        return self._reader.ask(
            [self._crop(samples[view.image].picture, view) for view in views],
            Preprocess(self._reader.processor),
            self._letters_of,
            self._readings,
            batches=_BATCHES,
        )

    def _text_map(self, batch: dict[str, Tensor], _: object) -> Any:
        """Return the text probability of each pixel, (images, 1, height, width)."""
        return self.network.model(**batch).last_hidden_state

    def _lines(self, mapped: tuple[Sample, Tensor]) -> _Found:
        """Convert a map of text probabilities to quads in pixels of the image."""
        import torch

        sample, text_map = mapped
        shrink = math.ceil(max(sample.width, sample.height) / _LARGEST_SIDE)
        size_hw = torch.tensor([[sample.height / shrink, sample.width / shrink]])
        (found,) = self.network.processor.post_process_object_detection(
            SimpleNamespace(last_hidden_state=text_map[None]),
            target_sizes=size_hw,
            threshold=self.config.pixel_threshold,
            box_threshold=self.config.least_support,
            unclip_ratio=self.config.unclip,
            max_candidates=self.config.max_lines,
        )
        quads = found["boxes"].numpy().reshape(-1, 4, 2).astype(np.float64) * shrink
        boxes, order = hulls_of(quads), order_by_gaps(quads)
        order = order[(boxes[order, 2:] - boxes[order, :2]).min(axis=1, initial=np.inf) > 0]
        return _Found(quads[order], found["scores"].numpy()[order])

    def _crop(self, picture: Picture, view: View) -> Seen:
        """Return the crop of a line; the recogniser's processor scales it to the right height."""
        if view.letters > 1:
            return _Stacked(picture, view.quad, view.letters)
        processor = self._reader.processor
        size_wh = crop_size(
            sizes_of(view.quad[None])[0],
            height=processor.size["height"],
            widths=(processor.size["width"], processor.max_image_width),
        )
        return LineView(picture, view.quad, size_wh)

    def _letters_of(self, batch: Mapping[str, Tensor], _: object) -> tuple[Tensor, Tensor]:
        """Return the most probable class of lines at each step, with its probability: both (lines,
        steps). The maximum of what includes NaN is NaN."""
        probabilities, classes = self._reader.model(**batch).last_hidden_state.float().max(dim=-1)
        return probabilities, classes

    def _readings(self, outputs: tuple[Tensor, Tensor], _: object) -> list[Reading]:
        probabilities, classes = to_numpy(outputs[0]), outputs[1].numpy()
        return [greedy_ctc(*row, self._letters) for row in zip(probabilities, classes, strict=True)]

    def checkpoints(self) -> list[Checkpoint]:
        """Find detector and recogniser.

        Raises:
            MissingModel: one or both are missing, with the commands that download them.
        """
        found: list[Checkpoint] = []
        absent: list[MissingModel] = []
        for find in (self.checkpoint, self._recogniser):
            try:
                found.append(find())
            except MissingModel as error:
                absent.append(error)
        if absent:
            raise MissingModel(
                absent[0].args[0],
                *(one for each in absent for one in each.commands),
                packages=[one for each in absent for one in each.packages],
            )
        return found

    def _recogniser(self) -> Checkpoint:
        return resolve(
            self.config.recogniser,
            _READER,
            self.config.recogniser_revision,
            is_random=bool(self.config.caveat),
        )


def crop_size(size_wh: np.ndarray, *, height: int, widths: tuple[int, int]) -> tuple[int, int]:
    """Return the size at which a line is cropped.

    The recogniser scales lines to `height`, padded to the first of `widths` and at most as wide as
    the second. A crop has at least that height. One that is wider than the padding is stretched by
    at most 5 %, to one of a few widths at that height.
    """
    wide, high = size_wh
    tall = max(round(high), height)
    at_height = wide / high * height
    if at_height <= widths[0]:
        return max(1, round(wide / high * tall)), tall
    step = _STEP * 2 ** int(math.log2(at_height / widths[0]))
    target = min(round(at_height / step) * step, widths[1])
    return math.ceil(target * tall / height), tall


def _checked(text_maps: Tensor, _: object) -> list[Tensor]:
    return list(to_float32(text_maps))


def greedy_ctc(probabilities: np.ndarray, classes: np.ndarray, letters: Sequence[str]) -> Reading:
    """Decode a line from the most probable class at each step and its probability, both (steps,).

    Repeated classes without a blank in between are one letter. The score is the mean over the
    letters, 0 without any.
    """
    is_new = np.append(True, classes[1:] != classes[:-1]) & (classes != _BLANK)
    text = "".join(letters[one] for one in classes[is_new]).strip()
    score = float(probabilities[is_new].mean().clip(0, 1)) if is_new.any() else 0.0
    return Reading(text, rounded(score))

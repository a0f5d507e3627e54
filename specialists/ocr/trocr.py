"""TrOCR: reads again the lines of text that another stage found (arXiv 2109.10282).

A recogniser only: it looks at one line at a time, laid flat, and finds none itself. Knows no
language beyond that of its tokens.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, ClassVar

import numpy as np
from pydantic import Field

from engine.core.annotation import Annotation
from engine.core.errors import ConfigError
from engine.core.sample import Sample
from engine.core.stage import RUNTIME, Input, Specialist, StageConfig, one_of
from specialists.ocr.text_lines import as_read, laid_flat
from specialists.pretrained.checkpoint import Checkpoint, Family
from specialists.pretrained.config import PretrainedConfig
from specialists.pretrained.greedy_search import GreedySearch, Spoken
from specialists.pretrained.network import pictured
from specialists.pretrained.stage import Pretrained
from specialists.pretrained.token_scores import rounded, sentence_score

if TYPE_CHECKING:
    from torch import Tensor

_DECODER = "trocr"


class TrOcrConfig(PretrainedConfig):
    """Which weights, and how long a line may be."""

    model: Annotated[str, RUNTIME] = "microsoft/trocr-large-printed"
    """A folder, `package://NAME/FOLDER` or a hub id; there are weights for printed, written and
    scene text."""
    max_new_tokens: int = Field(default=96, ge=1)
    """Tokens of a line at most; no more than the checkpoint has positions."""
    least_score: float = Field(default=0.2, ge=0, le=1)
    """Lines that the model is less sure of are not said, 0..1."""


class TrOcr(Pretrained[TrOcrConfig], Specialist[TrOcrConfig]):
    """The lines that it reads, in its own words: same quad and box, own text and score.

    Score: the geometric mean of the tokens' probabilities, the end token included. A line is a
    second opinion, with the line that it was read from in `merged_from`: both stand side by side
    for a `merge` stage to choose between, and a `superseded` filter `by: {trocr: [ocr]}` lets
    the earlier one step back. It is no child of the earlier line, which may be dropped without
    it. Lines that have neither quad nor box are passed by, as are those that it cannot read.

    A quad tells where its text begins. Of a line with a box alone nobody knows which way it runs:
    a box at least one and a half times as tall as wide is taken to hold text that runs down.
    """

    Config: ClassVar[type[StageConfig]] = TrOcrConfig
    version: ClassVar[int] = 2
    reads: tuple[Input, ...] = (one_of("ocr"),)
    produces: tuple[str, ...] = ("ocr",)
    family: ClassVar[Family] = Family(
        title="a TrOCR",
        example="microsoft/trocr-base-printed",
        model_class="AutoModelForImageTextToText",
        model_types=("vision-encoder-decoder",),
        processor_class="TrOCRProcessor",
        unused=("encoder.pooler.",),
    )

    def checkpoint(self) -> Checkpoint:
        """Find the checkpoint.

        Raises:
            ConfigError: it is not here, cannot be used, or writes something else than lines.
        """
        found = super().checkpoint()
        config = json.loads((found.folder / "config.json").read_text("utf-8"))
        decoder = config.get("decoder", {}).get("model_type")
        if decoder != _DECODER:
            raise ConfigError(
                f"model {found.model!r} has a decoder of type {decoder!r}; {self.family.title} "
                f"is needed, such as {self.family.example!r}"
            )
        side = config.get("encoder", {}).get("image_size", self.config.image_size)
        if self.config.image_size not in (None, side):
            raise ConfigError(
                f"model {found.model!r} sees lines of {side} px a side and no others; leave "
                "`image_size` out"
            )
        return found

    def load(self) -> None:
        """Load the weights onto the device."""
        super().load()
        positions = self.network.model.config.decoder.max_position_embeddings
        self._most_tokens = min(self.config.max_new_tokens, positions - 1)
        self._search = GreedySearch(self.network.model, self.network.processor.tokenizer)

    def predict(self, samples: Sequence[Sample]) -> list[list[Annotation]]:
        """Read the lines of each image again."""
        lines = [(row, one) for row, sample in enumerate(samples) for one in _lines(sample)]
        spoken_lines = self.network.ask(
            lines, lambda line: self._crop(samples[line[0]], line[1]), self._read
        )
        answers: list[list[Annotation]] = [[] for _ in samples]
        for (row, earlier), spoken in zip(lines, spoken_lines, strict=True):
            text = self.network.processor.decode(spoken.ids, skip_special_tokens=True).strip()
            score = rounded(sentence_score(spoken.chances))
            if text and score >= self.config.least_score:
                answers[row].append(_read_again(earlier, text, score))
        return answers

    def _crop(self, sample: Sample, earlier: Annotation) -> dict[str, Tensor]:
        crop = laid_flat(sample.image, _quad_of(earlier))
        return pictured(self.network.processor.image_processor, crop)

    def _read(self, batch: dict[str, Tensor], _: object) -> list[Spoken]:
        return self._search.speak(batch, self._most_tokens)


def _lines(sample: Sample) -> list[Annotation]:
    return [one for one in sample.of("ocr") if one.quad or one.box_xyxy]


def _quad_of(line: Annotation) -> np.ndarray:
    """Return the corners of a line, (4, 2), from the top left of its text."""
    if line.quad:
        return np.array(line.quad).reshape(4, 2)
    left, top, right, bottom = line.box_xyxy
    box = np.array([(left, top), (right, top), (right, bottom), (left, bottom)])
    return as_read(box[None])[0]


def _read_again(earlier: Annotation, text: str, score: float) -> Annotation:
    return Annotation(
        kind="region",
        task="ocr",
        text=text,
        quad=earlier.quad,
        box_xyxy=earlier.box_xyxy,
        score=score,
        merged_from=(earlier.id,),
    )

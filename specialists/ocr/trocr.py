"""TrOCR (arXiv 2109.10282): reads again the lines of text that another stage detected.

It is a recogniser only: it reads one rectified line at a time.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, ClassVar

import numpy as np
from pydantic import Field

from florilegium.engine.core.annotation import Annotation
from florilegium.engine.core.errors import ConfigError
from florilegium.engine.core.sample import Sample
from florilegium.engine.core.stage import CONTENT, Input, Specialist, StageConfig, one_of
from florilegium.specialists.ocr.text_lines import LineView, as_read
from florilegium.specialists.pretrained.checkpoint import Checkpoint, Family
from florilegium.specialists.pretrained.config import PretrainedConfig
from florilegium.specialists.pretrained.greedy_search import GeneratedTokens, GreedySearch
from florilegium.specialists.pretrained.stage import Pretrained
from florilegium.specialists.pretrained.token_scores import rounded, sentence_score
from florilegium.specialists.pretrained.views import Preprocess

if TYPE_CHECKING:
    from torch import Tensor

_DECODER = "trocr"


class TrOcrConfig(PretrainedConfig):
    """Options of `trocr`."""

    model: Annotated[str, CONTENT] = "microsoft/trocr-large-printed"
    """A folder, `package://NAME/FOLDER` or a hub id; there are weights for printed, handwritten and
    scene text."""
    max_new_tokens: int = Field(default=96, ge=1)
    """Maximum tokens of a line; limited by the positions of the checkpoint."""
    least_score: float = Field(default=0.2, ge=0, le=1)
    """Minimum score of a line, 0..1."""


class TrOcr(Pretrained[TrOcrConfig], Specialist[TrOcrConfig]):
    """The lines of other stages with a new text and score; quad and box are unchanged.

    The score is the geometric mean of the tokens' probabilities, the end token included. The
    earlier line is in `merged_from`: a `merge` stage can choose between both, and a `superseded`
    filter `by: {trocr: [ocr]}` can drop the earlier one. It is no child of the earlier line, which
    may be dropped without it. Lines without quad and box are skipped, and so are unreadable ones.

    A quad gives the start of its text. A line with a box only has no direction: the text of a box
    at least 1.5 times as tall as wide is assumed to run down.
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
            ConfigError: it is missing, cannot be used, or its decoder is not that of TrOCR.
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
                f"model {found.model!r} takes images of {side} px only; leave `image_size` out"
            )
        return found

    def load(self) -> None:
        """Load the weights onto the device."""
        super().load()
        positions = self.network.model.config.decoder.max_position_embeddings
        self._max_tokens = min(self.config.max_new_tokens, positions - 1)
        self._search = GreedySearch(self.network.model, self.network.processor.tokenizer)

    def predict(self, samples: Sequence[Sample]) -> list[list[Annotation]]:
        """Read the lines of each image again."""
        lines = [(row, one) for row, sample in enumerate(samples) for one in _lines(sample)]
        generated: list[GeneratedTokens] = self.network.ask(
            [LineView(samples[row].picture, _quad_of(one)) for row, one in lines],
            Preprocess(self.network.image_processor),
            self._read,
        )
        answers: list[list[Annotation]] = [[] for _ in samples]
        for (row, earlier), tokens in zip(lines, generated, strict=True):
            text = self.network.processor.decode(tokens.ids, skip_special_tokens=True).strip()
            score = rounded(sentence_score(tokens.probabilities))
            if text and score >= self.config.least_score:
                answers[row].append(_read_again(earlier, text, score))
        return answers

    def _read(self, batch: dict[str, Tensor], _: object) -> list[GeneratedTokens]:
        return self._search.generate(batch, self._max_tokens)


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

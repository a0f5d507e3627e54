"""The scores of a set of labels, as a record, as JSON, and as numbers by dotted name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from florilegium.pipelines.shape_world.score.boxes import BoxScore
from florilegium.pipelines.shape_world.score.captions import CaptionScore
from florilegium.pipelines.shape_world.score.masks import MaskScore
from florilegium.pipelines.shape_world.score.phrases import PhraseScore
from florilegium.pipelines.shape_world.score.questions import AnswerScore
from florilegium.pipelines.shape_world.score.reading import ReadingScore
from florilegium.pipelines.shape_world.score.reliability import ReliabilityScore

DECIMALS = 5

Number = float | int | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Score:
    """The scores of the labels of some samples; `None` if a score has nothing to measure.

    `captions` and `reliability` are by task, `questions` by specialist and kind of question.
    """

    samples: int
    boxes: BoxScore
    masks: MaskScore
    ocr: ReadingScore
    phrases: PhraseScore
    captions: Mapping[str, CaptionScore]
    reliability: Mapping[str, ReliabilityScore]
    questions: Mapping[str, Mapping[str, AnswerScore]] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return nested JSON values with sorted keys, rounded to `DECIMALS`."""
        found = _plain(asdict(self))
        return found if self.questions else {k: v for k, v in found.items() if k != "questions"}

    def numbers(self) -> dict[str, Number]:
        """Return all numbers by dotted name: `boxes.f1`, `captions.caption.objects.f1`."""
        return dict(_flat(self.to_json()))


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _plain(value[name]) for name in sorted(value)}
    return round(value, DECIMALS) if isinstance(value, float) else value


def _flat(values: Mapping[str, Any], before: str = "") -> list[tuple[str, Number]]:
    numbers: list[tuple[str, Number]] = []
    for name, value in values.items():
        if isinstance(value, Mapping):
            numbers += _flat(value, f"{before}{name}.")
        else:
            numbers.append((f"{before}{name}", value))
    return numbers

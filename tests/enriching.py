"""Small stages that find boxes and make something of each, to test what they are asked about."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import Field

from florilegium.engine.core.annotation import Annotation
from florilegium.engine.core.errors import SampleError
from florilegium.engine.core.judgement import Statements, Verdicts
from florilegium.engine.core.rows import Measurement
from florilegium.engine.core.sample import Sample
from florilegium.engine.core.stage import (
    RUNTIME,
    THRESHOLD,
    Filter,
    Specialist,
    StageConfig,
    maybe,
    one_of,
)

SCORES = (0.9, 0.7, 0.5, 0.3)
"""Of the corners, from the top left to the bottom right."""


class Corners(Specialist[StageConfig]):
    """Finds the four corners of an image, with the same scores in each."""

    produces = ("object_detection",)

    def predict(self, samples: Sequence[Sample]) -> list[list[Annotation]]:
        return [[_corner(sample, number) for number in range(4)] for sample in samples]


def _corner(sample: Sample, number: int) -> Annotation:
    left, top = (number % 2) * sample.width / 2, (number // 2) * sample.height / 2
    return Annotation(
        kind="region",
        task="object_detection",
        label=f"corner {number}",
        box_xyxy=(left, top, left + sample.width / 2, top + sample.height / 2),
        score=SCORES[number],
    )


class AskedConfig(StageConfig):
    """Where a stage writes down what it was asked."""

    log: Annotated[str, RUNTIME]
    """A file that gets a line for each load and each annotation that was asked about."""
    most: int | None = None
    """Boxes of an image that are described, at most."""
    refused: str = ""
    """The label of a box that is not described; a sample without any description fails."""
    foreign: bool = False
    """Whether an answer is about nothing that was asked."""


class Asked(Specialist[AskedConfig]):
    """Writes down what it is asked."""

    Config = AskedConfig

    def load(self) -> None:
        self._write("loaded")

    def _write(self, *lines: str) -> None:
        with open(self.config.log, "a", encoding="utf-8") as file:
            file.writelines(f"{line}\n" for line in lines)


class Texts(Asked):
    """Describes boxes by their mean colour, one by one."""

    reads = (one_of("object_detection"),)
    each = ("object_detection",)
    produces = ("region_description",)

    def chosen(self, sample: Sample) -> list[Annotation]:
        boxes = sorted(sample.of("object_detection"), key=lambda box: -(box.score or 0))
        return boxes[: self.config.most]

    def predict(self, samples: Sequence[Sample]) -> list[list[Annotation] | SampleError]:
        return [self._described(sample) for sample in samples]

    def _described(self, sample: Sample) -> list[Annotation] | SampleError:
        boxes = self.chosen(sample)
        self._write(*(f"{sample.key} {box.label}" for box in boxes))
        wanted = [box for box in boxes if box.label != self.config.refused]
        if boxes and not wanted:
            return SampleError("nothing_found", "no box can be described")
        return [
            Annotation(
                kind="region",
                task="region_description",
                text=f"{box.label} of brightness {_mean(sample, box):.1f}",
                box_xyxy=box.box_xyxy,
                parent_id="" if self.config.foreign else box.id,
            )
            for box in wanted
        ]


def _mean(sample: Sample, box: Annotation) -> float:
    left, top, right, bottom = (int(edge) for edge in box.box_xyxy)
    return float(sample.image[top:bottom, left:right].astype(np.float64).mean())


class Names(Asked):
    """Names each box by the length of its description, and describes it by its own name."""

    reads = (one_of("object_detection"), maybe("region_description"))
    each = ("object_detection",)
    produces = ("region_category",)

    def predict(self, samples: Sequence[Sample]) -> list[list[Annotation]]:
        answers = []
        for sample in samples:
            found: list[Annotation] = []
            for box in sample.of("object_detection"):
                own = [one for one in sample.of("region_description") if one.parent_id == box.id]
                self._write(f"{sample.key} {box.label} {len(own)}")
                first = Annotation(
                    kind="region",
                    task="region_category",
                    label=f"{sum(len(one.text) for one in own)} letters",
                    box_xyxy=box.box_xyxy,
                    parent_id=box.id,
                    id=f"own-{len(found)}",
                )
                second = Annotation(
                    kind="region",
                    task="region_category",
                    label="a name of a name",
                    box_xyxy=box.box_xyxy,
                    parent_id=first.id,
                    id=f"own-{len(found) + 1}",
                )
                found += [first, second]
            answers.append(found)
        return answers


class Summary(Asked):
    """Counts the descriptions of an image, in one caption."""

    reads = (one_of("region_description"),)
    produces = ("caption",)

    def predict(self, samples: Sequence[Sample]) -> list[list[Annotation]]:
        self._write(*(sample.key for sample in samples))
        counts = [len(list(sample.of("region_description"))) for sample in samples]
        return [
            [Annotation(kind="text", task="caption", text=f"{count} corners.", language="en")]
            for count in counts
        ]


class LeastScoreConfig(StageConfig):
    """What scores enough."""

    minimum: Annotated[float, THRESHOLD, Field(ge=0, le=1)] = 0.5
    """Least score that is kept."""


class LeastScore(Filter[LeastScoreConfig]):
    """Drops boxes with a low score; measures nothing."""

    Config = LeastScoreConfig
    judges_by = "annotation"
    reads = (one_of("object_detection"),)

    def judge(self, statements: Statements) -> Verdicts:
        verdicts = Verdicts(len(statements))
        where = statements.of_tasks(("object_detection",))
        verdicts.is_judged |= where
        verdicts.drop(where & (statements.score < self.config.minimum), "low_score")
        return verdicts


class CannotMeasureConfig(StageConfig):
    """What cannot be measured."""

    key: str
    """The key of the image on which measuring fails."""


class CannotMeasure(Filter[CannotMeasureConfig]):
    """Fails on one image, and keeps all boxes of the others."""

    Config = CannotMeasureConfig
    judges_by = "annotation"
    reads = (one_of("object_detection"),)
    measured = ("size",)

    def measure(self, samples: Sequence[Sample]) -> list[list[Measurement]]:
        if any(sample.key == self.config.key for sample in samples):
            raise ValueError("no size")
        return [[] for _ in samples]

    def judge(self, statements: Statements) -> Verdicts:
        return Verdicts(len(statements))


def stages(folder: Path, **options: object) -> dict[str, dict[str, object]]:
    """Return all specialists; their logs are in a folder, by name."""
    logs = {name: {"log": str(folder / name)} for name in ("texts", "names", "summary")}
    return {
        "corners": {"use": "tests.enriching:Corners"},
        "texts": {"use": "tests.enriching:Texts", **logs["texts"], **options},
        "names": {"use": "tests.enriching:Names", **logs["names"]},
        "summary": {"use": "tests.enriching:Summary", **logs["summary"]},
    }


def scoring(minimum: float) -> dict[str, dict[str, object]]:
    """Return a filter that keeps boxes with this score."""
    return {"least": {"use": "tests.enriching:LeastScore", "minimum": minimum}}

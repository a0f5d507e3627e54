"""Small sample filters and a specialist that write down what they are asked."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Annotated

from florilegium.engine.core.annotation import Annotation
from florilegium.engine.core.errors import SampleError
from florilegium.engine.core.judgement import SampleColumns, Verdicts
from florilegium.engine.core.sample import Sample
from florilegium.engine.core.stage import (
    RUNTIME,
    THRESHOLD,
    SampleFilter,
    Specialist,
    StageConfig,
    one_of,
)


class LoggedConfig(StageConfig):
    """Where a stage writes down what it was asked."""

    log: Annotated[str, RUNTIME]
    """A file that gets a line for each sample that was asked about, and for each load."""
    refused: str = ""
    """The key of a sample on which the stage fails."""


def write(log: str, *lines: str) -> None:
    """Add lines to a log."""
    with open(log, "a", encoding="utf-8") as file:
        file.writelines(f"{line}\n" for line in lines)


class BrightnessConfig(LoggedConfig):
    """How bright an image has to be."""

    minimum: Annotated[float, THRESHOLD] = 0
    """Least mean of all pixels, 0..255."""


class Brightness(SampleFilter[BrightnessConfig]):
    """Drops dark images."""

    Config = BrightnessConfig
    measured = ("mean",)
    measured_texts = ("name",)

    def load(self) -> None:
        write(self.config.log, "loaded")

    def measure(self, samples: Sequence[Sample]) -> list[dict[str, float | str] | SampleError]:
        write(self.config.log, *(sample.key for sample in samples))
        return [
            SampleError("too_odd", "cannot be measured")
            if sample.key == self.config.refused
            else {"mean": float(sample.image.mean()), "name": f"name of {sample.key}"}
            for sample in samples
        ]

    def judge(self, samples: SampleColumns) -> Verdicts:
        verdicts = Verdicts(len(samples))
        verdicts.drop(samples.numbers["mean"] < self.config.minimum, "too_dark")
        return verdicts


class OfCaptions(Brightness):
    """Drops images whose caption has few words; reads what a specialist says."""

    reads = (one_of("caption"),)
    measured = ("words",)
    measured_texts = ()

    def measure(self, samples: Sequence[Sample]) -> list[dict[str, float | str] | SampleError]:
        write(self.config.log, *(sample.key for sample in samples))
        texts = [[one.text for one in sample.of("caption")] for sample in samples]
        return [{"words": float(len(" ".join(own).split()))} for own in texts]

    def judge(self, samples: SampleColumns) -> Verdicts:
        verdicts = Verdicts(len(samples))
        verdicts.drop(samples.numbers["words"] < self.config.minimum, "few_words")
        return verdicts


class RepeatedConfig(LoggedConfig):
    """How alike images have to be."""

    within: Annotated[float, THRESHOLD] = 0
    """Largest difference of the means of two images that are alike, 0..255."""


class Repeated(SampleFilter[RepeatedConfig]):
    """Drops images whose mean an earlier one has; writes down when it compares."""

    Config = RepeatedConfig
    measured = ("mean",)
    compares = True
    compared = ("difference",)
    compared_texts = ("copy_of",)

    def measure(self, samples: Sequence[Sample]) -> list[dict[str, float | str] | SampleError]:
        write(self.config.log, *(sample.key for sample in samples))
        return [
            SampleError("too_odd", "cannot be measured")
            if sample.key == self.config.refused
            else {"mean": float(sample.image.mean())}
            for sample in samples
        ]

    def compare(self, shards: Iterable[SampleColumns]) -> Iterator[dict[str, list[float | str]]]:
        write(self.config.log, "compared")
        kept: dict[str, float] = {}
        for shard in shards:
            firsts: list[str] = []
            differences: list[float] = []
            for key, mean in zip(shard.key, shard.numbers["mean"].tolist(), strict=True):
                near = (one for one in kept if abs(kept[one] - mean) <= self.config.within)
                first = next(near, "")
                firsts.append(first)
                differences.append(abs(kept.get(first, mean) - mean))
                if not first:
                    kept[key] = mean
            yield {"copy_of": [*firsts], "difference": [*differences]}

    def judge(self, samples: SampleColumns) -> Verdicts:
        verdicts = Verdicts(len(samples))
        verdicts.drop(samples.texts["copy_of"] != "", "repeated")
        return verdicts


class LargeConfig(StageConfig):
    """How large an image has to be."""

    minimum: Annotated[int, THRESHOLD] = 0
    """Least width in pixels."""


class Large(SampleFilter[LargeConfig]):
    """Drops narrow images by their record; measures nothing."""

    Config = LargeConfig

    def judge(self, samples: SampleColumns) -> Verdicts:
        verdicts = Verdicts(len(samples))
        width = samples.width_px.astype(float)
        verdicts.measure("width", width, width >= 0)
        verdicts.drop(width < self.config.minimum, "too_narrow")
        return verdicts


class Captions(Specialist[LoggedConfig]):
    """Writes a caption as long as the key, and writes down what it is asked."""

    Config = LoggedConfig
    produces = ("caption",)

    def load(self) -> None:
        write(self.config.log, "loaded")

    def predict(self, samples: Sequence[Sample]) -> list[list[Annotation] | SampleError]:
        write(self.config.log, *(sample.key for sample in samples))
        return [
            SampleError("too_odd", "cannot be described")
            if sample.key == self.config.refused
            else [Annotation(kind="text", task="caption", text=" ".join(sample.key), language="en")]
            for sample in samples
        ]


class Tags(Captions):
    """Names images."""

    produces = ("tag",)

    def predict(self, samples: Sequence[Sample]) -> list[list[Annotation] | SampleError]:
        write(self.config.log, *(sample.key for sample in samples))
        return [[Annotation(kind="text", task="tag", label=one.key)] for one in samples]

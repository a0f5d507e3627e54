"""Stages that break their contract, each in one way only."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from contextlib import suppress
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from florilegium.engine.core.annotation import Annotation
from florilegium.engine.core.errors import ConfigError, SampleError
from florilegium.engine.core.judgement import Statements, Verdicts
from florilegium.engine.core.rows import Measurement
from florilegium.engine.core.sample import Sample
from florilegium.engine.core.stage import (
    CONTENT,
    RUNTIME,
    THRESHOLD,
    Filter,
    Specialist,
    StageConfig,
    one_of,
)


def tag(label: str) -> Annotation:
    """Return a tag."""
    return Annotation(kind="text", task="tag", label=label)


def box(*corners: float, **changes: Any) -> Annotation:
    """Return a box."""
    values: dict[str, Any] = {"label": "thing", "score": 0.5, **changes}
    return Annotation(kind="region", task="object_detection", box_xyxy=corners, **values)


class Sound(Specialist[StageConfig]):
    """Tags an image by its mean colour; the others below derive from it."""

    produces = ("tag",)

    def predict(self, samples: Sequence[Sample]) -> list[Any]:
        return [self.about(one) for one in samples]

    def about(self, sample: Sample) -> list[Annotation]:
        """Answer about one sample."""
        return [tag(f"{sample.image.mean():.0f}")]


class Open(StageConfig):
    """Options that may be changed."""

    model_config = ConfigDict(extra="forbid", frozen=False)


class ForgetsTheLast(Sound):
    """Answers about all of a batch but the last."""

    def predict(self, samples: Sequence[Sample]) -> list[Any]:
        answers = super().predict(samples)
        return answers[:-1] if len(answers) > 1 else answers


class AnswersTwice(Sound):
    """Answers once more than it is asked."""

    def predict(self, samples: Sequence[Sample]) -> list[Any]:
        answers = super().predict(samples)
        return [*answers, []] if len(answers) > 1 else answers


class WeightsConfig(StageConfig):
    """Where weights are."""

    weights: Annotated[str, CONTENT] = "tiny"
    """A folder."""


class UnnamedWeights(Sound):
    """Does not name the weights that it was given."""

    Config = WeightsConfig


class NotFrozen(Sound):
    """Has a config that is not frozen."""

    Config = Open


class Lax(StageConfig):
    """Options with any key."""

    model_config = ConfigDict(extra="allow", frozen=True)


class UnknownKeys(Sound):
    """Has a config that takes unknown keys."""

    Config = Lax


class Undocumented(StageConfig):
    """Options of which one is not documented."""

    limit: float = 0.5


class UndocumentedOption(Sound):
    """Has an option without a word about it."""

    Config = Undocumented


class NoDocstring(Sound):
    __doc__ = None


class TextVersion(Sound):
    """Has a version that is text."""

    version: Any = "1.0"


class UnknownTask(Sound):
    """Produces a task that nobody knows, too."""

    produces = ("tag", "objct_detection")


class Unlisted(Sound):
    """Produces nothing, by what it says."""

    produces = ()

    def about(self, sample: Sample) -> list[Annotation]:
        return []


class Unloadable(Sound):
    """Cannot be loaded."""

    def load(self) -> None:
        raise ConfigError("the weights are not there: fetch them first")


class FailsToLoad(Sound):
    """Has a mistake in `load`."""

    def load(self) -> None:
        self.scale = 1 / len(self.produces[1:])


class StacksNothing(Sound):
    """Raises without a sample."""

    def predict(self, samples: Sequence[Sample]) -> list[Any]:
        np.stack([np.zeros(1) for _ in samples])
        return super().predict(samples)


class StacksPixels(Sound):
    """Makes one array of images that differ in size."""

    def predict(self, samples: Sequence[Sample]) -> list[Any]:
        if samples:
            np.stack([one.image for one in samples])
        return super().predict(samples)


class FewAnswers(Sound):
    """Leaves samples without annotations out of its answer."""

    reads = (one_of("caption"),)

    def predict(self, samples: Sequence[Sample]) -> list[Any]:
        return [self.about(one) for one in samples if one.annotations]


class ThinImages(Sound):
    """Fails on images of one pixel."""

    def about(self, sample: Sample) -> list[Annotation]:
        step = sample.width // min(sample.width - 1, 10)
        return [tag(f"{step} {sample.image.mean():.0f}")]


class Outside(Sound):
    """Predicts a box that leaves the image."""

    produces = ("object_detection",)

    def about(self, sample: Sample) -> list[Annotation]:
        shift = float(sample.image[0, 0, 0] > 300)
        return [box(shift, 0.0, sample.width * 1.5 + 2, float(sample.height))]


class NoBox(Sound):
    """Predicts an object without a box."""

    produces = ("object_detection",)

    def about(self, sample: Sample) -> list[Annotation]:
        return [box(label=f"{sample.image.mean():.0f}")]


class BadScore(Sound):
    """Gives logits as scores."""

    produces = ("object_detection",)

    def about(self, sample: Sample) -> list[Annotation]:
        return [box(0.0, 0.0, 1.0, 1.0, score=float(sample.image.mean()))]


class OtherTask(Sound):
    """Predicts captions that it does not declare."""

    def about(self, sample: Sample) -> list[Annotation]:
        text = f"An image of tone {sample.image.mean():.0f}."
        return [Annotation(kind="text", task="caption", text=text)]


class NoParent(Sound):
    """Names a parent that is not there."""

    def about(self, sample: Sample) -> list[Annotation]:
        label = f"{sample.image.mean():.0f}"
        return [Annotation(kind="text", task="tag", label=label, parent_id="caption")]


class LongSpan(Sound):
    """Finds a phrase behind the end of its caption."""

    reads = (one_of("caption"),)
    produces = ("phrase_grounding",)

    def about(self, sample: Sample) -> list[Annotation]:
        bright = float(sample.image.mean()) / 255
        return [
            Annotation(
                kind="phrase",
                task="phrase_grounding",
                text="all",
                box_xyxy=(0.0, 0.0, 1.0, 1.0),
                span=(0, len(caption.text) + 4),
                parent_id=caption.id,
                score=bright,
            )
            for caption in sample.of("caption")
        ]


class Refuses(Sound):
    """Answers about no image."""

    def about(self, sample: Sample) -> list[Annotation]:
        raise SampleError("too_dark", f"an image of tone {sample.image.mean():.0f} is too dark")


class WritesPixels(Sound):
    """Writes into the pixels that it was given."""

    def about(self, sample: Sample) -> list[Annotation]:
        sample.image[0, 0] = 0
        return super().about(sample)


class UnlocksPixels(Sound):
    """Makes pixels writable and writes into them."""

    def about(self, sample: Sample) -> list[Annotation]:
        answer = super().about(sample)
        with suppress(ValueError):  # of memory that can never be written
            sample.image.setflags(write=True)
        return answer


class ListConfig(StageConfig):
    """Options with a list."""

    words: list[str] = Field(default_factory=list)
    """Words."""


class ChangesConfig(Sound):
    """Appends to a list of its config."""

    Config = ListConfig

    def about(self, sample: Sample) -> list[Annotation]:
        config: Any = self.config
        config.words.append("more")
        return super().about(sample)


class ChangesAnnotations(Sound):
    """Gives the annotations of others another text."""

    reads = (one_of("caption"),)

    def about(self, sample: Sample) -> list[Annotation]:
        for caption in sample.annotations:
            object.__setattr__(caption, "text", "changed")
        return super().about(sample)


class Counts(Sound):
    """Remembers how often it was asked."""

    calls = 0

    def predict(self, samples: Sequence[Sample]) -> list[Any]:
        self.calls += bool(samples)
        return [[*self.about(one), tag(f"call {self.calls // 2}")] for one in samples]


class OfTheProcess(Sound):
    """Answers by what a process happens to have."""

    def about(self, sample: Sample) -> list[Annotation]:
        return [*super().about(sample), tag(f"process {os.getpid()}")]


class Batchwise(Sound):
    """Compares an image with the others in its batch."""

    def predict(self, samples: Sequence[Sample]) -> list[Any]:
        tones = [one.image.mean() for one in samples]
        return [[tag("bright" if tone > np.mean(tones) else "dark")] for tone in tones]


class SwallowsErrors(Sound):
    """Tells of an image that cannot be decoded what it would tell of an empty one."""

    def about(self, sample: Sample) -> list[Annotation]:
        try:
            return super().about(sample)
        except SampleError:
            return []


class HidesErrors(Sound):
    """Makes an error of its own of that of an image."""

    def about(self, sample: Sample) -> list[Annotation]:
        try:
            return super().about(sample)
        except SampleError as error:
            raise ValueError("no pixels") from error


class ReadsMore(Sound):
    """Reads captions without declaring it."""

    def about(self, sample: Sample) -> list[Annotation]:
        return [*super().about(sample), *(tag(one.text) for one in sample.of("caption"))]


class ReadsNeighbours(Sound):
    """Declares that it answers about each caption alone, and counts all of them."""

    reads = (one_of("tag", "caption", "detailed_caption"),)
    each = ("tag", "caption", "detailed_caption")

    def about(self, sample: Sample) -> list[Annotation]:
        number = len(sample.annotations)
        bright = f"{sample.image.mean():.0f}"
        return [
            Annotation(kind="text", task="tag", label=f"{number} {bright}", parent_id=one.id)
            for one in sample.annotations
        ]


class KeepsLambda(Sound):
    """Has a function without a name, which no other process finds."""

    def __init__(self, config: StageConfig) -> None:
        super().__init__(config)
        self.scale = lambda value: value


class KeepsLock(Sound):
    """Has a lock, which belongs to one process."""

    def __init__(self, config: StageConfig) -> None:
        super().__init__(config)
        self.lock = threading.Lock()


class EndsItsProcess(Sound):
    """Ends every process but the one that made it."""

    def __init__(self, config: StageConfig) -> None:
        super().__init__(config)
        self.process = os.getpid()

    def load(self) -> None:
        if os.getpid() != self.process:
            os._exit(7)


class LateRevision(Sound):
    """Knows its model only once that is loaded."""

    found = ""

    def load(self) -> None:
        self.found = "abc"

    def revision(self) -> str:
        return self.found


class SoundFilter(Filter[StageConfig]):
    """Drops objects with a low score; the filters below derive from it."""

    reads = (one_of("object_detection"),)
    judges_by = "annotation"

    def judge(self, statements: Statements) -> Verdicts:
        verdicts = Verdicts(len(statements))
        where = statements.of_tasks(("object_detection",))
        verdicts.measure("score", statements.score, where)
        verdicts.drop(where & (statements.score < 0.8), "low_score")
        return verdicts


class SoundMeasure(SoundFilter):
    """Measures how wide objects are."""

    measured = ("width",)

    def measure(self, samples: Sequence[Sample]) -> list[Any]:
        return [[self.about(one) for one in sample.annotations] for sample in samples]

    def about(self, one: Annotation) -> Measurement:
        """Measure an object."""
        return Measurement(one.id, {"width": one.box_xyxy[2] - one.box_xyxy[0]})


class ReadsNothing(SoundFilter):
    """Reads no task."""

    reads = ()

    def judge(self, statements: Statements) -> Verdicts:
        return Verdicts(len(statements))


class UnusedMeasure(SoundFilter):
    """Has a `measure` that the engine never calls."""

    def measure(self, samples: Sequence[Sample]) -> list[list[Measurement]]:
        return [[] for _ in samples]


class UndeclaredNumber(SoundMeasure):
    """Measures a number that it does not declare."""

    def about(self, one: Annotation) -> Measurement:
        return Measurement(one.id, {"width": 1.0, "height": 1.0})


class InfiniteNumber(SoundMeasure):
    """Divides by zero."""

    def about(self, one: Annotation) -> Measurement:
        return Measurement(one.id, {"width": float("inf")})


class StrangeNumber(SoundMeasure):
    """Measures what it was not shown."""

    def about(self, one: Annotation) -> Measurement:
        return Measurement(one.label, {"width": 1.0})


class NeedsLoading(SoundMeasure):
    """Judges by what `load` brought."""

    def load(self) -> None:
        self.limit = 0.8

    def judge(self, statements: Statements) -> Verdicts:
        verdicts = Verdicts(len(statements))
        where = statements.of_tasks(("object_detection",))
        verdicts.drop(where & (statements.score < self.limit), "low_score")
        return verdicts


class JudgesOthers(SoundFilter):
    """Judges tasks that it does not read."""

    def judge(self, statements: Statements) -> Verdicts:
        verdicts = Verdicts(len(statements))
        verdicts.drop(statements.is_live & (statements.score < 0.8), "low_score")
        return verdicts


class LongReason(SoundFilter):
    """Gives a sentence as the reason."""

    def judge(self, statements: Statements) -> Verdicts:
        verdicts = Verdicts(len(statements))
        where = statements.of_tasks(("object_detection",))
        verdicts.drop(where & (statements.score < 0.8), "The score is low!")
        return verdicts


class NoVerdicts(SoundFilter):
    """Answers with a list."""

    def judge(self, statements: Statements) -> Any:
        return [True] * len(statements)


class WritesScores(SoundFilter):
    """Fills missing scores in."""

    def judge(self, statements: Statements) -> Verdicts:
        verdicts = super().judge(statements)
        statements.score[statements.of_tasks(("object_detection",))] = 0.0
        return verdicts


class ComparesSamples(SoundFilter):
    """Drops what is below the mean of the shard."""

    judges_by = "image"

    def judge(self, statements: Statements) -> Verdicts:
        verdicts = Verdicts(len(statements))
        where = statements.of_tasks(("object_detection",))
        widths = statements.box_xyxy[:, 2] - statements.box_xyxy[:, 0]
        if where.any():
            verdicts.drop(where & (widths < widths[where].mean()), "below_mean")
        return verdicts


class ComparesRows(SoundFilter):
    """Keeps one object of each image, though it says that it judges each alone."""

    def judge(self, statements: Statements) -> Verdicts:
        verdicts = Verdicts(len(statements))
        rows = np.flatnonzero(statements.of_tasks(("object_detection",)))
        _, first = np.unique(statements.sample[rows], return_index=True)
        where = np.zeros(len(statements), bool)
        where[np.delete(rows, first)] = True
        verdicts.drop(where, "not_the_first")
        return verdicts


class ComparesTasks(SoundFilter):
    """Judges objects by tags, which it does not read."""

    judges_by = "image"

    def judge(self, statements: Statements) -> Verdicts:
        verdicts = Verdicts(len(statements))
        tagged = set(statements.sample[statements.of_tasks(("tag",))].tolist())
        has_tag = np.isin(statements.sample, list(tagged))
        where = statements.of_tasks(("object_detection",))
        verdicts.drop(where & has_tag, "tagged")
        return verdicts


class Marked(StageConfig):
    """Options that are marked, each right where nothing reads it."""

    least_width: Annotated[float, THRESHOLD, Field(ge=0)] = 5.0
    """Pixels."""
    least: Annotated[dict[str, Annotated[float, Field(ge=0, le=1)]], THRESHOLD] = Field(default={})
    """By task."""
    is_fast: Annotated[bool, RUNTIME] = False
    """Whether it is fast."""
    tile: Annotated[int, RUNTIME, Field(ge=1)] = 512
    """Pixels."""


class Marks(SoundMeasure):
    """Has options with right marks: one is read when it is made, but only for `judge`."""

    Config: Any = Marked

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.options = config
        self.least_width = config.least_width

    def judge(self, statements: Statements) -> Verdicts:
        verdicts = Verdicts(len(statements))
        where = statements.of_tasks(("object_detection",))
        width = statements.measurements["width"]
        verdicts.drop(where & (width < self.least_width), "narrow")
        return verdicts


class ThresholdInMeasure(Marks):
    """Leaves narrow objects out of what is stored."""

    def measure(self, samples: Sequence[Sample]) -> list[Any]:
        least = self.options.least_width
        every = super().measure(samples)
        return [[one for one in rows if one.values["width"] > least] for rows in every]


class ThresholdInInit(Marks):
    """Measures by what it made of a threshold at first."""

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.unit = 1 + config.least_width / 100

    def about(self, one: Annotation) -> Measurement:
        return Measurement(one.id, {"width": (one.box_xyxy[2] - one.box_xyxy[0]) / self.unit})


class ThresholdByTask(Marks):
    """Measures by the threshold of a task, of which the default has none."""

    def about(self, one: Annotation) -> Measurement:
        least = self.options.least.get(one.task, 0.25)
        return Measurement(one.id, {"width": float(one.score > least)})


class RuntimeInMeasure(Marks):
    """Rounds when it is to be fast."""

    def about(self, one: Annotation) -> Measurement:
        width = one.box_xyxy[2] - one.box_xyxy[0]
        return Measurement(one.id, {"width": width // 10 if self.options.is_fast else width})


class RuntimeInJudge(Marks):
    """Judges nothing when it is to be fast."""

    def judge(self, statements: Statements) -> Verdicts:
        fast = self.options.is_fast
        return Verdicts(len(statements)) if fast else super().judge(statements)


class MarkedSpecialist(Sound):
    """Has options with right marks."""

    Config: Any = Marked

    def tone(self, sample: Sample) -> Any:
        """Return the mean colour of the first pixels."""
        config: Any = self.config
        return sample.image[: config.tile, : config.tile].mean()


class RuntimeInPredict(MarkedSpecialist):
    """Looks at one tile only."""

    def about(self, sample: Sample) -> list[Annotation]:
        return [tag(f"{self.tone(sample):.3f}")]


class ThresholdInPredict(MarkedSpecialist):
    """Predicts only what is wide enough."""

    def about(self, sample: Sample) -> list[Annotation]:
        config: Any = self.config
        return super().about(sample) if sample.width > config.least_width * 15 else []


class OptionsOfAMachine(StageConfig):
    """Options of which no other value can be tried everywhere."""

    folder: Annotated[str, RUNTIME] = "/tmp"
    """A folder."""
    only: Annotated[Literal["this"], THRESHOLD] = "this"
    """The only way."""


class Folders(Sound):
    """Has options that have no other value."""

    Config = OptionsOfAMachine


class DeviceConfig(StageConfig):
    """Options with a device."""

    device: Annotated[Literal["cpu", "cuda"], RUNTIME] = "cpu"
    """Where it runs."""


class OneDevice(Sound):
    """Can be loaded on one device only."""

    Config = DeviceConfig

    def load(self) -> None:
        config: Any = self.config
        if config.device == "cuda":
            raise RuntimeError("no driver")


class RuntimeInJudgeOnly(SoundFilter):
    """Judges by an option that is marked RUNTIME, and measures nothing."""

    Config: Any = Marked

    def judge(self, statements: Statements) -> Verdicts:
        config: Any = self.config
        verdicts = Verdicts(len(statements))
        where = statements.of_tasks(("object_detection",))
        verdicts.drop(where & (statements.box_xyxy[:, 2] > config.tile), "wide")
        return verdicts


class Outer:
    """Holds a class that moves."""

    class Inner(Sound):
        """Is not where its name leads."""


Hidden = Outer.Inner
del Outer.Inner


class RuntimeInScore(MarkedSpecialist):
    """Gives other scores when it is fast, by more than rounding."""

    produces = ("object_detection",)

    def about(self, sample: Sample) -> list[Annotation]:
        config: Any = self.config
        bright = float(sample.image.mean()) / 510
        return [box(0.0, 0.0, 1.0, 1.0, score=bright + 0.005 * config.is_fast)]


class RoundsBoxes(MarkedSpecialist):
    """Gives a box of another last decimal when it is fast, which is no fault."""

    produces = ("object_detection",)

    def about(self, sample: Sample) -> list[Annotation]:
        config: Any = self.config
        left = 0.1 + 0.01 * config.is_fast
        return [box(left, 0.0, 1.0, 1.0, score=float(sample.image.mean()) / 255)]


class Keyed(Sound):
    """Needs a key of the environment."""

    def load(self) -> None:
        self.key = os.environ["FLORILEGIUM_TEST_WORD"]


class PrintsSecret(Sound):
    """Has a key in the message of an error."""

    def load(self) -> None:
        raise ValueError("refused: api_key=sk-abcdefghij0123456789")


class RefusesTiny(Sound):
    """Refuses the whole batch for one tiny image, and depends on the batch."""

    def predict(self, samples: Sequence[Sample]) -> list[Any]:
        for one in samples:
            if min(one.width, one.height) < 2:
                raise SampleError("too_small", "an image of one pixel")
        tones = [float(one.image.mean()) for one in samples]
        return [[tag(f"{tone:.0f} of {len(samples)}")] for tone in tones]


class RefusesTinyByChance(RefusesTiny):
    """Refuses the whole batch for one tiny image, and gives another answer each time."""

    calls = 0

    def predict(self, samples: Sequence[Sample]) -> list[Any]:
        answers = super().predict(samples)
        self.calls += len(samples) > 1
        number = self.calls if len(samples) > 1 else 0
        return [[tag(f"{one[0].label.split()[0]} {number}")] for one in answers]


class KeepsAnswers(Batchwise):
    """Keeps its answers, so it has the same one later, which depended on the batch."""

    def load(self) -> None:
        self.known: dict[str, Any] = {}

    def predict(self, samples: Sequence[Sample]) -> list[Any]:
        answers = super().predict(samples)
        return [
            self.known.setdefault(one.sha256, answer)
            for one, answer in zip(samples, answers, strict=True)
        ]


class WordsConfig(StageConfig):
    """Options with two kinds of content."""

    weights: Annotated[str, CONTENT] = "tiny"
    """A folder."""
    words: Annotated[tuple[str, ...], CONTENT] = ("cat",)
    """Words."""


class UnreadWords(Sound):
    """Names the content of its weights, and not that of its words."""

    Config = WordsConfig

    def revision(self) -> str:
        config: Any = self.config
        return f"digest of {config.weights}"


class MissingWords(UnreadWords):
    """Names all of its content: it refuses words that are not there, which is no fault."""

    def revision(self) -> str:
        config: Any = self.config
        if config.words != ("cat",):
            raise ConfigError("there are no such words")
        return super().revision()


class WritesLabels(SoundFilter):
    """Writes labels in capitals."""

    def judge(self, statements: Statements) -> Verdicts:
        labels = statements.texts("label")
        labels[:] = [one.upper() for one in labels]
        return super().judge(statements)


class Lenient(BaseModel):
    """Limits of a task, with any key."""

    least: float = 0.5


class NestedConfig(StageConfig):
    """Options with others within."""

    limits: dict[str, tuple[Lenient, ...]] = Field(default={})
    """By task."""


class NestedUnknownKeys(Sound):
    """Has options within others that take unknown keys."""

    Config = NestedConfig

"""Small real stages for the engine's tests: they look at pixels and say little, or misbehave."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from florilegium.engine.core.annotation import Annotation
from florilegium.engine.core.errors import ConfigError, SampleError
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


class Brightest(Specialist[StageConfig]):
    """Says which box of a 2x2 grid is the brightest."""

    produces = ("object_detection",)

    def predict(self, samples: Sequence[Sample]) -> list[list[Annotation]]:
        return [[self._brightest(sample)] for sample in samples]

    def _brightest(self, sample: Sample) -> Annotation:
        height, width = sample.image.shape[:2]
        rows, columns = np.linspace(0, height, 3), np.linspace(0, width, 3)
        best = (-1.0, 0, 0)
        for row in range(2):
            for column in range(2):
                top, bottom = int(rows[row]), max(int(rows[row + 1]), int(rows[row]) + 1)
                left, right = int(columns[column]), max(int(columns[column + 1]), 1)
                patch = sample.image[top:bottom, left:right]
                mean = float(patch.mean()) if patch.size else 0.0
                best = max(best, (mean, row, column))
        mean, row, column = best
        box = (columns[column], rows[row], columns[column + 1], rows[row + 1])
        return Annotation(
            kind="region",
            task="object_detection",
            label="bright corner",
            box_xyxy=tuple(map(float, box)),
            score=mean / 255,
        )


class Describe(Specialist[StageConfig]):
    """Writes a caption from the boxes it reads."""

    reads = (one_of("object_detection"),)
    produces = ("caption",)

    def predict(self, samples: Sequence[Sample]) -> list[list[Annotation]]:
        return [
            [
                Annotation(
                    kind="text",
                    task="caption",
                    text=f"A picture with a {box.label}.",
                    language="en",
                    parent_id=box.id,
                )
                for box in sample.of("object_detection")
            ]
            for sample in samples
        ]


class Echo(Specialist[StageConfig]):
    """Repeats captions, those of the source too, as tags."""

    reads = (maybe("caption"),)
    produces = ("tag",)

    def predict(self, samples: Sequence[Sample]) -> list[list[Annotation]]:
        return [
            [
                Annotation(kind="text", task="tag", text=annotation.text, label=annotation.text)
                for annotation in sample.of("caption")
            ]
            for sample in samples
        ]


class Silent(Specialist[StageConfig]):
    """Says nothing and looks at nothing."""

    produces = ("tag",)

    def predict(self, samples: Sequence[Sample]) -> list[list[Annotation]]:
        return [[] for _ in samples]


class Unloadable(Silent):
    """Cannot be loaded."""

    def load(self) -> None:
        raise ConfigError("the weights are not there: fetch them first")


class Warns(Silent):
    """Logs a warning about each image, with a line that looks like an entry and a secret."""

    def predict(self, samples: Sequence[Sample]) -> list[list[Annotation]]:
        log = logging.getLogger("library.models")
        for sample in samples:
            log.warning("%s is dark\n2026-01-01 ERROR forged token=hf_%s", sample.key, "x" * 20)
            log.info("%s is asked", sample.key)
        return super().predict(samples)


class WarnsAndCannotLoad(Silent):
    """Logs a warning, then cannot be loaded."""

    def load(self) -> None:
        logging.getLogger("library.models").warning("an old format")
        raise ConfigError("the weights are not there")


class LoadsOnceConfig(StageConfig):
    """Where the loading is written down."""

    mark: str
    """A file that says that the stage was loaded."""


class LoadsOnce(Brightest):
    """Can be loaded only once, by whichever process."""

    Config = LoadsOnceConfig

    def load(self) -> None:
        config: Any = self.config
        with open(config.mark, "x", encoding="utf-8"):
            pass


class CountingConfig(StageConfig):
    """Where calls are written down."""

    log: str
    """A file that gets one line per image."""
    saying: str = "seen"
    """The caption of each image."""


class Counting(Specialist[CountingConfig]):
    """Writes down each image that it is asked about."""

    Config = CountingConfig
    produces = ("tag",)

    def predict(self, samples: Sequence[Sample]) -> list[list[Annotation]]:
        with open(self.config.log, "a", encoding="utf-8") as file:
            file.writelines(f"{sample.key}\n" for sample in samples)
        annotation = Annotation(
            kind="text", task="tag", text=self.config.saying, label=self.config.saying
        )
        return [[annotation] for _ in samples]


class WaitingConfig(CountingConfig):
    """What a stage waits for."""

    key: Annotated[str, RUNTIME]
    """The key of the image that takes its time."""
    allowed: Annotated[str, RUNTIME]
    """A file; once it exists, the image is answered."""


class Waiting(Counting):
    """Waits at one image until a file exists."""

    Config = WaitingConfig

    def predict(self, samples: Sequence[Sample]) -> list[list[Annotation]]:
        config: Any = self.config
        answers = super().predict(samples)
        while any(one.key == config.key for one in samples) and not os.path.exists(config.allowed):
            threading.Event().wait(0.05)
        return answers


class TroubleConfig(StageConfig):
    """How a stage misbehaves."""

    key: str
    """The key of the image it cannot stand."""
    how: str = "raise"
    """`raise`, `die`, `nan`, `outside`, `count` or `score`."""


class Trouble(Specialist[TroubleConfig]):
    """Misbehaves on one image."""

    Config = TroubleConfig
    produces = ("object_detection",)

    def predict(self, samples: Sequence[Sample]) -> list[list[Annotation]]:
        answers = [self._say(sample) for sample in samples]
        guilty = any(sample.key == self.config.key for sample in samples)
        return [*answers, []] if guilty and self.config.how == "count" else answers

    def _say(self, sample: Sample) -> list[Annotation]:
        box, score = (0.0, 0.0, float(sample.width), float(sample.height)), 0.5
        if sample.key == self.config.key:
            match self.config.how:
                case "raise":
                    raise ValueError("this image is not to my taste")
                case "refuse":
                    raise SampleError("too_ugly", "this image is not to my taste")
                case "die":
                    os._exit(13)
                case "nan":
                    box = (float("nan"), 0.0, 1.0, 1.0)
                case "outside":
                    box = (sample.width + 5.0, 0.0, sample.width + 9.0, 1.0)
                case "score":
                    score = 1.5
        return [
            Annotation(
                kind="region", task="object_detection", label="all", box_xyxy=box, score=score
            )
        ]


class MoodyConfig(StageConfig):
    """What a stage waits for."""

    key: str
    """The key of the image that it refuses."""
    allowed: str
    """A file; once it exists, the image is accepted."""


class Moody(Brightest):
    """Refuses one image until a file exists."""

    Config = MoodyConfig

    def predict(self, samples: Sequence[Sample]) -> list[list[Annotation]]:
        config: Any = self.config
        if any(sample.key == config.key for sample in samples) and not os.path.exists(
            config.allowed
        ):
            raise SampleError("not_now", "ask again later")
        return super().predict(samples)


class FickleConfig(StageConfig):
    """Which images a stage refuses today."""

    refused: str
    """A file with the keys of the images, a line each."""


class Fickle(Brightest):
    """Refuses the images that a file names, today."""

    Config = FickleConfig

    def predict(self, samples: Sequence[Sample]) -> list[Any]:
        config: Any = self.config
        with open(config.refused, encoding="utf-8") as file:
            refused = file.read().split()
        return [
            SampleError("not_today", "ask again another day")
            if sample.key in refused
            else [self._brightest(sample)]
            for sample in samples
        ]


class BrightEnoughConfig(StageConfig):
    """What is bright enough."""

    minimum: Annotated[float, THRESHOLD, Field(ge=0, le=1)] = 0.5
    """Least score that is kept."""
    log: str = ""
    """A file that gets one line per measured image."""


class BrightEnough(Filter[BrightEnoughConfig]):
    """Keeps bright boxes; measures first, to show that a threshold costs no measuring."""

    Config = BrightEnoughConfig
    judges_by = "annotation"
    reads = (one_of("object_detection"),)
    measured = ("brightness",)

    def measure(self, samples: Sequence[Sample]) -> list[list[Measurement]]:
        if self.config.log:
            with open(self.config.log, "a", encoding="utf-8") as file:
                file.writelines(f"{sample.key}\n" for sample in samples)
        return [
            [
                Measurement(annotation.id, {"brightness": annotation.score or 0.0})
                for annotation in sample.of("object_detection")
            ]
            for sample in samples
        ]

    def judge(self, statements: Statements) -> Verdicts:
        verdicts = Verdicts(len(statements))
        where = statements.of_tasks(("object_detection",))
        brightness = statements.measurements["brightness"]
        verdicts.measure("brightness", brightness, where)
        verdicts.drop(where & (brightness < self.config.minimum), "too_dark")
        return verdicts


class First(Specialist[StageConfig]):
    """Reads what `Second` says: together they go in a circle."""

    reads = (one_of("caption"),)
    produces = ("object_detection",)

    def predict(self, samples: Sequence[Sample]) -> list[list[Annotation]]:
        return [[] for _ in samples]


class Second(Describe):
    """Reads what `First` says."""


not_a_stage: Any = object()


class Meeting(Brightest):
    """Goes on when two calls are in one worker at the same time."""

    calls_at_once = 2

    def load(self) -> None:
        self._barrier = threading.Barrier(2)

    def predict(self, samples: Sequence[Sample]) -> list[list[Annotation]]:
        self._barrier.wait(timeout=60)
        return super().predict(samples)


class Taking(Trouble):
    """Takes the call beside it along when it dies of its image."""

    calls_at_once = 2

    def load(self) -> None:
        self._is_dying = threading.Event()
        self._meeting = threading.Barrier(2)

    def predict(self, samples: Sequence[Sample]) -> list[list[Annotation]]:
        is_guilty = any(sample.key == self.config.key for sample in samples)
        if is_guilty:
            self._is_dying.set()
        with suppress(threading.BrokenBarrierError):  # nobody came: it is alone
            self._meeting.wait(timeout=1)
        if not is_guilty and self._is_dying.is_set():
            threading.Event().wait(timeout=60)
        return super().predict(samples)


class Sighted(Counting):
    """Writes down which GPUs its process sees."""

    def predict(self, samples: Sequence[Sample]) -> list[list[Annotation]]:
        with open(self.config.log, "a", encoding="utf-8") as file:
            file.write(f"{os.environ.get('CUDA_VISIBLE_DEVICES', 'all')!r}\n")
        return [[] for _ in samples]


class Imported(Counting):
    """Writes down which modules its process has imported, each once."""

    def predict(self, samples: Sequence[Sample]) -> list[list[Annotation]]:
        names = {name.partition(".")[0] for name in sys.modules}
        with open(self.config.log, "w", encoding="utf-8") as file:
            file.write("\n".join(sorted(names)))
        return [[] for _ in samples]


class Remote(Counting):
    """Waits for a service elsewhere; logs the process that does it."""

    is_remote = True

    def predict(self, samples: Sequence[Sample]) -> list[list[Annotation]]:
        with open(self.config.log, "a", encoding="utf-8") as file:
            file.write(f"{os.getpid()}\n")
        return [[] for _ in samples]


class Doubtful(Brightest):
    """Nobody should learn from it."""

    def caveat(self) -> str:
        return "random weights"


class KilledConfig(StageConfig):
    """When the process is killed."""

    mark: str
    """A file; until it exists, the process makes it and is killed, as for its memory."""


def _be_killed_once(mark: str) -> None:
    with suppress(FileExistsError), open(mark, "x", encoding="utf-8"):
        os.kill(os.getpid(), signal.SIGKILL)


class Killed(Brightest):
    """Is killed once in the middle of a call, whatever the image is."""

    Config = KilledConfig

    def predict(self, samples: Sequence[Sample]) -> list[list[Annotation]]:
        config: Any = self.config
        _be_killed_once(config.mark)
        return super().predict(samples)


class KilledJudge(BrightEnough):
    """Is killed once in the middle of publishing a shard."""

    class Config(BrightEnoughConfig, KilledConfig):
        """What is bright enough, and when the process is killed."""

    def judge(self, statements: Statements) -> Verdicts:
        config: Any = self.config
        _be_killed_once(config.mark)
        return super().judge(statements)

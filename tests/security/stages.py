"""Stages that never come back, end their process or take all memory, at one image."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import repeat

from florilegium.engine.core.annotation import Annotation
from florilegium.engine.core.judgement import Statements, Verdicts
from florilegium.engine.core.sample import DeadLetter, Sample
from florilegium.engine.core.stage import Filter, Specialist, StageConfig
from florilegium.engine.sources.folder import FolderSource
from florilegium.engine.sources.source import Item, Reading

FOREVER_S = 10_000
MB = 1 << 20


def sleep() -> None:
    """Wait, as for a service that never answers."""
    time.sleep(FOREVER_S)


def loop() -> None:
    """Never end, in Python."""
    while True:
        pass


def compute() -> None:
    """Never end in C code, and never give Python a turn."""
    sum(range(10**15))


def wait() -> None:
    """Wait for another process."""
    subprocess.run(["sleep", str(FOREVER_S)], check=False)


def die() -> None:
    """End the process."""
    os._exit(7)


def stop() -> None:
    """Stop the process, as a debugger does: no timer ends it."""
    os.kill(os.getpid(), signal.SIGSTOP)


def leave() -> None:
    """End the process, and leave a child behind that has all its files open."""
    if not os.fork():
        time.sleep(FOREVER_S)
    os._exit(7)


def feed() -> None:
    """Take memory in a process of its own."""
    code = f"held = b'x' * {700 * MB}; import time; time.sleep({FOREVER_S})"
    subprocess.run([sys.executable, "-c", code], check=False)


def grow() -> None:
    """Take memory, and wait with it."""
    held = b"x" * (700 * MB)
    time.sleep(FOREVER_S)
    del held


ATTACKS: dict[str, Callable[[], None]] = {
    one.__name__: one for one in (sleep, loop, compute, wait, die, stop, leave, feed, grow)
}


class GuiltyConfig(StageConfig):
    """What happens at which image."""

    key: str
    """The image."""
    how: str
    """One of `ATTACKS`."""
    log: str = ""
    """A file that gets a line per image."""


class Guilty(Specialist[GuiltyConfig]):
    """Tags images; at one of them it attacks."""

    Config = GuiltyConfig
    produces = ("tag",)

    def predict(self, samples: Sequence[Sample]) -> list[list[Annotation]]:
        if self.config.log:
            with open(self.config.log, "a", encoding="utf-8") as file:
                file.writelines(f"{sample.key}\n" for sample in samples)
        if any(sample.key == self.config.key for sample in samples):
            ATTACKS[self.config.how]()
        return [[Annotation(kind="text", task="tag", label="seen")] for _ in samples]


class Endless(list[Annotation]):
    """An answer that never ends."""

    def __iter__(self) -> Iterator[Annotation]:
        return repeat(Annotation(kind="text", task="tag", label="seen"))


class Rambling(Guilty):
    """Answers without end at one image."""

    def predict(self, samples: Sequence[Sample]) -> list[list[Annotation]]:
        return [Endless() if one.key == self.config.key else [] for one in samples]


class LeakingConfig(StageConfig):
    """How much is lost."""

    leaked_mb: int = 60
    """MiB that each image costs for good."""
    log: str = os.devnull
    """A file that gets the process of each image."""


class Leaking(Specialist[LeakingConfig]):
    """Forgets to give memory back."""

    Config = LeakingConfig
    produces = ("tag",)

    def load(self) -> None:
        self._kept: list[bytes] = []

    def predict(self, samples: Sequence[Sample]) -> list[list[Annotation]]:
        for _ in samples:
            self._kept.append(b"x" * (self.config.leaked_mb * MB))
        with open(self.config.log, "a", encoding="utf-8") as file:
            file.writelines(f"{os.getpid()}\n" for _ in samples)
        return [[Annotation(kind="text", task="tag", label="seen")] for _ in samples]


class SleepingSource(FolderSource):
    """A folder one of whose files never comes."""

    attack = staticmethod(sleep)

    def read(self, item: Item) -> Iterator[Reading | DeadLetter]:
        if item.location == "cup.jpg":
            self.attack()
        yield from super().read(item)


class ComputingSource(SleepingSource):
    """A folder with a file that a decoder in C never finishes."""

    attack = staticmethod(compute)


class DyingSource(SleepingSource):
    """A folder with a file that crashes its reader."""

    attack = staticmethod(die)


class NeverLoaded(Guilty):
    """Attacks while it is loaded."""

    def load(self) -> None:
        ATTACKS[self.config.how]()


class Heavy(Leaking):
    """Takes memory when it is loaded."""

    def load(self) -> None:
        self._kept = [b"x" * (700 * MB)]


class Unjudging(Filter[StageConfig]):
    """Fails where no image is to blame."""

    def judge(self, statements: Statements) -> Verdicts:
        return Verdicts(len(statements) // 0)

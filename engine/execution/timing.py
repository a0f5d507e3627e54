"""When something began, and how long stages took in a call of a worker, batch by batch."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from florilegium.engine.core.spent import Spent


@dataclass(frozen=True, kw_only=True)
class Moment:
    """When something began: in seconds since 1970, and by a clock that never steps."""

    wall_s: float
    steady_s: float

    @classmethod
    def now(cls) -> Moment:
        """Return this moment."""
        return cls(wall_s=time.time(), steady_s=time.perf_counter())

    @property
    def seconds(self) -> float:
        """Seconds since then."""
        return time.perf_counter() - self.steady_s


@dataclass(frozen=True, kw_only=True)
class StageTiming:
    """What a stage did in one call: the samples and the seconds of each batch, in their order.

    `started_s` is in seconds since 1970, by the clock of the worker. A batch that raised was asked
    again image by image: its seconds include that. `failures` counts its samples without an answer,
    `spent` what a service was paid since the call of this stage before it, in the same worker.
    `reused` counts samples about which layers under other gates had every answer.
    """

    stage: str
    started_s: float
    batch_samples: tuple[int, ...]
    batch_seconds: tuple[float, ...]
    failures: int
    spent: Spent
    reused: int = 0

    @property
    def samples(self) -> int:
        """Samples that the stage was asked about."""
        return sum(self.batch_samples)

    @property
    def seconds(self) -> float:
        """Seconds that it took for them."""
        return sum(self.batch_seconds)


@dataclass(kw_only=True)
class Stopwatch:
    """Times the batches of one stage in one call."""

    started_s: float = 0.0
    samples: list[int] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    failures: int = 0
    reused: int = 0

    def start(self) -> float:
        """Return the start of a batch, for `stop`."""
        if not self.samples:
            self.started_s = time.time()
        return time.perf_counter()

    def stop(self, began_s: float, *, samples: int, failures: int) -> None:
        """Count a batch that began at `began_s`, with those of its samples that have no answer."""
        self.seconds.append(time.perf_counter() - began_s)
        self.samples.append(samples)
        self.failures += failures

    def timing(self, stage: str, spent: Spent) -> StageTiming:
        """Return what was timed."""
        return StageTiming(
            stage=stage,
            started_s=self.started_s,
            batch_samples=tuple(self.samples),
            batch_seconds=tuple(self.seconds),
            failures=self.failures,
            spent=spent,
            reused=self.reused,
        )

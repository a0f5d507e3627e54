"""What happens in a run, as facts for observers.

`Progress` counts them for displays; exporters of metrics and traces are observers, too. Facts are
plain values without keys or bytes of samples. Nothing here knows how they are shown or sent.
"""

from __future__ import annotations

import logging
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from florilegium.engine.core.errors import WorkerDied
from florilegium.engine.execution.timing import StageTiming
from florilegium.engine.results.manifest import Manifest
from florilegium.engine.results.publication import ShardStats

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class RunStarted:
    """A run begins. `sources` and `output` are URLs without secrets; `started_s` is in seconds
    since 1970; `step` is the step of a longer job that this run is."""

    sources: tuple[str, ...]
    output: str
    recipe: str
    runner: str
    step: str = ""
    started_s: float = field(default_factory=time.time)


@dataclass(frozen=True, kw_only=True)
class ShardsSkipped:
    """Shards were finished before this run, with so many samples and dead letters."""

    shards: int
    samples: int
    dead_letters: int


@dataclass(frozen=True, kw_only=True)
class WorkFound:
    """The shards that the run works on were counted; `stages` are those with answers of their own,
    in the order in which they run."""

    shards: int
    stages: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class WorkersStarted:
    """The runner has its workers, or waits for them; under Ray, this process is connected."""


@dataclass(frozen=True, kw_only=True)
class ShardOpened:
    """A shard was read. `unread` of its `inputs` became no samples; `answered` counts, by stage,
    the samples whose answers were stored before. `started_s` is when reading began."""

    shard: str
    inputs: int
    unread: int
    answered: Mapping[str, int]
    started_s: float
    seconds: float


@dataclass(frozen=True, kw_only=True)
class ShardRestarted:
    """A shard starts again, as its bytes were lost or did not fit into shared memory."""

    shard: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class ShardMeasured:
    """A shard was measured for a sample filter that compares; it is opened again afterwards."""

    shard: str


@dataclass(frozen=True, kw_only=True)
class CallFinished:
    """A worker came back from a call of some stages. `seconds` is what the driver waited, for a
    free worker and a model that was loaded, too; `timings` are those of the worker, which gave the
    answers after `repeats` others were gone with their nodes."""

    shard: str
    pool: str
    stages: tuple[str, ...]
    samples: int
    started_s: float
    seconds: float
    timings: tuple[StageTiming, ...]
    repeats: int = 0


@dataclass(frozen=True, kw_only=True)
class SamplesAnswered:
    """A stage is through with some samples of a shard, those that it failed on included."""

    shard: str
    stage: str
    samples: int


@dataclass(frozen=True, kw_only=True)
class WorkerLost:
    """A worker died during a call, or was ended because of a limit. `stages` are those of the call,
    none where it was reading; `samples` is their number."""

    shard: str
    pool: str
    stages: tuple[str, ...]
    samples: int
    reason: str
    message: str

    @classmethod
    def of(
        cls,
        error: WorkerDied,
        shard: str,
        pool: str,
        *,
        stages: Sequence[str] = (),
        samples: int = 0,
    ) -> WorkerLost:
        """Return the loss that an error is about."""
        return cls(
            shard=shard,
            pool=pool,
            stages=tuple(stages),
            samples=samples,
            reason=error.reason,
            message=str(error),
        )


@dataclass(frozen=True, kw_only=True)
class PoolLoad:
    """The calls of a pool: `width` can run at once, `calls` are wanted now."""

    pool: str
    width: int
    calls: int

    @property
    def running(self) -> int:
        """Calls that run, or load their models."""
        return min(self.calls, self.width)

    @property
    def queued(self) -> int:
        """Calls that wait for a free worker."""
        return self.calls - self.running


@dataclass(frozen=True, kw_only=True)
class PoolsSeen:
    """A look at all pools, every few seconds; `waiting` names what workers wait for, or is ""."""

    pools: tuple[PoolLoad, ...]
    waiting: str


@dataclass(frozen=True, kw_only=True)
class ShardFinished:
    """A shard was published, or was found to be up to date; `started_s` is when it was begun."""

    shard: str
    stats: ShardStats
    started_s: float
    seconds: float


@dataclass(frozen=True, kw_only=True)
class RunFinished:
    """The run did all that it had to do. `manifest` is that of the dataset that it put in place;
    `None` where it put none there: a slice, a whole refinement (its steps do), a refresh whose
    version `is_held_back`."""

    manifest: Manifest | None
    is_held_back: bool = False


@dataclass(frozen=True, kw_only=True)
class RunFailed:
    """The run ended with an error."""

    error: BaseException


@dataclass(frozen=True, kw_only=True)
class RunStopped:
    """A person or the system stopped the run, by Ctrl-C or a signal."""


Fact = (
    RunStarted
    | ShardsSkipped
    | WorkFound
    | WorkersStarted
    | ShardOpened
    | ShardRestarted
    | ShardMeasured
    | CallFinished
    | SamplesAnswered
    | WorkerLost
    | PoolsSeen
    | ShardFinished
    | RunFinished
    | RunFailed
    | RunStopped
)


class Observer(ABC):
    """Receives the facts of a run in their order, in the thread of the run: it must be quick."""

    @abstractmethod
    def observe(self, fact: Fact) -> None:
        """Take note of a fact; of facts that do not matter to it, an observer takes none.

        After `RunFinished`, `RunFailed` or `RunStopped` nothing comes: what was collected is to be
        delivered then, within seconds.
        """


class Observers(Observer):
    """Several observers as one. An optional one that raises gets no further facts, and a warning is
    logged: what cannot be shown is no reason to end a run."""

    def __init__(self, *required: Observer, optional: Sequence[Observer] = ()) -> None:
        self._required = required
        self._optional = list(optional)

    def observe(self, fact: Fact) -> None:
        for observer in self._required:
            observer.observe(fact)
        for observer in tuple(self._optional):
            try:
                observer.observe(fact)
            except Exception:
                self._optional.remove(observer)
                what = "%s failed at %s and gets no further facts"
                _log.warning(what, type(observer).__name__, type(fact).__name__, exc_info=True)


@contextmanager
def observed(observer: Observer, started: RunStarted) -> Iterator[Observer]:
    """Report the start of a run, and an end other than `RunFinished`; yield the observer."""
    observer.observe(started)
    try:
        yield observer
    except Exception as error:
        observer.observe(RunFailed(error=error))
        raise
    except BaseException:
        observer.observe(RunStopped())
        raise

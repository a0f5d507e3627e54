"""What a run has done so far, counted from its facts. Displays read it; nothing here prints."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field

from florilegium.engine.execution.observer import (
    CallFinished,
    Fact,
    Observer,
    PoolsSeen,
    SamplesAnswered,
    ShardFinished,
    ShardMeasured,
    ShardOpened,
    ShardRestarted,
    ShardsSkipped,
    WorkersStarted,
    WorkFound,
)


@dataclass
class Progress(Observer):
    """Counters of a run. `answered` counts samples by stage name: `asked` in calls of this run, and
    `reused` as their answers were stored before it.

    `shards`, `inputs` and `dead_letters` are those of the shards that this run works on, those
    with `_before` of shards that were finished before. `unread` are inputs that became no samples,
    so no stage is asked about them.
    """

    shards: int = 0
    shards_done: int = 0
    shards_before: int = 0
    inputs: int = 0
    inputs_before: int = 0
    unread: int = 0
    samples: int = 0
    dead_letters: int = 0
    answered: Counter[str] = field(default_factory=Counter)
    asked: Counter[str] = field(default_factory=Counter)
    reused: Counter[str] = field(default_factory=Counter)
    stages: tuple[str, ...] = ()
    started_s: float = field(default_factory=time.monotonic)
    current: str = "listing the source"
    waiting: str = ""
    """What the run waits for, such as GPUs that others hold."""
    notes: list[str] = field(default_factory=list)
    """Remarks on the run for people, from the first one on."""
    step: str = ""
    """The step of a longer job that this run is, such as a round of refinement."""
    _trained: dict[str, str] = field(default_factory=dict)
    _open: dict[str, _Open] = field(default_factory=dict)
    _restarted: set[str] = field(default_factory=set)

    def observe(self, fact: Fact) -> None:
        match fact:
            case ShardsSkipped():
                self.shards_before += fact.shards
                self.inputs_before += fact.samples + fact.dead_letters
                self.dead_letters += fact.dead_letters
            case WorkFound():
                self.shards, self.stages = fact.shards, fact.stages
            case WorkersStarted():
                self.current = ""
            case ShardOpened():
                self.open(fact.shard, inputs=fact.inputs, unread=fact.unread)
                for stage, samples in fact.answered.items():
                    self.answer(fact.shard, stage, samples)
                if fact.shard not in self._restarted:  # else the answers are those of this run, too
                    self.reused.update(fact.answered)
            case CallFinished():
                for timing in fact.timings:
                    self.asked[timing.stage] += timing.samples
                    self.reused[timing.stage] += timing.reused
            case SamplesAnswered():
                self.answer(fact.shard, fact.stage, fact.samples)
            case ShardRestarted() | ShardMeasured():
                self.close(fact.shard, is_done=False)
                self._restarted.add(fact.shard)
            case ShardFinished(stats=stats):
                self.close(fact.shard, is_done=True)
                self.finish(samples=stats.samples, dead_letters=len(stats.dead_letters))
            case PoolsSeen():
                self.waiting = fact.waiting
            case _:
                pass  # nothing of it is shown

    def open(self, shard: str, *, inputs: int, unread: int) -> None:
        """Count the inputs of a shard that was read."""
        self._open[shard] = _Open(inputs=inputs, unread=unread)
        self.inputs += inputs
        self.unread += unread

    def answer(self, shard: str, stage: str, samples: int) -> None:
        """Count samples of an open shard that a stage has answered, or had answered before."""
        self._open[shard].answered[stage] += samples
        self.answered[stage] += samples

    def close(self, shard: str, *, is_done: bool) -> None:
        """Keep the counts of a finished shard, or take them back when the shard starts again."""
        counts = self._open.pop(shard, None)
        if counts and not is_done:
            self.inputs -= counts.inputs
            self.unread -= counts.unread
            for stage, samples in counts.answered.items():
                self.answered[stage] -= samples

    def finish(self, *, samples: int, dead_letters: int) -> None:
        """Count a finished shard."""
        self.shards_done += 1
        self.samples += samples
        self.dead_letters += dead_letters

    def prepare(self, model: str, doing: str) -> None:
        """Show what a training does before its first steps."""
        self._trained[model] = f"{model}: {doing}"
        self.current = self.trained

    def train(self, model: str, step: int, steps: int, loss: float) -> None:
        """Count a step of training; several models may train at once."""
        self._trained[model] = f"{model}: step {step} of {steps}, loss {loss:.3f}"
        self.current = self.trained

    @property
    def trained(self) -> str:
        """How far each model is that is trained."""
        return "; ".join(self._trained[name] for name in sorted(self._trained))

    @property
    def elapsed_s(self) -> float:
        """Seconds since the run started."""
        return time.monotonic() - self.started_s

    @property
    def total(self) -> int:
        """Inputs of all shards that were looked at so far, those done before included."""
        return self.inputs_before + self.inputs

    def through(self, stage: str) -> int:
        """Return the inputs that a stage is done with, `total` at the end of a run."""
        return self.inputs_before + self.unread + self.answered[stage]

    @property
    def images(self) -> int:
        """Images through the slowest stage in this run."""
        return min((self.answered[name] for name in self.stages), default=self.inputs)

    @property
    def images_per_s(self) -> float:
        """Images through the slowest stage, per second."""
        return self.images / max(self.elapsed_s, 1e-9)

    @property
    def remaining_s(self) -> float | None:
        """Seconds to go, from the shards done in this run; `None` before the first one."""
        if not self.shards_done:
            return None
        return self.elapsed_s / self.shards_done * (self.shards - self.shards_done)


@dataclass
class _Open:
    """What was counted of a shard that is not finished."""

    inputs: int
    unread: int
    answered: Counter[str] = field(default_factory=Counter)

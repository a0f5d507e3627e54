"""What a run has done so far, counted. Displays read it; nothing here prints."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field


@dataclass
class Progress:
    """Counters of a run. `answered` counts samples by stage name."""

    shards: int = 0
    shards_done: int = 0
    inputs: int = 0
    samples: int = 0
    dead_letters: int = 0
    answered: Counter[str] = field(default_factory=Counter)
    stages: tuple[str, ...] = ()
    started_s: float = field(default_factory=time.monotonic)
    current: str = "listing the source"
    notes: list[str] = field(default_factory=list)
    """What people should know about the run; said once."""
    step: str = ""
    """The step of a longer job that this run is, such as a round of refinement."""
    _trained: dict[str, str] = field(default_factory=dict)

    def finish(self, *, samples: int, dead_letters: int) -> None:
        """Count a finished shard."""
        self.shards_done += 1
        self.samples += samples
        self.dead_letters += dead_letters

    def train(self, who: str, step: int, steps: int, loss: float) -> None:
        """Count a step of the training of a model, one of several perhaps."""
        self._trained[who] = f"{who}: step {step} of {steps}, loss {loss:.3f}"
        self.current = "; ".join(self._trained[name] for name in sorted(self._trained))

    @property
    def elapsed_s(self) -> float:
        """Seconds since the run started."""
        return time.monotonic() - self.started_s

    @property
    def images_per_s(self) -> float:
        """Images through the slowest stage, per second."""
        slowest = min((self.answered[name] for name in self.stages), default=self.inputs)
        return slowest / max(self.elapsed_s, 1e-9)

    @property
    def remaining_s(self) -> float | None:
        """Seconds to go, from the shards done in this run; `None` before the first one."""
        if not self.shards_done:
            return None
        return self.elapsed_s / self.shards_done * (self.shards - self.shards_done)

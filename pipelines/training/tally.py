"""Losses and examples by task, over all workers.

Sums are kept, so that they can be stored in a checkpoint and go on after it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field


@dataclass(kw_only=True)
class Tally:
    """Examples so far by task; and since `restart`, the sum of the losses and of the tokens."""

    examples: dict[str, int] = field(default_factory=dict)
    losses: dict[str, float] = field(default_factory=dict)
    tokens: dict[str, int] = field(default_factory=dict)

    def add(self, tasks: Iterable[str], losses: Iterable[float], tokens: Iterable[int]) -> None:
        """Count the examples of a batch: task, summed loss and number of tokens of each."""
        for task, loss, count in zip(tasks, losses, tokens, strict=True):
            self.examples[task] = self.examples.get(task, 0) + 1
            self.losses[task] = self.losses.get(task, 0.0) + loss
            self.tokens[task] = self.tokens.get(task, 0) + count

    def restart(self) -> None:
        """Forget the losses, not the examples."""
        self.losses.clear()
        self.tokens.clear()

    def means(self) -> dict[str, float]:
        """Return the mean loss per token by task."""
        return {task: self.losses[task] / self.tokens[task] for task in sorted(self.losses)}

    def state(self) -> dict[str, Mapping[str, float]]:
        """Return the sums, as JSON values."""
        return asdict(self)

    @classmethod
    def of_all_workers(cls, own: Tally) -> Tally:
        """Return the sum over all workers; each of them must call it."""
        import torch.distributed as dist

        if not dist.is_initialized() or dist.get_world_size() == 1:
            return cls(**{name: dict(sums) for name, sums in asdict(own).items()})
        tallies: list[Tally] = [own] * dist.get_world_size()
        dist.all_gather_object(tallies, own)
        total = cls()
        for one in tallies:
            for name, sums in asdict(one).items():
                there = getattr(total, name)
                for task, value in sums.items():
                    there[task] = there.get(task, 0) + value
        return total

"""Sums of losses, tokens and examples by task, over all workers; stored in checkpoints."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field


@dataclass(kw_only=True)
class LossTally:
    """The number of examples by task; sums of losses and of tokens since the last `restart`."""

    examples: dict[str, int] = field(default_factory=dict)
    losses: dict[str, float] = field(default_factory=dict)
    tokens: dict[str, int] = field(default_factory=dict)

    def add(self, tasks: Iterable[str], losses: Iterable[float], tokens: Iterable[int]) -> None:
        """Add the examples of a batch: task, summed loss and number of tokens of each."""
        for task, loss, count in zip(tasks, losses, tokens, strict=True):
            self.examples[task] = self.examples.get(task, 0) + 1
            self.losses[task] = self.losses.get(task, 0.0) + loss
            self.tokens[task] = self.tokens.get(task, 0) + count

    def restart(self) -> None:
        """Reset losses and tokens, not the examples."""
        self.losses.clear()
        self.tokens.clear()

    def means(self) -> dict[str, float]:
        """Return the mean loss per token by task."""
        return {task: self.losses[task] / self.tokens[task] for task in sorted(self.losses)}

    def state(self) -> dict[str, Mapping[str, float]]:
        """Return the sums, as JSON values."""
        return asdict(self)

    @classmethod
    def of_all_workers(cls, own: LossTally) -> LossTally:
        """Return the sum over all workers; a collective call: each worker must make it."""
        import torch.distributed as dist

        if not dist.is_initialized() or dist.get_world_size() == 1:
            return cls(**{name: dict(sums) for name, sums in asdict(own).items()})
        tallies: list[LossTally] = [own] * dist.get_world_size()
        dist.all_gather_object(tallies, own)
        total = cls()
        for one in tallies:
            for name, sums in asdict(one).items():
                sum_by_task = getattr(total, name)
                for task, value in sums.items():
                    sum_by_task[task] = sum_by_task.get(task, 0) + value
        return total

"""What a run asked of its stages, and what services were paid: an observer that adds up."""

from __future__ import annotations

from collections import Counter

from engine.execution.observer import CallFinished, Fact, Observer
from pipelines.dataset.refreshed import VersionCost

_DECIMALS = 9


class Spending(Observer):
    """Adds up what workers report after each call; what one that died had spent since its last
    report is not known."""

    def __init__(self) -> None:
        self._counts = {name: Counter[str]() for name in ("asked", "requests", "tokens")}
        self._money: dict[str, float] = {}

    def observe(self, fact: Fact) -> None:
        if not isinstance(fact, CallFinished):
            return
        for timing in fact.timings:
            stage, spent = timing.stage, timing.spent
            self._counts["asked"][stage] += timing.samples
            self._counts["requests"][stage] += spent.requests
            self._counts["tokens"][stage] += spent.tokens
            self._money[stage] = self._money.get(stage, 0.0) + spent.cost

    @property
    def spent(self) -> VersionCost:
        """What was spent so far; stages that spent nothing are left out."""
        counts = {name: dict(sorted((+one).items())) for name, one in self._counts.items()}
        money = {name: round(one, _DECIMALS) for name, one in sorted(self._money.items()) if one}
        return VersionCost(**counts, money=money)

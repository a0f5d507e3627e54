"""What a stage has spent at a service."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Spent:
    """Requests whose outcome is known, tokens in and out together, and their price, in the currency
    of the stage's prices."""

    requests: int = 0
    tokens: int = 0
    cost: float = 0.0

    def since(self, before: Spent) -> Spent:
        """Return what was spent after an earlier count."""
        return Spent(
            requests=self.requests - before.requests,
            tokens=self.tokens - before.tokens,
            cost=self.cost - before.cost,
        )

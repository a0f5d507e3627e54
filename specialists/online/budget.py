"""What a stage may spend in one run: requests, tokens, money.

Room is reserved before a request is sent, so that requests in flight cannot overshoot together.
Knows neither what is asked nor who answers.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from engine.execution.answer import BUDGET_EXHAUSTED
from specialists.online.failure import Failure

_MILLION = 1e6


@dataclass(frozen=True, kw_only=True, slots=True)
class Prices:
    """What a service charges: per request, and per million tokens in and out, one currency."""

    request: float = 0.0
    million_tokens_in: float = 0.0
    million_tokens_out: float = 0.0

    @property
    def charges_tokens(self) -> bool:
        """Whether the price of a request is not known before it is answered."""
        return self.million_tokens_in > 0 or self.million_tokens_out > 0

    def cost(self, tokens_in: int, tokens_out: int) -> float:
        """Return the price of one request."""
        tokens = tokens_in * self.million_tokens_in + tokens_out * self.million_tokens_out
        return self.request + tokens / _MILLION


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """How much may be spent; `None` is without limit."""

    requests: int | None = None
    tokens: int | None = None
    cost: float | None = None


@dataclass(kw_only=True, slots=True)
class Receipt:
    """What one request was charged: tokens (in, out), `None` while nobody knows. One that was not
    sent, as the service was left alone while it waited for its turn, counts as none."""

    tokens: tuple[int, int] | None = None
    is_free: bool = False
    is_sent: bool = False


class Budget:
    """Counts what is spent and refuses what is too much; lives in one event loop.

    Requests are counted exactly. What a request will cost in tokens is not known before it is
    answered: each in flight is taken to cost as much as the dearest so far, and the first goes
    alone. A request whose end nobody saw counts as the dearest too.
    """

    def __init__(self, limits: Limits, prices: Prices) -> None:
        self._limits = limits
        self._prices = prices
        self._in_flight = 0
        self._changed = asyncio.Condition()
        self._dearest_tokens = 0
        self._dearest_cost = 0.0 if prices.charges_tokens else prices.request
        self.requests = 0
        self.tokens = 0
        self.cost = 0.0

    @asynccontextmanager
    async def request(self) -> AsyncIterator[Receipt]:
        """Reserve room for one request and book what it cost.

        Waits where the room depends on what others turn out to cost.

        Raises:
            Failure: budget_exhausted; no other request will get room either.
        """
        await self._reserve()
        receipt = Receipt()
        try:
            yield receipt
        except Failure as failure:
            receipt.tokens, receipt.is_free = failure.tokens, failure.is_free
            raise
        finally:
            await self._settle(receipt)

    async def _reserve(self) -> None:
        async with self._changed:
            await self._changed.wait_for(lambda: self._has_room() or self._is_spent())
            if not self._has_room():
                raise Failure(BUDGET_EXHAUSTED, self._told())
            self.requests += 1
            self._in_flight += 1

    async def _settle(self, receipt: Receipt) -> None:
        async with self._changed:
            self._in_flight -= 1
            if not receipt.is_sent:
                self.requests -= 1
            elif receipt.tokens is not None:
                self._book(sum(receipt.tokens), self._prices.cost(*receipt.tokens))
            elif not receipt.is_free:
                self._book(self._dearest_tokens, self._dearest_cost)
            self._changed.notify_all()

    def _book(self, tokens: int, cost: float) -> None:
        self.tokens += tokens
        self.cost += cost
        self._dearest_tokens = max(self._dearest_tokens, tokens)
        self._dearest_cost = max(self._dearest_cost, cost)

    def _has_room(self) -> bool:
        limits = self._limits
        return (
            (limits.requests is None or self.requests < limits.requests)
            and self._bears(self.tokens, self._dearest_tokens, limits.tokens)
            and self._bears(self.cost, self._dearest_cost, limits.cost)
        )

    def _bears(self, spent: float, dearest: float, limit: float | None) -> bool:
        """Whether one more request fits beside those in flight."""
        if limit is None:
            return True
        if not dearest:
            return self._in_flight == 0 and spent < limit
        return spent + (self._in_flight + 1) * dearest <= limit * (1 + 1e-9)

    def _is_spent(self) -> bool:
        """Whether waiting for those in flight cannot make room."""
        return self._in_flight == 0 or self.requests == self._limits.requests

    def _told(self) -> str:
        limits = self._limits
        spent = [
            f"{name} {amount:g} of {limit:g}"
            for name, amount, limit in (
                ("requests", self.requests, limits.requests),
                ("tokens", self.tokens, limits.tokens),
                ("cost", self.cost, limits.cost),
            )
            if limit is not None
        ]
        dearest = f"; the dearest request took {self._dearest_tokens} tokens"
        told = ", ".join(spent) + dearest * bool(self._dearest_tokens)
        return (
            f"this run's budget is spent ({told}): run again, with a larger one if you like; what "
            "is paid is kept"
        )

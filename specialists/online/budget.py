"""The budget of a stage in one run: requests, tokens, money.

The cost of a request is reserved before it is sent, so that concurrent requests cannot exceed the
budget together.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from florilegium.engine.core.spent import Spent
from florilegium.engine.execution.answer import BUDGET_EXHAUSTED
from florilegium.specialists.online.failure import Failure

_MILLION = 1e6


@dataclass(frozen=True, kw_only=True, slots=True)
class Prices:
    """Prices of a service: per request, and per million tokens in and out, in one currency."""

    request: float = 0.0
    million_tokens_in: float = 0.0
    million_tokens_out: float = 0.0

    @property
    def charges_tokens(self) -> bool:
        """Whether the price of a request depends on its tokens, which are known afterwards."""
        return self.million_tokens_in > 0 or self.million_tokens_out > 0

    def cost(self, tokens_in: int, tokens_out: int) -> float:
        """Return the price of one request."""
        tokens = tokens_in * self.million_tokens_in + tokens_out * self.million_tokens_out
        return self.request + tokens / _MILLION


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """Limits of a budget; `None` is unlimited."""

    requests: int | None = None
    tokens: int | None = None
    cost: float | None = None


@dataclass(kw_only=True, slots=True)
class Receipt:
    """The charge of one request: tokens (in, out), `None` if unknown.

    A request that was not sent, as the service was considered down meanwhile, counts as none.
    """

    tokens: tuple[int, int] | None = None
    is_free: bool = False
    is_sent: bool = False


class Budget:
    """Counts spending and refuses requests beyond the limits; used in one event loop.

    Requests are counted exactly. The tokens of a request are unknown before its answer: each one in
    flight is assumed to cost as much as the most expensive so far, and the first is sent alone. A
    request without a known outcome also counts as the most expensive.
    """

    def __init__(self, limits: Limits, prices: Prices) -> None:
        self._limits = limits
        self._prices = prices
        self._in_flight = 0
        self._settled = 0  # requests that were sent and are no longer in flight
        self._changed = asyncio.Condition()
        self._highest_tokens = 0
        self._highest_cost = 0.0 if prices.charges_tokens else prices.request
        self.requests = 0
        self.tokens = 0
        self.cost = 0.0

    @property
    def spent(self) -> Spent:
        """What was spent, without the requests in flight: each number only grows."""
        return Spent(requests=self._settled, tokens=self.tokens, cost=self.cost)

    @asynccontextmanager
    async def request(self) -> AsyncIterator[Receipt]:
        """Reserve the cost of one request, and book its actual cost afterwards.

        Waits if other requests in flight may turn out cheaper than assumed.

        Raises:
            Failure: budget_exhausted, for this and all further requests.
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
                raise Failure(BUDGET_EXHAUSTED, self._message())
            self.requests += 1
            self._in_flight += 1

    async def _settle(self, receipt: Receipt) -> None:
        async with self._changed:
            self._in_flight -= 1
            self._settled += receipt.is_sent
            if not receipt.is_sent:
                self.requests -= 1
            elif receipt.tokens is not None:
                self._book(sum(receipt.tokens), self._prices.cost(*receipt.tokens))
            elif not receipt.is_free:
                self._book(self._highest_tokens, self._highest_cost)
            self._changed.notify_all()

    def _book(self, tokens: int, cost: float) -> None:
        self.tokens += tokens
        self.cost += cost
        self._highest_tokens = max(self._highest_tokens, tokens)
        self._highest_cost = max(self._highest_cost, cost)

    def _has_room(self) -> bool:
        limits = self._limits
        return (
            (limits.requests is None or self.requests < limits.requests)
            and self._bears(self.tokens, self._highest_tokens, limits.tokens)
            and self._bears(self.cost, self._highest_cost, limits.cost)
        )

    def _bears(self, spent: float, highest: float, limit: float | None) -> bool:
        """Return whether the limit allows one more request besides those in flight."""
        if limit is None:
            return True
        if not highest:
            return self._in_flight == 0 and spent < limit
        return spent + (self._in_flight + 1) * highest <= limit * (1 + 1e-9)

    def _is_spent(self) -> bool:
        """Return whether waiting for the requests in flight is pointless."""
        return self._in_flight == 0 or self.requests == self._limits.requests

    def _message(self) -> str:
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
        highest = f"; the largest request took {self._highest_tokens} tokens"
        details = ", ".join(spent) + highest * bool(self._highest_tokens)
        return (
            f"this run's budget is spent ({details}): run again, with a larger one if you like; "
            "paid answers are kept"
        )

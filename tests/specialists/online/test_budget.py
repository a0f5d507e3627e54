"""A budget is kept by requests that are in flight together."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from florilegium.engine.core.spent import Spent
from florilegium.engine.execution.answer import BUDGET_EXHAUSTED
from florilegium.specialists.online.budget import Budget, Limits, Prices
from florilegium.specialists.online.failure import SERVICE_FAILED, Failure

PRICES = Prices(request=0.01, million_tokens_in=10, million_tokens_out=100)


def spend(
    budget: Budget, count: int, tokens_of: Callable[[int], tuple[int, int] | Failure]
) -> list[bool]:
    """Start requests all at once; tell which were sent."""

    async def one(number: int) -> bool:
        try:
            async with budget.request() as receipt:
                await asyncio.sleep(0.001)
                receipt.is_sent = True
                outcome = tokens_of(number)
                if isinstance(outcome, Failure):
                    raise outcome
                receipt.tokens = outcome
        except Failure as failure:
            return failure.reason != BUDGET_EXHAUSTED
        return True

    async def all_of_them() -> list[bool]:
        return await asyncio.gather(*map(one, range(count)))

    return asyncio.run(all_of_them())


def test_prices_are_per_request_and_per_million_tokens() -> None:
    assert PRICES.cost(1000, 100) == pytest.approx(0.01 + 0.01 + 0.01)


def test_requests_are_counted_exactly_failed_ones_included() -> None:
    budget = Budget(Limits(requests=7), Prices())
    sent = spend(
        budget,
        20,
        lambda number: Failure(SERVICE_FAILED, "no", is_free=True) if number % 2 else (9, 9),
    )
    assert sent == [True] * 7 + [False] * 13
    assert budget.requests == 7
    assert budget.tokens == 4 * 18
    assert budget.spent == Spent(requests=7, tokens=72)


def test_a_request_in_flight_is_not_spent_yet() -> None:
    budget = Budget(Limits(), PRICES)

    async def one() -> Spent:
        async with budget.request() as receipt:
            receipt.is_sent, receipt.tokens = True, (1000, 100)
            return budget.spent

    assert asyncio.run(one()) == Spent()
    assert budget.spent.requests == 1
    assert budget.spent.tokens == 1100
    assert budget.spent.cost == pytest.approx(0.03)


def test_a_request_that_was_not_sent_is_none() -> None:
    budget = Budget(Limits(requests=2), PRICES)

    async def given_up() -> None:
        for _ in range(5):
            with pytest.raises(Failure, match="left alone"):
                async with budget.request():
                    raise Failure(SERVICE_FAILED, "left alone")

    asyncio.run(given_up())
    assert (budget.requests, budget.cost) == (0, 0)
    assert spend(budget, 3, lambda _: (1, 1)) == [True, True, False]


def test_a_budget_of_nothing_sends_nothing() -> None:
    for limits in (Limits(requests=0), Limits(cost=0.0)):
        assert spend(Budget(limits, PRICES), 3, lambda _: (1, 1)) == [False] * 3


def test_tokens_are_not_overshot_by_requests_that_cost_the_same() -> None:
    budget = Budget(Limits(tokens=1000), Prices())
    assert sum(spend(budget, 50, lambda _: (250, 50))) == 3
    assert budget.tokens == 900


def test_a_dear_request_is_taken_for_the_measure_of_those_in_flight() -> None:
    budget = Budget(Limits(tokens=1000), Prices())
    sent = spend(budget, 50, lambda number: (400, 0) if number == 0 else (100, 0))
    assert budget.tokens <= 1000
    assert sum(sent) == 4, "400, 100, 100, and 100 with 400 to spare; then 400 do not fit"


def test_money_is_not_overshot() -> None:
    budget = Budget(Limits(cost=0.10), PRICES)
    assert sum(spend(budget, 50, lambda _: (1000, 100))) == 3
    assert budget.cost == pytest.approx(0.09)


def test_a_known_price_per_request_needs_no_trial() -> None:
    budget = Budget(Limits(cost=0.05), Prices(request=0.01))
    assert sum(spend(budget, 50, lambda _: (0, 0))) == 5
    assert budget.cost == pytest.approx(0.05)


def test_a_request_whose_end_nobody_saw_counts_as_the_dearest() -> None:
    budget = Budget(Limits(tokens=10_000), Prices())
    lost = Failure(SERVICE_FAILED, "cut")
    spend(budget, 3, lambda number: (70, 30) if number == 0 else lost)
    assert budget.tokens == 300


def test_the_error_tells_what_was_spent_and_what_to_do() -> None:
    async def exhausted() -> Failure:
        budget = Budget(Limits(requests=1, tokens=500), Prices())
        async with budget.request() as receipt:
            receipt.is_sent = True
            receipt.tokens = 120, 30
        with pytest.raises(Failure) as caught:
            async with budget.request():
                pass
        return caught.value

    failure = asyncio.run(exhausted())
    assert failure.reason == BUDGET_EXHAUSTED
    assert not failure.is_passing
    assert "requests 1 of 1, tokens 150 of 500" in failure.message
    assert "run again, with a larger one" in failure.message

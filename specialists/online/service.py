"""A service elsewhere, asked as a good citizen asks: few requests at once, not too fast, patient
with a busy service, within a budget.

Knows neither the protocol nor what is asked: a call is any coroutine that returns its value with
its price, or raises `Failure`.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Annotated, Any, Generic, TypeVar

from pydantic import Field, SecretStr

from engine.core.errors import ConfigError, SampleError
from engine.core.redaction import redacted, without_values
from engine.core.stage import RUNTIME, StageConfig
from engine.execution.answer import STAGE_FAILED
from engine.safety.traces import traceback_of
from specialists.online.background import BackgroundLoop
from specialists.online.budget import Budget, Limits, Prices
from specialists.online.failure import TIMED_OUT, Failure
from specialists.online.gate import Gate

T = TypeVar("T")


class ServiceConfig(StageConfig):
    """Manners and budget. The budget is that of one run, or of one worker where that died and was
    replaced: what was paid before is not counted, and is not paid again."""

    batch_size: Annotated[int, RUNTIME, Field(ge=1)] = 32
    """Images handed to the stage at once; at least `concurrency`, or that is not reached."""
    concurrency: Annotated[int, RUNTIME, Field(ge=1)] = 8
    """Requests in flight at once, in the whole run."""
    requests_per_minute: Annotated[float | None, RUNTIME, Field(gt=0)] = None
    """Requests sent per minute, evenly spaced, repeated ones included; by default no limit."""
    timeout_s: Annotated[float, RUNTIME, Field(gt=0)] = 60.0
    """Seconds that one request may take, to the last byte of its answer."""
    attempts: Annotated[int, RUNTIME, Field(ge=1)] = 6
    """Requests for one answer, at most: a failure that may pass is asked again."""
    backoff_s: Annotated[float, RUNTIME, Field(ge=0)] = 1.0
    """Seconds before the second attempt; doubled before each further one, with random jitter."""
    longest_wait_s: Annotated[float, RUNTIME, Field(ge=0)] = 120.0
    """Seconds that the stage waits before an attempt, at most. A service whose Retry-After asks
    for more is left alone for the rest of the run."""
    failures_in_a_row: Annotated[int, RUNTIME, Field(ge=1)] = 32
    """Images given up one after the other, none answered between, after which the service is
    taken to be down and left alone for the rest of the run."""
    max_answer_bytes: Annotated[int, RUNTIME, Field(ge=1)] = 4 * 1024 * 1024
    """Bytes of one answer, at most; a larger one is not kept, and not asked for again."""
    allow_redirects: Annotated[bool, RUNTIME] = False
    """Whether a redirect may lead to another server. The key stays behind, the question does not;
    from https to http none ever leads."""
    allow_private_addresses: Annotated[bool, RUNTIME] = True
    """Whether the service may have an address of this machine or of its network, as a model server
    of one's own has; false refuses every name that means one."""
    max_requests: Annotated[int | None, RUNTIME, Field(ge=0)] = None
    """Requests in one run, repeated ones included; by default no limit."""
    max_cost: Annotated[float | None, RUNTIME, Field(ge=0)] = None
    """Money in one run, in the currency of the prices; by default no limit."""
    price_per_request: Annotated[float, RUNTIME, Field(ge=0)] = 0.0
    """Price of one answered request."""

    @property
    def limits(self) -> Limits:
        """What may be spent in one run."""
        return Limits(requests=self.max_requests, cost=self.max_cost)

    @property
    def prices(self) -> Prices:
        """What is charged."""
        return Prices(request=self.price_per_request)

    def check_budget(self) -> None:
        """Refuse a budget that could never be reached.

        Raises:
            ConfigError: money is limited and nothing costs any.
        """
        if self.max_cost is not None and self.prices == Prices():
            raise ConfigError(
                f"max_cost = {self.max_cost:g} limits nothing while all prices are 0: give the "
                "prices of the service, or limit max_requests"
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class Priced(Generic[T]):
    """An answer and the tokens that it was charged."""

    value: T
    tokens_in: int = 0
    tokens_out: int = 0


Call = Callable[[], Awaitable[Priced[T]]]


class Service:
    """Sends requests for all threads of this worker, which share its limits.

    `client` is opened in the service's own event loop and closed with it. `key` is taken out of
    every message.
    """

    def __init__(
        self,
        config: ServiceConfig,
        client: AbstractAsyncContextManager[Any],
        key: SecretStr | None = None,
    ) -> None:
        self._config = config
        self._key = key
        self._slots = asyncio.Semaphore(config.concurrency)
        self._gate = Gate(config.requests_per_minute)
        self._closed_for: tuple[str, str] | None = None
        self._given_up = 0
        self.budget = Budget(config.limits, config.prices)
        self._loop = BackgroundLoop(client, name=type(self).__name__)

    def ask(self, calls: Sequence[Call[T]]) -> list[T | SampleError]:
        """Make each call until it is answered or given up; answers in the order of the calls."""
        return self._loop.run(self._answers(calls))

    def close(self) -> None:
        """Close the client; the service can no longer be asked."""
        self._loop.close()

    def redacted(self, text: str) -> str:
        """Return a message without the key, and without other secrets."""
        return redacted(text, self._secret)

    def without_key(self, text: str) -> str:
        """Return an answer without the key; all else in it is what was asked for."""
        return without_values(text, self._secret)

    @property
    def _secret(self) -> str:
        return self._key.get_secret_value() if self._key else ""

    async def _answers(self, calls: Sequence[Call[T]]) -> list[T | SampleError]:
        return await asyncio.gather(*map(self._answer, calls))

    async def _answer(self, call: Call[T]) -> T | SampleError:
        """Answer one call. Nothing is raised: the other answers may have been paid."""
        try:
            return await self._persist(call)
        except Failure as failure:
            return SampleError(failure.reason, self.redacted(failure.message))
        except Exception as error:
            told = f"{type(error).__name__}: {error}"
            trace = self.redacted(traceback_of(error))
            return SampleError(STAGE_FAILED, self.redacted(told), traceback=trace)

    async def _persist(self, call: Call[T]) -> T:
        """Ask again, later and later, while a failure may pass."""
        config = self._config
        for doublings in range(config.attempts - 1):
            try:
                return await self._send(call)
            except Failure as failure:
                if not failure.is_passing:
                    raise
            pause_s = config.backoff_s * 2**doublings * random.uniform(1, 1.5)
            await asyncio.sleep(min(pause_s, config.longest_wait_s))
        try:
            return await self._send(call)
        except Failure as failure:
            self._give_up(failure)
            raise

    async def _send(self, call: Call[T]) -> T:
        """Send one request when it is its turn."""
        async with self._slots:
            self._check_open()  # before the budget counts a request that is not sent
            return await self._send_one(call)

    async def _send_one(self, call: Call[T]) -> T:
        async with self.budget.request() as receipt:
            await self._gate.turn()
            self._check_open()
            receipt.is_sent = True
            try:
                async with asyncio.timeout(self._config.timeout_s):
                    priced = await call()
            except TimeoutError:
                told = f"no answer within timeout_s = {self._config.timeout_s:g} s"
                raise Failure(TIMED_OUT, told, is_passing=True) from None
            except Failure as failure:
                self._heed(failure)
                raise
            self._given_up = 0
            receipt.tokens = priced.tokens_in, priced.tokens_out
            return priced.value

    def _check_open(self) -> None:
        if self._closed_for:
            reason, message = self._closed_for
            raise Failure(
                reason, f"not asked, since an earlier request met: {message}", is_free=True
            )

    def _heed(self, failure: Failure) -> None:
        """Wait as long as the service wishes, or leave it alone."""
        wait_s = failure.wait_s or 0.0
        if wait_s > self._config.longest_wait_s:
            failure.is_passing = False
            failure.stops_all = True
            failure.message += (
                f"; it asks to wait {wait_s:.0f} s, longer than longest_wait_s = "
                f"{self._config.longest_wait_s:g}: run again later with --retry-dead-letters"
            )
        else:
            self._gate.hold(wait_s)
        if failure.stops_all:
            self._closed_for = failure.reason, failure.message

    def _give_up(self, failure: Failure) -> None:
        """Count the failures in a row that did not pass."""
        self._given_up += failure.is_passing
        if self._given_up >= self._config.failures_in_a_row:
            self._closed_for = failure.reason, f"{failure.message}, {self._given_up} times in a row"

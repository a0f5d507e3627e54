"""A client of an online service: limited concurrency and rate, retries with backoff, a budget.

Independent of the protocol: a call is any coroutine that returns its value with its price, or
raises `Failure`.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Generic, TypeVar

from pydantic import Field, SecretStr

from florilegium.engine.core.errors import ConfigError, SampleError
from florilegium.engine.core.known_secrets import without_values
from florilegium.engine.core.redaction import redacted
from florilegium.engine.core.stage import RUNTIME, StageConfig
from florilegium.engine.execution.answer import STAGE_FAILED
from florilegium.engine.untrusted.traces import traceback_of
from florilegium.specialists.online.background import BackgroundLoop
from florilegium.specialists.online.budget import Budget, Limits, Prices
from florilegium.specialists.online.failure import TIMED_OUT, Failure
from florilegium.specialists.online.gate import RateGate

T = TypeVar("T")


class ServiceConfig(StageConfig):
    """Limits and budget. The budget holds for one run, or for one worker if it died and was
    replaced: earlier answers are not counted, and not requested again."""

    batch_size: Annotated[int, RUNTIME, Field(ge=1)] = 32
    """Images per call of the stage; at least `concurrency`, or that is not reached."""
    concurrency: Annotated[int, RUNTIME, Field(ge=1)] = 8
    """Concurrent requests in the whole run."""
    requests_per_minute: Annotated[float | None, RUNTIME, Field(gt=0)] = None
    """Maximum requests per minute, evenly spaced, retries included; by default unlimited."""
    timeout_s: Annotated[float, RUNTIME, Field(gt=0)] = 60.0
    """Timeout of one request in seconds, to the last byte of its answer."""
    attempts: Annotated[int, RUNTIME, Field(ge=1)] = 6
    """Maximum requests for one answer: failures that may pass are retried."""
    backoff_s: Annotated[float, RUNTIME, Field(ge=0)] = 1.0
    """Seconds before the first retry; doubled before each further one, with random jitter."""
    longest_wait_s: Annotated[float, RUNTIME, Field(ge=0)] = 120.0
    """Maximum seconds before a retry. A service whose Retry-After is longer gets no more requests
    in this run."""
    failures_in_a_row: Annotated[int, RUNTIME, Field(ge=1)] = 32
    """Failed images in a row after which the service is considered down and gets no more requests
    in this run."""
    max_answer_bytes: Annotated[int, RUNTIME, Field(ge=1)] = 4 * 1024 * 1024
    """Maximum bytes of one answer; a larger one is an error without a retry."""
    allow_redirects: Annotated[bool, RUNTIME] = False
    """Whether redirects to another server are followed. The request is sent there, the key is not;
    redirects from https to http are never followed."""
    allow_private_addresses: Annotated[bool, RUNTIME] = True
    """Whether the service may have an address of this machine or its network, as a local model
    server has."""
    max_requests: Annotated[int | None, RUNTIME, Field(ge=0)] = None
    """Maximum requests in one run, retries included; by default unlimited."""
    max_cost: Annotated[float | None, RUNTIME, Field(ge=0)] = None
    """Maximum cost of one run, in the currency of the prices; by default unlimited."""
    price_per_request: Annotated[float, RUNTIME, Field(ge=0)] = 0.0
    """Price of one answered request."""

    address_option: ClassVar[str] = "url"
    """The name of the option that has the address of the service."""

    @property
    def address(self) -> str:
        """Where the service is; "" if no address is given."""
        return str(getattr(self, self.address_option, ""))

    @property
    def limits(self) -> Limits:
        """The budget of one run."""
        return Limits(requests=self.max_requests, cost=self.max_cost)

    @property
    def prices(self) -> Prices:
        """The prices of the service."""
        return Prices(request=self.price_per_request)

    def check_budget(self) -> None:
        """Refuse a budget that has no effect.

        Raises:
            ConfigError: the cost is limited, but all prices are 0.
        """
        if self.max_cost is not None and self.prices == Prices():
            raise ConfigError(
                f"max_cost = {self.max_cost:g} has no effect, as all prices are 0: set the prices "
                "of the service, or max_requests"
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class Priced(Generic[T]):
    """An answer and its charged tokens."""

    value: T
    tokens_in: int = 0
    tokens_out: int = 0


Call = Callable[[], Awaitable[Priced[T]]]


class Service:
    """Sends requests for all threads of this worker, which share its limits.

    `client` is opened in the service's event loop and closed with it. `key` is removed from all
    messages.
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
        self._gate = RateGate(config.requests_per_minute)
        self._closed_for: tuple[str, str] | None = None
        self._given_up = 0
        self.budget = Budget(config.limits, config.prices)
        self._loop = BackgroundLoop(client, name=type(self).__name__)

    def ask(self, calls: Sequence[Call[T]]) -> list[T | SampleError]:
        """Make each call until it succeeds or is given up; return answers in the order of the
        calls."""
        return self._loop.run(self._answers(calls))

    def close(self) -> None:
        """Close the client; no further requests are possible."""
        self._loop.close()

    def redacted(self, text: str) -> str:
        """Return a message without the key and other secrets."""
        return redacted(text, self._secret)

    def without_key(self, text: str) -> str:
        """Return an answer without the key."""
        return without_values(text, self._secret)

    @property
    def _secret(self) -> str:
        return self._key.get_secret_value() if self._key else ""

    async def _answers(self, calls: Sequence[Call[T]]) -> list[T | SampleError]:
        return await asyncio.gather(*map(self._answer, calls))

    async def _answer(self, call: Call[T]) -> T | SampleError:
        """Make one call. Errors are returned, not raised, as other answers may be charged
        already."""
        try:
            return await self._with_retries(call)
        except Failure as failure:
            return SampleError(failure.reason, self.redacted(failure.message))
        except Exception as error:
            message = f"{type(error).__name__}: {error}"
            trace = self.redacted(traceback_of(error))
            return SampleError(STAGE_FAILED, self.redacted(message), traceback=trace)

    async def _with_retries(self, call: Call[T]) -> T:
        """Retry with exponential backoff while the failure may pass."""
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
        """Send one request when a slot is free."""
        async with self._slots:
            self._check_open()  # before the budget counts a request that is never sent
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
                message = f"no answer within timeout_s = {self._config.timeout_s:g} s"
                raise Failure(TIMED_OUT, message, is_passing=True) from None
            except Failure as failure:
                self._apply_retry_after(failure)
                raise
            self._given_up = 0
            receipt.tokens = priced.tokens_in, priced.tokens_out
            return priced.value

    def _check_open(self) -> None:
        if self._closed_for:
            reason, message = self._closed_for
            raise Failure(
                reason, f"not sent, as an earlier request failed: {message}", is_free=True
            )

    def _apply_retry_after(self, failure: Failure) -> None:
        """Pause as long as the service asks for, or stop all requests."""
        wait_s = failure.wait_s or 0.0
        if wait_s > self._config.longest_wait_s:
            failure.is_passing = False
            failure.stops_all = True
            failure.message += (
                f"; it asks for a pause of {wait_s:.0f} s, longer than longest_wait_s = "
                f"{self._config.longest_wait_s:g}: run again later with --retry-dead-letters"
            )
        else:
            self._gate.hold(wait_s)
        if failure.stops_all:
            self._closed_for = failure.reason, failure.message

    def _give_up(self, failure: Failure) -> None:
        """Count failures in a row; stop all requests after too many."""
        self._given_up += failure.is_passing
        if self._given_up >= self._config.failures_in_a_row:
            self._closed_for = failure.reason, f"{failure.message}, {self._given_up} times in a row"

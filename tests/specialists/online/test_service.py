"""The manners of the client, whatever it asks: here, calls that ask nobody."""

from __future__ import annotations

import asyncio
import gc
import pickle
import signal
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from itertools import pairwise
from types import FrameType
from typing import Any

import pytest
from pydantic import SecretStr

from florilegium.engine.core.errors import ConfigError, SampleError
from florilegium.engine.execution.answer import BUDGET_EXHAUSTED, STAGE_FAILED
from florilegium.specialists.online.address import host_of, is_loopback, read_key
from florilegium.specialists.online.failure import (
    RATE_LIMITED,
    SERVICE_FAILED,
    TIMED_OUT,
    Failure,
    refusal,
)
from florilegium.specialists.online.service import Priced, Service, ServiceConfig

KEY = "sk-never-to-be-seen-7"

Asking = Callable[..., Service]


@asynccontextmanager
async def nobody() -> Any:
    """A client that needs no opening."""
    yield


@pytest.fixture
def asking() -> Iterator[Asking]:
    """Make services that are closed afterwards."""
    services: list[Service] = []

    def make(**options: Any) -> Service:
        config = ServiceConfig(**{"backoff_s": 0.01, "concurrency": 10, **options})
        services.append(Service(config, nobody(), SecretStr(KEY)))
        return services[-1]

    yield make
    for service in services:
        service.close()


class Desk:
    """Answers calls and writes down when; the first calls meet the failures that it was given."""

    def __init__(self, *failures: Exception, takes_s: float = 0.0) -> None:
        self.failures = list(failures)
        self.takes_s = takes_s
        self.times: list[float] = []
        self.now = self.most = 0

    def call(self, value: int = 0) -> Callable[[], Awaitable[Priced[int]]]:
        async def answer() -> Priced[int]:
            self.times.append(time.monotonic())
            if self.failures:
                raise self.failures.pop(0)
            self.now += 1
            self.most = max(self.most, self.now)
            await asyncio.sleep(self.takes_s)
            self.now -= 1
            return Priced(value=value)

        return answer

    @property
    def gaps(self) -> list[float]:
        return [later - earlier for earlier, later in pairwise(self.times)]


def passing(reason: str = SERVICE_FAILED, wait_s: float | None = None) -> Failure:
    return Failure(reason, "not now", is_passing=True, wait_s=wait_s)


def reasons(answers: list[Any]) -> list[str]:
    return [one.reason if isinstance(one, SampleError) else "" for one in answers]


def test_no_call_no_answer(asking: Asking) -> None:
    assert asking().ask([]) == []


def test_answers_come_in_the_order_of_the_calls(asking: Asking) -> None:
    async def late() -> Priced[int]:
        await asyncio.sleep(0.05)
        return Priced(value=1)

    assert asking().ask([late, Desk().call(2), Desk().call(3)]) == [1, 2, 3]


def test_threads_share_the_limit_of_requests_at_once(asking: Asking) -> None:
    service, desk = asking(concurrency=3), Desk(takes_s=0.02)
    with ThreadPoolExecutor(4) as threads:
        calls = [[desk.call(10 * thread + n) for n in range(5)] for thread in range(4)]
        answers = list(threads.map(service.ask, calls))
    assert answers == [[10 * thread + n for n in range(5)] for thread in range(4)]
    assert desk.most == 3


def test_requests_are_evenly_spaced(asking: Asking) -> None:
    desk = Desk(passing())
    asking(requests_per_minute=60 / 0.04).ask([desk.call() for _ in range(4)])
    assert len(desk.times) == 5
    assert min(desk.gaps) >= 0.035


def test_a_failure_that_may_pass_is_asked_again_later_and_later(asking: Asking) -> None:
    desk = Desk(passing(), passing(), passing())
    assert asking(backoff_s=0.02).ask([desk.call(5)]) == [5]
    assert all(gap >= least for gap, least in zip(desk.gaps, (0.019, 0.039, 0.079), strict=True))
    assert desk.gaps[2] < 0.3


def test_no_pause_is_longer_than_the_longest(asking: Asking) -> None:
    desk = Desk(passing(), passing(), passing())
    assert asking(backoff_s=0.3, longest_wait_s=0.02).ask([desk.call(5)]) == [5]
    assert max(desk.gaps) < 0.2
    assert min(desk.gaps) >= 0.019


def test_attempts_end(asking: Asking) -> None:
    desk = Desk(*(passing(TIMED_OUT) for _ in range(9)))
    assert reasons(asking(attempts=3).ask([desk.call()])) == [TIMED_OUT]
    assert len(desk.times) == 3


def test_a_refusal_is_not_asked_again_and_costs_only_its_own_call(asking: Asking) -> None:
    desk = Desk(Failure(SERVICE_FAILED, "no"))
    answers = asking(concurrency=1).ask([desk.call(1), desk.call(2)])
    assert reasons(answers) == [SERVICE_FAILED, ""]
    assert len(desk.times) == 2


def test_a_service_that_wants_rest_gets_it_from_all(asking: Asking) -> None:
    desk = Desk(passing(RATE_LIMITED, wait_s=0.2), takes_s=0.02)
    assert asking(concurrency=2).ask([desk.call(n) for n in range(6)]) == list(range(6))
    resting = [at - desk.times[0] for at in desk.times[2:]]
    assert min(resting) >= 0.19, "the second was under way when the first was refused"


def test_a_service_that_asks_for_a_long_pause_is_not_retried(asking: Asking) -> None:
    desk = Desk(passing(RATE_LIMITED, wait_s=3600))
    service = asking(concurrency=1, longest_wait_s=60)
    first, second = service.ask([desk.call(), desk.call()])
    assert reasons([first, second]) == [RATE_LIMITED] * 2
    assert "asks for a pause of 3600 s, longer than longest_wait_s = 60" in str(first)
    assert str(second).startswith("not sent, as")
    assert reasons(service.ask([desk.call()])) == [RATE_LIMITED]
    assert len(desk.times) == 1


def test_a_refusal_that_concerns_all_stops_all(asking: Asking) -> None:
    desk = Desk(Failure(SERVICE_FAILED, "the key is wrong", stops_all=True))
    answers = asking(concurrency=1).ask([desk.call() for _ in range(5)])
    assert reasons(answers) == [SERVICE_FAILED] * 5
    assert len(desk.times) == 1


def test_waiting_requests_are_not_sent_after_a_refusal_that_concerns_all(
    asking: Asking,
) -> None:
    """The first is under way when the others wait at the gate; its answer comes before theirs."""
    sent: list[int] = []

    def call(number: int) -> Callable[[], Awaitable[Priced[int]]]:
        async def refused_slowly() -> Priced[int]:
            sent.append(number)
            await asyncio.sleep(0.02)
            raise refusal(401, {}, b"bad key")

        return refused_slowly

    answers = asking(requests_per_minute=60 / 0.1).ask([call(number) for number in range(4)])
    assert sent == [0]
    assert reasons(answers) == [SERVICE_FAILED] * 4
    assert [str(one).startswith("not sent, as") for one in answers] == [False, True, True, True]


def test_a_service_that_closed_itself_leaves_the_budget_alone(asking: Asking) -> None:
    desk = Desk(refusal(401, {}, b"bad key"))
    service = asking(concurrency=1, max_requests=5)
    answers = service.ask([desk.call() for _ in range(10)])
    assert reasons(answers) == [SERVICE_FAILED] * 10
    assert len(desk.times) == service.budget.requests == 1


def test_a_service_that_stays_down_is_left_alone(asking: Asking) -> None:
    desk = Desk(*(passing() for _ in range(99)))
    service = asking(attempts=2, failures_in_a_row=3, concurrency=1)
    answers = service.ask([desk.call() for _ in range(10)])
    assert reasons(answers) == [SERVICE_FAILED] * 10
    assert any("not now, 3 times in a row" in str(answer) for answer in answers)
    assert len(desk.times) == 10 + 3, "each once, three of them again"


def test_an_answer_ends_a_row_of_failures(asking: Asking) -> None:
    service = asking(attempts=1, failures_in_a_row=2, concurrency=1)
    for _ in range(3):
        desk = Desk(passing())
        assert reasons(service.ask([desk.call(), desk.call()])) == [SERVICE_FAILED, ""]


def test_a_request_that_takes_too_long_is_given_up_and_asked_again(asking: Asking) -> None:
    desk = Desk(takes_s=0.3)
    (answer,) = asking(timeout_s=0.03, attempts=2).ask([desk.call()])
    assert reasons([answer]) == [TIMED_OUT]
    assert "timeout_s = 0.03" in str(answer)
    assert len(desk.times) == 2


def test_a_fault_in_one_call_leaves_the_others_their_answers(asking: Asking) -> None:
    desk = Desk(ZeroDivisionError(f"by {KEY}"))
    first, second = asking(concurrency=1).ask([desk.call(), desk.call(2)])
    assert reasons([first]) == [STAGE_FAILED]
    assert str(first) == "ZeroDivisionError: by [key]"
    assert second == 2


def test_the_key_is_taken_out_of_messages(asking: Asking) -> None:
    desk = Desk(Failure(SERVICE_FAILED, f"Bearer {KEY} is unknown"))
    (answer,) = asking().ask([desk.call()])
    assert str(answer) == "Bearer [key] is unknown"
    assert KEY not in repr(vars(asking()))


def test_a_budget_of_requests_is_kept_by_all_threads_together(asking: Asking) -> None:
    service, desk = asking(max_requests=11), Desk(passing(), passing(), takes_s=0.005)
    with ThreadPoolExecutor(3) as threads:
        answers = list(threads.map(service.ask, [[desk.call() for _ in range(8)]] * 3))
    found = [reason for part in answers for reason in reasons(part)]
    assert len(desk.times) == 11
    assert found.count("") == 9
    assert found.count(BUDGET_EXHAUSTED) == 15


def test_a_repeated_request_needs_room_in_the_budget_too(asking: Asking) -> None:
    desk = Desk(passing())
    assert reasons(asking(max_requests=1).ask([desk.call()])) == [BUDGET_EXHAUSTED]
    assert len(desk.times) == 1


def test_a_budget_without_effect_is_refused() -> None:
    with pytest.raises(ConfigError, match="max_cost = 5 has no effect, as all prices are 0"):
        ServiceConfig(max_cost=5).check_budget()
    ServiceConfig(max_cost=5, price_per_request=0.001).check_budget()


def test_who_stops_waiting_stops_the_requests(asking: Asking) -> None:
    is_cancelled = threading.Event()

    async def forever() -> Priced[int]:
        try:
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            is_cancelled.set()
            raise
        return Priced(value=0)

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    earlier = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, 0.05)
    try:
        with pytest.raises(KeyboardInterrupt):
            asking().ask([forever])
    finally:
        signal.signal(signal.SIGALRM, earlier)
    assert is_cancelled.wait(2)


def test_a_service_that_nobody_holds_ends_its_thread() -> None:
    class Forgotten(Service):
        pass

    service = Forgotten(ServiceConfig(), nobody())
    assert service.ask([Desk().call(1)]) == [1]
    (thread,) = (one for one in threading.enumerate() if one.name == "Forgotten")
    del service
    gc.collect()
    thread.join(2)
    assert not thread.is_alive()


def test_an_open_service_is_not_pickled(asking: Asking) -> None:
    with pytest.raises(TypeError):
        pickle.dumps(asking())


@pytest.mark.parametrize("url", ["", "127.0.0.1:8000", "ftp://host", "https://"])
def test_a_malformed_url_is_refused(url: str) -> None:
    with pytest.raises(ConfigError, match=r"endpoint = .* is no URL of a service"):
        host_of(url, option="endpoint")


@pytest.mark.parametrize("url", [f"https://me:{KEY}@host/v1", f"https://host/v1?key={KEY}"])
def test_a_key_in_the_address_is_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(ConfigError, match="api_key_env") as caught:
        host_of(url)
    assert KEY not in str(caught.value)


def test_the_host_is_named_without_its_port() -> None:
    assert host_of("https://API.example.com:8443/v1") == "api.example.com"


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("localhost", True), ("worker.localhost.", True), ("127.8.0.1", True), ("::1", True),
        ("::ffff:127.0.0.1", True), ("0.0.0.0", True), ("10.0.0.5", False),
        ("localhost.example.com", False), ("annotator", False),
    ],
)  # fmt: skip
def test_the_machine_that_asks_is_known_by_its_addresses(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected


def test_a_key_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_KEY", f" {KEY}\n")
    key = read_key("SOME_KEY")
    assert key is not None
    assert key.get_secret_value() == KEY
    assert KEY not in repr(key)
    assert read_key("") is None


@pytest.mark.parametrize("value", [None, "", "  ", "two words", "schlüssel", "a\nb"])
def test_a_missing_or_strange_key_is_named_by_its_variable(
    value: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SOME_KEY", raising=False)
    if value is not None:
        monkeypatch.setenv("SOME_KEY", value)
    with pytest.raises(ConfigError, match="api_key_env = 'SOME_KEY'") as caught:
        read_key("SOME_KEY")
    assert not (value or "").strip() or value not in str(caught.value)


@pytest.mark.parametrize("value", [KEY, "0123456789abcdef", "a1b2c3d4e5f6", "with space"])
def test_a_key_in_the_place_of_its_variable_is_refused_and_not_repeated(value: str) -> None:
    with pytest.raises(ConfigError, match="no name of an environment variable") as caught:
        read_key(value)
    assert value not in str(caught.value)


def test_a_client_that_cannot_be_opened_is_told() -> None:
    @asynccontextmanager
    async def closed() -> Any:
        raise OSError("no such door")
        yield

    with pytest.raises(OSError, match="no such door"):
        Service(ServiceConfig(), closed())

"""Services that mean no good: they send too much, too slowly, elsewhere, and count nonsense."""

from __future__ import annotations

import gzip
import json
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import numpy as np
import pytest

from florilegium.engine.core.errors import ConfigError, SampleError
from florilegium.specialists.online.azure_ocr import AzureOcr, AzureOcrConfig
from florilegium.specialists.online.chat import MAX_CHARACTERS, ChatConfig, ChatService, Message
from florilegium.specialists.online.failure import (
    INVALID_ANSWER,
    SERVICE_FAILED,
    TIMED_OUT,
    retry_after_s,
)
from florilegium.specialists.online.reach import is_public
from tests.specialists.conftest import SampleOf
from tests.specialists.online.conftest import Opened
from tests.specialists.online.server import Behaviour, MisbehavingServer, completion, ok

KEY = "canary-of-the-key-7"
KEY_VARIABLE = "LOOPBACK_KEY"

Asking = Callable[..., str | SampleError]

pytestmark = pytest.mark.attack("network")


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY_VARIABLE, KEY)


@pytest.fixture
def asking() -> Iterator[Asking]:
    """Ask a server one question; what is asked further tells whether the service is left alone."""
    with ExitStack() as stack:

        def ask(server: MisbehavingServer, *, count: int = 1, **options: Any) -> str | SampleError:
            defaults = {"url": server.url, "api_key_env": KEY_VARIABLE, "backoff_s": 0.0}
            given = {**defaults, "attempts": 2, "concurrency": 1, **options}
            service = ChatService(ChatConfig(**given))
            stack.callback(service.close)
            return service.answer([[Message("user", ("What is this?",))]] * count)[0]

        yield ask


def refused(answer: str | SampleError) -> SampleError:
    assert isinstance(answer, SampleError)
    return answer


def body(text: str = "A cat.", **changes: Any) -> bytes:
    return json.dumps({**completion(text), **changes}).encode()


def deep(depth: int) -> bytes:
    return b'{"choices": ' + b"[" * depth + b"]" * depth + b"}"


@pytest.mark.parametrize(
    ("order", "message"),
    [
        (Behaviour(body=b" " * 300_000 + body()), "more than max_answer_bytes = 100000"),
        (
            Behaviour(
                body=gzip.compress(body("a" * 50_000)), headers=(("content-encoding", "gzip"),)
            ),
            "the answer is compressed (gzip)",
        ),
        (Behaviour(body=body(), headers=(("Content-Encoding", "br, gzip"),)), "compressed"),
        (Behaviour(body=deep(49_000)), "no chat completion"),
        (Behaviour(body=b'{"usage": ' + b"9" * 5000 + b"}"), "no chat completion"),
        (Behaviour(body=b"\xff\xfe\x00"), "no chat completion"),
    ],
)
def test_what_is_too_much_or_no_answer_is_invalid(
    order: Behaviour, message: str, asking: Asking
) -> None:
    with MisbehavingServer(order, order) as server:
        error = refused(asking(server, max_answer_bytes=100_000))
    assert error.reason == INVALID_ANSWER
    assert message in error.message
    assert len(error.message) < 400


def test_a_large_answer_is_not_paid_twice_and_harms_no_other(asking: Asking) -> None:
    with MisbehavingServer(Behaviour(body=b" " * 300_000)) as server:
        refused(asking(server, max_answer_bytes=100_000, count=2))
        assert len(server.requests) == 2


def test_a_refusal_is_read_to_its_first_bytes_only(asking: Asking) -> None:
    order = Behaviour(status=400, body=b"x" * 9_000_000)
    with MisbehavingServer(order) as server:
        error = refused(asking(server))
    assert error.message.startswith("HTTP 400; xxx")
    assert len(error.message) < 500


def test_a_text_that_is_no_caption_for_its_length_is_invalid(asking: Asking) -> None:
    with MisbehavingServer(ok("a " * MAX_CHARACTERS)) as server:
        assert f"more than {MAX_CHARACTERS}" in refused(asking(server)).message


def test_an_answer_byte_by_byte_ends_with_the_time(asking: Asking) -> None:
    began = time.monotonic()
    with MisbehavingServer(Behaviour(body=body(), drip_s=0.05)) as server:
        error = refused(asking(server, timeout_s=0.2, attempts=1))
    assert error.reason == TIMED_OUT
    assert time.monotonic() - began < 2


def test_a_reachability_check_that_answers_byte_by_byte_times_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("florilegium.specialists.online.chat._MODELS_TIMEOUT_S", 0.2)
    greeting = Behaviour(body=b" " * 200, drip_s=0.05)
    with MisbehavingServer(greeting=greeting) as server:
        service = ChatService(ChatConfig(url=server.url))
        with pytest.raises(ConfigError, match="no answer within"):
            service.check_reachable()


@pytest.mark.parametrize(
    "usage",
    [
        {"prompt_tokens": -5, "completion_tokens": 3},
        {"prompt_tokens": 5, "completion_tokens": -(10**9)},
        {"prompt_tokens": 1.5, "completion_tokens": 3},
        {"prompt_tokens": "7", "completion_tokens": 3},
        {"prompt_tokens": True, "completion_tokens": 3},
        {"prompt_tokens": float("nan"), "completion_tokens": 3},
        {"prompt_tokens": 10**12, "completion_tokens": 3},
        {"prompt_tokens": [1], "completion_tokens": 3},
        [1, 2],
        "many",
        -3,
    ],
)
def test_usage_that_counts_nothing_makes_the_answer_invalid(usage: Any, asking: Asking) -> None:
    with MisbehavingServer(*[Behaviour(body=body(usage=usage))] * 9) as server:
        error = refused(asking(server))
        assert (error.reason, len(server.requests)) == (INVALID_ANSWER, 1)
        assert "usage" in error.message
        again = refused(asking(server, count=4, max_tokens_spent=1000))
        assert "cannot be kept" in again.message
        assert len(server.requests) == 2, "the service is left alone"


@pytest.mark.parametrize(
    "usage",
    [
        None,
        {},
        {"prompt_tokens": 5},
        {"prompt_tokens": 5, "completion_tokens": None},
        {"prompt_tokens": 0, "completion_tokens": 0},
        {"total_tokens": 7},
    ],
)
def test_a_budget_of_tokens_needs_both_counts(usage: Any, asking: Asking) -> None:
    with MisbehavingServer(*[Behaviour(body=body(usage=usage))] * 9) as server:
        assert asking(server) == "A cat."
        error = refused(asking(server, count=4, max_cost=1, price_million_tokens_in=1))
        assert error.reason == SERVICE_FAILED
        assert "limit max_requests" in error.message
        assert len(server.requests) == 2


@pytest.mark.parametrize(
    ("value", "most_s"),
    [("1e9", 4e7), ("1e308", 4e7), ("-1e9", 0), ("Fri, 31 Dec 9999 23:59:59 GMT", 4e7)]
    + [(value, -1) for value in ("nan", "-inf", "Mon, 01 Jan 99999 00:00:00 GMT", "9" * 5000)]
    + [("Mon, 01 Jan 0001 00:00:00 +2359", 0), ("Mon, 01 Jan 2030 00:00:00 +999999999999", -1)],
)
def test_no_wait_is_longer_than_a_year(value: str, most_s: float) -> None:
    seconds = retry_after_s(value)
    assert (-1 if seconds is None else seconds) <= max(most_s, -1)


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
def test_neither_key_nor_question_follow_a_redirect_elsewhere(code: int, asking: Asking) -> None:
    with MisbehavingServer() as other:
        elsewhere = f"{other.url}/chat/completions?token={KEY}"
        away = Behaviour(status=code, body=b"", headers=(("Location", elsewhere),))
        with MisbehavingServer(away, away) as server:
            error = refused(asking(server))
            assert len(server.requests) == 1
        assert not other.requests
    assert KEY not in str(error)


@pytest.mark.parametrize(
    "place", ["/v1/chat/completions", "//127.0.0.1:{port}/v1/chat/completions"]
)
def test_a_redirect_on_the_same_host_is_followed_with_the_key(place: str, asking: Asking) -> None:
    with MisbehavingServer(Behaviour()) as server:
        port = server.endpoint.rpartition(":")[2]
        server.orders.appendleft(
            Behaviour(status=308, body=b"", headers=(("Location", place.format(port=port)),))
        )
        assert isinstance(asking(server), str)
        assert [one.headers["authorization"] for one in server.requests] == [f"Bearer {KEY}"] * 2


def test_a_redirect_that_is_allowed_leaves_the_key_behind(asking: Asking) -> None:
    with MisbehavingServer() as other:
        place = f"{other.url}/chat/completions"
        away = Behaviour(status=307, body=b"", headers=(("Location", place),))
        with MisbehavingServer(away) as server:
            assert isinstance(asking(server, allow_redirects=True), str)
        (request,) = other.requests
    assert "authorization" not in request.headers


def test_a_redirect_with_a_name_without_end_is_told_in_short(asking: Asking) -> None:
    place = f"http://{'a' * 5000}/"
    away = Behaviour(status=307, body=b"", headers=(("Location", place),))
    with MisbehavingServer(away) as server:
        assert len(refused(asking(server, attempts=1)).message) < 500


@pytest.mark.parametrize("place", ["ftp://127.0.0.1/x", "file:///etc/passwd", "http://["])
def test_a_redirect_to_no_server_is_a_failure(place: str, asking: Asking) -> None:
    away = Behaviour(status=307, body=b"", headers=(("Location", place),))
    with MisbehavingServer(away) as server:
        assert refused(asking(server, allow_redirects=True, attempts=1)).reason == SERVICE_FAILED


def test_redirects_in_a_circle_end(asking: Asking) -> None:
    loop = Behaviour(status=307, body=b"", headers=(("Location", "/v1/chat/completions"),))
    with MisbehavingServer(*[loop] * 20) as server:
        assert "redirects more than" in refused(asking(server)).message
        assert len(server.requests) == 4


HERE = ["127.0.0.1", "localhost", "2130706433", "0x7f.1", "0.0.0.0", "[::1]", "[::ffff:127.0.0.1]"]


@pytest.mark.parametrize("host", HERE)
def test_an_address_of_this_machine_can_be_refused(host: str, asking: Asking) -> None:
    with MisbehavingServer() as server:
        url = server.url.replace("127.0.0.1", host)
        error = refused(asking(server, url=url, allow_private_addresses=False))
        assert "allow_private_addresses is false" in error.message
        assert not server.requests


def test_the_address_that_was_looked_at_is_the_one_that_is_asked(
    asking: Asking, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name that means a public address when it is looked at, and another one afterwards."""
    looked_at: list[str] = []

    async def first(host: str, port: int | None) -> str:
        looked_at.append(host)
        return "127.0.0.1"  # stands for the public one: the name itself leads nowhere

    monkeypatch.setattr("florilegium.specialists.online.exchange.public_address", first)
    with MisbehavingServer() as server:
        url = server.url.replace("127.0.0.1", "rebinding.invalid")
        assert isinstance(asking(server, url=url, allow_private_addresses=False), str)
        (request,) = server.requests
    assert looked_at == ["rebinding.invalid"]
    assert request.headers["host"].startswith("rebinding.invalid:")


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("8.8.8.8", True),
        ("2606:4700::1111", True),
        ("10.0.0.1", False),
        ("169.254.169.254", False),
        ("100.64.0.1", False),
        ("224.0.0.1", False),
        ("fe80::1%eth0", False),
        ("fd00::1", False),
        ("::ffff:10.0.0.1", False),
        ("::127.0.0.1", False),
        ("64:ff9b::a9fe:a9fe", False),
        ("2002:7f00:1::", False),
        ("fec0::1", False),
        ("::ffff:0:127.0.0.1", False),
        ("::ffff:0:8.8.8.8", True),
        ("2001:4860::5efe:10.0.0.1", False),
        ("64:ff9b:1::808:808", False),
        ("168.63.129.16", False),
        ("::ffff:168.63.129.16", False),
        ("192.88.99.1", False),
        ("5f00::1", False),
    ],
)
def test_which_addresses_are_public(address: str, expected: bool) -> None:
    assert is_public(address) is expected


@pytest.mark.parametrize("place", [250, 290, 299])
@pytest.mark.parametrize("code", [400, 500, 200])
def test_no_part_of_the_key_is_left_where_a_message_is_cut(
    code: int, place: int, asking: Asking
) -> None:
    echo = f"{'x' * place}{KEY} {KEY}".encode()
    order = Behaviour(status=code, body=echo)
    with MisbehavingServer(order) as server:
        error = refused(asking(server, attempts=1))
    assert KEY[:8] not in error.message


@pytest.fixture
def reading(opened: Opened, drawing: SampleOf) -> Callable[..., SampleError]:
    """Have Azure's client ask a server about an image, and expect no answer."""

    def read(server: MisbehavingServer, **options: Any) -> SampleError:
        given = {"endpoint": server.endpoint, "api_key_env": KEY_VARIABLE, "attempts": 1}
        stage = opened(AzureOcr(AzureOcrConfig(**{**given, **options})))
        (answer,) = stage.predict([drawing(np.zeros((60, 60, 3), np.uint8))])
        return refused(answer)

    return read


@pytest.mark.parametrize(
    ("order", "message"),
    [
        (Behaviour(body=b" " * 300_000), "more than max_answer_bytes = 100000"),
        (
            Behaviour(
                body=gzip.compress(b" " * 9_000_000), headers=(("Content-Encoding", "gzip"),)
            ),
            "compressed",
        ),
        (Behaviour(body=deep(49_000)), "too deep"),
        (Behaviour(status=400, body=b"y" * 290 + KEY.encode() + b"x" * 9_000_000), "HTTP 400; yyy"),
        (Behaviour(status=302, headers=(("Location", "http://[::1]:1/"),), body=b""), "HTTP 302"),
    ],
)
def test_azure_keeps_the_same_limits(
    order: Behaviour, message: str, reading: Callable[..., SampleError]
) -> None:
    with MisbehavingServer(order) as server:
        error = reading(server, max_answer_bytes=100_000)
        assert len(server.requests) == 1
    assert message in error.message
    assert KEY[:8] not in error.message
    assert len(error.message) < 500


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "2130706433"])
def test_azure_refuses_private_addresses_too(
    host: str, reading: Callable[..., SampleError]
) -> None:
    with MisbehavingServer() as server:
        endpoint = server.endpoint.replace("127.0.0.1", host)
        error = reading(server, endpoint=endpoint, allow_private_addresses=False)
        assert "allow_private_addresses is false" in error.message
        assert not server.requests

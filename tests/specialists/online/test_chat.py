"""Conversations over real HTTP, with a server that misbehaves on order."""

from __future__ import annotations

import io
import logging
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import numpy as np
import pytest
from PIL import Image as PillowImage

from florilegium.engine.core.errors import ConfigError, SampleError
from florilegium.engine.execution.answer import BUDGET_EXHAUSTED
from florilegium.specialists.online.chat import ChatConfig, ChatService, Image, Message
from florilegium.specialists.online.failure import (
    EMPTY_ANSWER,
    INVALID_ANSWER,
    RATE_LIMITED,
    SERVICE_FAILED,
    TIMED_OUT,
)
from florilegium.specialists.online.photo import jpeg
from tests.specialists.online.server import (
    Behaviour,
    MisbehavingServer,
    analysis,
    completion,
    cut,
    empty,
    garbage,
    ok,
    slow,
    status,
)
from tests.specialists.online.stages import AskedCaption

KEY = "sk-never-to-be-seen-7"
KEY_VARIABLE = "LOOPBACK_KEY"

Chatting = Callable[..., ChatService]


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY_VARIABLE, KEY)


@pytest.fixture
def chatting() -> Iterator[Chatting]:
    """Connect to a server; closed afterwards."""
    with ExitStack() as stack:

        def make(server: MisbehavingServer, **options: Any) -> ChatService:
            defaults = {"url": server.url, "backoff_s": 0.01, "api_key_env": KEY_VARIABLE}
            service = ChatService(ChatConfig(**{**defaults, **options}))
            stack.callback(service.close)
            return service

        yield make


def questions(count: int) -> list[list[Message]]:
    return [[Message("user", (f"What is in image {number}?",))] for number in range(count)]


def reasons(answers: list[str | SampleError]) -> list[str]:
    return [one.reason if isinstance(one, SampleError) else "" for one in answers]


def test_ten_slow_requests_at_once_take_as_long_as_one(chatting: Chatting) -> None:
    with MisbehavingServer(delay_s=0.2) as server:
        service = chatting(server, concurrency=10)
        began = time.monotonic()
        answers = service.answer(questions(10))
        duration_s = time.monotonic() - began
    assert reasons(answers) == [""] * 10
    assert 0.2 <= duration_s < 0.8
    assert server.most_at_once == 10


def test_no_more_requests_at_once_than_allowed(chatting: Chatting) -> None:
    with MisbehavingServer(delay_s=0.02) as server, ThreadPoolExecutor(3) as threads:
        service = chatting(server, concurrency=4)
        answers = list(threads.map(service.answer, [questions(6)] * 3))
    assert server.most_at_once == 4
    assert answers[0] == answers[1] == answers[2]
    assert len(set(answers[0])) > 1


TROUBLES = {
    "too many requests": (status(429, retry_after=0, message="slowly"), RATE_LIMITED, "slowly"),
    "broken": (status(500, message="oh no"), SERVICE_FAILED, "HTTP 500; oh no"),
    "overloaded": (status(503), SERVICE_FAILED, "HTTP 503"),
    "slow": (slow(0.3), TIMED_OUT, "timeout_s = 0.2"),
    "cut": (cut(), SERVICE_FAILED, "no answer: RemoteProtocolError"),
    "no JSON": (garbage(), INVALID_ANSWER, "no chat completion but '<html>"),
    "no choice": (analysis({"choices": []}), INVALID_ANSWER, "no chat completion"),
    "a list": (analysis([1, 2]), INVALID_ANSWER, "no chat completion but '[1, 2]'"),
    "an error": (analysis({"error": {"message": "overloaded"}}), INVALID_ANSWER, "overloaded"),
    "no text": (empty(), EMPTY_ANSWER, "no text"),
    "white space": (ok(" \n"), EMPTY_ANSWER, "no text"),
}
"""What a server may do once, with the reason and words of the error when it does so always."""


def patience(order: Behaviour) -> float:
    """Return a time-out in seconds: short only where the server is to be too slow for it."""
    return 0.2 if order.delay_s else 20


@pytest.mark.parametrize("name", TROUBLES)
def test_what_may_pass_is_asked_again(name: str, chatting: Chatting) -> None:
    trouble, _, _ = TROUBLES[name]
    with MisbehavingServer(trouble, ok("A cat.")) as server:
        service = chatting(server, timeout_s=patience(trouble))
        assert service.answer(questions(1)) == ["A cat."]
        assert len(server.requests) == 2
        assert server.requests[0].body == server.requests[1].body


@pytest.mark.parametrize("name", TROUBLES)
def test_what_does_not_pass_is_an_error_with_its_reason(name: str, chatting: Chatting) -> None:
    trouble, reason, reported = TROUBLES[name]
    with MisbehavingServer(trouble, trouble) as server:
        service = chatting(server, timeout_s=patience(trouble), attempts=2)
        (answer,) = service.answer(questions(1))
        assert len(server.requests) == 2
    assert reasons([answer]) == [reason]
    assert reported in str(answer)


@pytest.mark.parametrize(
    ("code", "reported"),
    [
        (400, "check this image"),
        (401, "the environment variable"),
        (403, "its rights"),
        (404, "the URL and the model's name"),
        (307, "HTTP 307"),
    ],
)
def test_a_refused_request_is_not_retried_and_names_its_remedy(
    code: int, reported: str, chatting: Chatting
) -> None:
    with MisbehavingServer(status(code, message="no such thing")) as server:
        (answer,) = chatting(server).answer(questions(1))
        assert len(server.requests) == 1
    assert reasons([answer]) == [SERVICE_FAILED]
    assert reported in str(answer)
    assert "no such thing" in str(answer)


def test_a_wrong_key_is_shown_once_to_the_service(chatting: Chatting) -> None:
    with MisbehavingServer(status(401)) as server:
        answers = chatting(server, concurrency=1).answer(questions(20))
        assert len(server.requests) == 1
    assert reasons(answers) == [SERVICE_FAILED] * 20


def test_retry_after_is_honoured(chatting: Chatting) -> None:
    with MisbehavingServer(status(429, retry_after=0.25)) as server:
        assert reasons(chatting(server).answer(questions(1))) == [""]
        first, second = server.requests
    assert second.began - first.began >= 0.25


def test_a_date_to_come_again_that_is_far_away_is_believed(chatting: Chatting) -> None:
    with MisbehavingServer(status(503, retry_after="Fri, 01 Jan 2100 00:00:00 GMT")) as server:
        answers = chatting(server, concurrency=1).answer(questions(3))
        assert len(server.requests) == 1
    assert reasons(answers) == [SERVICE_FAILED] * 3
    assert "longer than longest_wait_s" in str(answers[0])


def test_one_bad_answer_costs_no_other(chatting: Chatting) -> None:
    with MisbehavingServer(status(400)) as server:
        answers = chatting(server, concurrency=1).answer(questions(3))
    assert reasons(answers) == [SERVICE_FAILED, "", ""]


@pytest.mark.parametrize(
    ("finish", "reason", "reported"),
    [
        ("length", INVALID_ANSWER, "cut off at max_tokens = 9: raise it"),
        ("content_filter", SERVICE_FAILED, "content filter"),
    ],
)
def test_half_an_answer_is_no_answer_and_not_asked_for_again(
    finish: str, reason: str, reported: str, chatting: Chatting
) -> None:
    with MisbehavingServer(ok("A cat on a", finish=finish)) as server:
        service = chatting(server, max_tokens=9)
        (answer,) = service.answer(questions(1))
        assert len(server.requests) == 1
        assert service.budget.tokens == 120, "it is paid all the same"
    assert reasons([answer]) == [reason]
    assert reported in str(answer)


def test_text_in_parts_is_joined_and_white_space_stripped(chatting: Chatting) -> None:
    parts: Any = [{"type": "text", "text": " A cat"}, {"type": "text", "text": " sits.\n"}]
    with MisbehavingServer(analysis(completion(parts))) as server:
        assert chatting(server).answer(questions(1)) == ["A cat sits."]


def test_a_conversation_arrives_as_the_protocol_has_it(chatting: Chatting) -> None:
    pixels = np.full((30, 40, 3), (250, 10, 10), np.uint8)
    photo = Image(data=jpeg(pixels, 40, 90))
    talk = [
        Message("system", ("Be brief.",)),
        Message("user", ("What is", photo, "this?")),
        Message("assistant", ("Red.",)),
        Message("user", (Image(data=b"\x89PNG", media_type="image/png"),)),
    ]
    with MisbehavingServer() as server:
        chatting(server, model="tiny", max_tokens=33, seed=None).answer([talk])
        (request,) = server.requests
    assert request.path == "/v1/chat/completions"
    assert request.headers["authorization"] == f"Bearer {KEY}"
    body = request.json
    assert {name: body[name] for name in body if name != "messages"} == {
        "model": "tiny",
        "temperature": 0.0,
        "max_tokens": 33,
    }
    system, user, assistant, last = body["messages"]
    assert system == {"role": "system", "content": "Be brief."}
    assert assistant == {"role": "assistant", "content": "Red."}
    assert [part["type"] for part in user["content"]] == ["text", "image_url", "text"]
    assert last["content"] == [
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw=="}}
    ]
    assert user["content"][1]["image_url"]["url"].startswith("data:image/jpeg;base64,")
    with PillowImage.open(io.BytesIO(photo.data)) as seen:
        assert np.abs(np.asarray(seen).astype(int) - pixels).max() < 5


def test_further_keys_of_a_request_are_added_and_removed(chatting: Chatting) -> None:
    extra = {"max_tokens": None, "max_completion_tokens": 44, "top_p": 0.5}
    with MisbehavingServer() as server:
        chatting(server, extra=extra, temperature=None).answer(questions(1))
        body = server.requests[0].json
    assert set(body) == {"model", "messages", "seed", "max_completion_tokens", "top_p"}


def test_a_service_without_keys_gets_none(chatting: Chatting) -> None:
    with MisbehavingServer() as server:
        chatting(server, api_key_env="").answer(questions(1))
        assert "authorization" not in server.requests[0].headers


def test_tokens_and_money_are_counted(chatting: Chatting) -> None:
    prices = {"price_million_tokens_in": 2.0, "price_million_tokens_out": 10.0}
    with MisbehavingServer(empty()) as server:
        service = chatting(server, price_per_request=0.001, **prices)
        service.answer(questions(2))
        assert service.budget.requests == 3
    assert service.budget.tokens == 3 * 120
    assert service.budget.cost == pytest.approx(3 * (0.001 + 0.0002 + 0.0002))


def test_a_budget_of_tokens_is_not_overshot_by_requests_in_flight(chatting: Chatting) -> None:
    with MisbehavingServer(delay_s=0.01) as server:
        service = chatting(server, max_tokens_spent=1000, concurrency=10)
        answers = service.answer(questions(30))
        assert len(server.requests) == 8
        assert reasons(service.answer(questions(1))) == [BUDGET_EXHAUSTED]
        assert len(server.requests) == 8
    assert sorted(reasons(answers)) == [""] * 8 + [BUDGET_EXHAUSTED] * 22
    assert service.budget.tokens == 960


def test_a_budget_of_requests_is_exact(chatting: Chatting) -> None:
    with MisbehavingServer(status(500), delay_s=0.01) as server:
        answers = chatting(server, max_requests=7, concurrency=10).answer(questions(30))
        assert len(server.requests) == 7
    assert reasons(answers).count("") == 6


def test_a_budget_that_the_service_does_not_count_is_told_at_once(chatting: Chatting) -> None:
    with MisbehavingServer(ok("A cat.", has_usage=False)) as server:
        answers = chatting(server, max_tokens_spent=1000, concurrency=5).answer(questions(9))
        assert len(server.requests) == 1
    assert reasons(answers) == [SERVICE_FAILED] * 9
    assert "limit max_requests instead" in str(answers[0])


def test_the_key_is_in_no_message_and_no_log(
    chatting: Chatting, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    echo = f"Incorrect API key provided: {KEY}"
    troubles = [status(400, message=echo), status(500, message=echo), ok(echo), garbage()]
    with MisbehavingServer(*troubles) as server:
        service = chatting(server, attempts=1, concurrency=1)
        service.check_reachable()
        answers = service.answer(questions(5))
        assert all(request.headers["authorization"].endswith(KEY) for request in server.requests)
    assert len(answers) == 5
    assert KEY not in f"{answers!r} {[str(answer) for answer in answers]}"
    assert KEY not in caplog.text
    assert "Incorrect API key provided: [key]" in str(answers[0])


def stage(**options: Any) -> AskedCaption:
    return AskedCaption(ChatConfig(**{"api_key_env": KEY_VARIABLE, **options}))


def test_the_host_or_the_release_stands_for_what_cannot_be_known() -> None:
    one = stage(url="https://api.example.com/v1", model="big-model")
    assert (one.model, one.revision()) == ("big-model", "api.example.com")
    assert stage(url="http://node7:8000/v1", release="2026-01-31").revision() == "2026-01-31"


def test_a_missing_key_is_found_before_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(KEY_VARIABLE)
    with pytest.raises(ConfigError, match=f"{KEY_VARIABLE}.* is not set; export {KEY_VARIABLE}="):
        stage().revision()


@pytest.mark.parametrize(
    ("options", "reported"),
    [
        ({"url": "localhost:8000"}, "is no URL of a service"),
        ({"model": ""}, "model is empty"),
        ({"max_cost": 1.0}, "all prices are 0"),
    ],
)
def test_invalid_options_fail_before_the_run(options: dict[str, Any], reported: str) -> None:
    with pytest.raises(ConfigError, match=reported):
        stage(**options).revision()


def test_a_service_that_is_down_fails_before_any_request() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/v1"
        with pytest.raises(ConfigError, match=r"cannot be used: no answer: .*; start it"):
            stage(url=url).load()


def test_a_refused_key_is_found_before_anything_is_asked() -> None:
    with MisbehavingServer(greeting=status(401, message=f"who is {KEY}?")) as server:
        with pytest.raises(ConfigError, match=r"HTTP 401; who is \[key\]\?") as caught:
            stage(url=server.url).load()
        assert KEY not in str(caught.value)


def test_a_service_without_a_list_of_models_is_believed() -> None:
    with MisbehavingServer(greeting=status(404)) as server:
        one = stage(url=server.url)
        one.load()
        one.service.close()
        assert not server.requests

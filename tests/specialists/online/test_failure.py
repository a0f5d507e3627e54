"""Refusals of a service, read."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from florilegium.specialists.online.failure import (
    RATE_LIMITED,
    SERVICE_FAILED,
    refusal,
    retry_after_s,
)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [("7", 7.0), ("0.5", 0.5), ("0", 0.0), ("-3", 0.0), ("", None), ("soon", None), ("inf", None)],
)
def test_retry_after_in_seconds(value: str, seconds: float | None) -> None:
    assert retry_after_s(value) == seconds


def test_retry_after_as_a_date() -> None:
    then = datetime.now(UTC) + timedelta(seconds=90)
    assert retry_after_s(format_datetime(then, usegmt=True)) == pytest.approx(90, abs=2)
    unzoned = format_datetime(then.replace(tzinfo=None))
    assert retry_after_s(unzoned) == pytest.approx(90, abs=2)
    assert retry_after_s("Sun, 06 Nov 1994 08:49:37 GMT") == 0


@pytest.mark.parametrize("status", [408, 409, 429, 500, 502, 503, 529])
def test_what_may_pass_is_worth_asking_again(status: int) -> None:
    failure = refusal(status, {"retry-after": "3"}, b"")
    assert failure.is_passing
    assert not failure.stops_all
    assert failure.wait_s == 3
    assert failure.reason == (RATE_LIMITED if status == 429 else SERVICE_FAILED)


@pytest.mark.parametrize(
    ("status", "cure", "stops_all"),
    [
        (400, "check this image", False),
        (401, "the environment variable", True),
        (402, "no credit", True),
        (403, "its rights", False),
        (404, "the URL and the model's name", True),
        (413, "a smaller image", False),
        (307, "HTTP 307", False),
    ],
)
def test_permanent_failures_name_their_remedy(status: int, cure: str, stops_all: bool) -> None:
    failure = refusal(status, {"retry-after": "3"}, b"{}")
    assert not failure.is_passing
    assert failure.wait_s is None
    assert failure.stops_all == stops_all
    assert failure.is_free
    assert cure in failure.message


@pytest.mark.parametrize(
    "body",
    [
        '{"error": {"code": "1", "message": "no  such\\nthing"}}',
        '{"error": "no such thing"}',
        '{"message": "no such thing"}',
        "no such thing",
        b"no such\nthing",
    ],
)
def test_what_the_service_says_is_repeated(body: str | bytes) -> None:
    assert "HTTP 400; no such thing; " in refusal(400, {}, body).message

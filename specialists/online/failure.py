"""Failures of requests, and how to react: retry, give up the request, or stop all requests.

Knows HTTP status codes and headers only.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from florilegium.engine.core.errors import SampleError
from florilegium.engine.core.redaction import redacted

SERVICE_FAILED = "service_failed"
TIMED_OUT = "timed_out"
RATE_LIMITED = "rate_limited"
INVALID_ANSWER = "invalid_answer"
EMPTY_ANSWER = "empty_answer"

_CURES = {
    400: "the request itself is refused: check this image, the model's name and the options",
    401: "the key is not accepted: check the environment variable that contains it",
    402: "the account has no credit left",
    403: "the key may not do this: check its rights, its region and the service's policy",
    404: "there is no such address or model: check the URL and the model's name",
    413: "the request is too large: send a smaller image",
}
_CONCERNS_ALL = frozenset({401, 402, 404})
"""Statuses that do not depend on the image: all other requests would get them, too."""
_LONGEST_S = 365 * 86_400.0
"""Maximum seconds of a Retry-After header."""
_PASSING = frozenset({408, 409, 425, 429})
"""Statuses that may pass on a retry, besides 500 to 599."""


class Failure(SampleError):
    """One request failed.

    `is_passing` means that a retry may succeed, after `wait_s` seconds if the service asks for it;
    `stops_all` that all other requests would fail, too. A failed answer was charged unless
    `is_free`: `tokens` (in, out), `None` if unknown.
    """

    def __init__(
        self,
        reason: str,
        message: str,
        *,
        is_passing: bool = False,
        stops_all: bool = False,
        wait_s: float | None = None,
        tokens: tuple[int, int] | None = None,
        is_free: bool = False,
    ) -> None:
        super().__init__(reason, message)
        self.is_passing = is_passing
        self.stops_all = stops_all
        self.wait_s = wait_s
        self.tokens = tokens
        self.is_free = is_free


def refusal(
    status: int,
    headers: Mapping[str, str],
    body: bytes | str,
    hide: Callable[[str], str] = redacted,
) -> Failure:
    """Return the failure for an HTTP error; `headers` ignore case.

    `hide` removes the key from the service's message, before it is shortened.
    """
    is_passing = status in _PASSING or 500 <= status < 600
    cure = _CURES.get(
        status, "it may pass: run again with --retry-dead-letters" if is_passing else ""
    )
    if 300 <= status < 400:
        cure = "the service has moved: give its new address"
    message = "; ".join(part for part in (f"HTTP {status}", _message(body, hide), cure) if part)
    return Failure(
        RATE_LIMITED if status == 429 else SERVICE_FAILED,
        message,
        is_passing=is_passing,
        stops_all=status in _CONCERNS_ALL,
        wait_s=retry_after_s(headers.get("retry-after", "")) if is_passing else None,
        is_free=True,
    )


def broken_connection(error: Exception) -> Failure:
    """Return the failure for a broken connection; the request may have been charged."""
    message = f"{type(error).__name__}: {error}".rstrip(": ")
    return Failure(SERVICE_FAILED, f"no answer: {message}", is_passing=True)


def retry_after_s(value: str) -> float | None:
    """Parse a Retry-After header, seconds or an HTTP date (RFC 9110, 10.2.3), as seconds from now.

    `None` if it is missing or invalid; at most a year.
    """
    try:
        seconds = float(value)
    except ValueError:
        return _seconds_until(value)
    return min(max(0.0, seconds), _LONGEST_S) if math.isfinite(seconds) else None


def _seconds_until(date: str) -> float | None:
    try:
        then = parsedate_to_datetime(date)
        if then.tzinfo is None:
            then = then.replace(tzinfo=UTC)
        seconds = (then - datetime.now(UTC)).total_seconds()
    except (ValueError, OverflowError, TypeError):
        return None
    return min(max(0.0, seconds), _LONGEST_S)


def _message(body: bytes | str, hide: Callable[[str], str]) -> str:
    """Return the service's message, shortened: `error` or `message` of JSON, or plain text."""
    text = body.decode("utf-8", "replace") if isinstance(body, bytes) else body
    try:
        document: Any = json.loads(text)
    except (ValueError, RecursionError):
        document = text
    for name in ("error", "message"):
        if isinstance(document, dict) and name in document:
            document = document[name]
    try:
        text = str(document)
    except (ValueError, RecursionError):  # a number with thousands of digits, deeply nested lists
        text = "an answer that cannot be printed"
    return hide(" ".join(text.split()))[:300]

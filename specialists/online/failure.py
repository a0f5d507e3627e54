"""What goes wrong with a request, and what its client may do about it: ask again, give up this
one, or leave the service alone.

Knows HTTP status codes and headers, no service and no library.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from engine.core.errors import SampleError
from engine.core.redaction import redacted

SERVICE_FAILED = "service_failed"
TIMED_OUT = "timed_out"
RATE_LIMITED = "rate_limited"
INVALID_ANSWER = "invalid_answer"
EMPTY_ANSWER = "empty_answer"

_CURES = {
    400: "the request itself is refused: look at this image, the model's name and the options",
    401: "the key is not accepted: look at the environment variable that holds it",
    402: "the account has no credit left",
    403: "the key may not do this: look at its rights, its region and the service's policy",
    404: "there is no such address or model: look at the URL and the model's name",
    413: "the request is too large: send a smaller image",
}
_CONCERNS_ALL = frozenset({401, 402, 404})
"""Refusals that have nothing to do with the image: every other request would meet them too."""
_LONGEST_S = 365 * 86_400.0
"""Seconds of a wait that a service asks for, at most."""
_PASSING = frozenset({408, 409, 425, 429})
"""Refusals that may be over a moment later, beside 500 to 599."""


class Failure(SampleError):
    """One request failed.

    `is_passing` says that it is worth asking again, not before `wait_s` seconds where the
    service said so; `stops_all` that no other request would fare better. An answer that is no use
    was charged all the same unless `is_free`: `tokens` (in, out), `None` when nobody knows.
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
    """Turn an HTTP answer that is no success into a failure; `headers` ignore case.

    `hide` takes the key out of what the service says, before it is shortened.
    """
    is_passing = status in _PASSING or 500 <= status < 600
    cure = _CURES.get(
        status, "it may pass: run again with --retry-dead-letters" if is_passing else ""
    )
    if 300 <= status < 400:
        cure = "the service has moved: give its new address"
    said = "; ".join(part for part in (f"HTTP {status}", _told(body, hide), cure) if part)
    return Failure(
        RATE_LIMITED if status == 429 else SERVICE_FAILED,
        said,
        is_passing=is_passing,
        stops_all=status in _CONCERNS_ALL,
        wait_s=retry_after_s(headers.get("retry-after", "")) if is_passing else None,
        is_free=True,
    )


def broken_connection(error: Exception) -> Failure:
    """Turn a connection that failed or broke off into a failure; it may have been paid."""
    told = f"{type(error).__name__}: {error}".rstrip(": ")
    return Failure(SERVICE_FAILED, f"no answer: {told}", is_passing=True)


def retry_after_s(value: str) -> float | None:
    """Read a Retry-After header, seconds or an HTTP date (RFC 9110, 10.2.3), as seconds from now.

    Returns nothing for a header that is absent or nonsense; no more than a year.
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


def _told(body: bytes | str, hide: Callable[[str], str]) -> str:
    """Return what a service says about its refusal, shortened: JSON's `error`, or plain text."""
    text = body.decode("utf-8", "replace") if isinstance(body, bytes) else body
    try:
        said: Any = json.loads(text)
    except (ValueError, RecursionError):
        said = text
    for name in ("error", "message"):
        if isinstance(said, dict) and name in said:
            said = said[name]
    try:
        text = str(said)
    except (ValueError, RecursionError):  # a number of thousands of digits, a list within a list
        text = "something that cannot be written"
    return hide(" ".join(text.split()))[:300]

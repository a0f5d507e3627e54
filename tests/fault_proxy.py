"""A proxy in front of a storage on loopback that counts requests, and fails as networks do.

Which request fails, and how, depends on a seed, on what is asked and on how often that was asked
before, and not on the order of requests: each run has the same faults.
"""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import urlsplit

from tests.serving import serving

SLOW_S = 0.02
_ERROR = (
    "<?xml version='1.0'?><Error><Code>{code}</Code><Message>{code} by a test</Message></Error>"
)
_ANSWERS = {
    "internal_error": (500, "InternalError"),
    "slow_down": (503, "SlowDown"),
    "unavailable": (503, "ServiceUnavailable"),
    "denied": (403, "AccessDenied"),
    "unknown_key": (403, "InvalidAccessKeyId"),
    "expired": (400, "ExpiredToken"),
    "other_region": (400, "AuthorizationHeaderMalformed"),
}
"""Faults that are answers: their status and code."""
FAULTS = (
    "internal_error",
    "slow_down",
    "unavailable",
    "refused",  # the connection is closed before the request was read whole
    "unanswered",  # the request is done, and its answer is lost
    "cut",  # the connection is closed in the middle of the answer
    "slow",
)
"""The faults that pass: who asks again gets an answer."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """A request: its kind, `LIST` or the method of HTTP, and how often it came before.

    `path` is that within the bucket; of a listing, what is asked for.
    """

    kind: str
    path: str
    before: int


Fault = Callable[[Request], str]
"""Returns the fault of a request, or nothing."""


def no_fault(request: Request) -> str:
    """Let each request through."""
    return ""


def passing_faults(seed: int, share: float) -> Fault:
    """Let a share of the requests fail, in all ways that pass."""

    def fault(request: Request) -> str:
        dice = random.Random(f"{seed} {request.kind} {request.path} {request.before}")
        return dice.choice(FAULTS) if dice.random() < share else ""

    return fault


@dataclass(kw_only=True)
class Proxy:
    """A running proxy; `fault` may be replaced at any time."""

    upstream: str
    fault: Fault = no_fault
    requests: list[Request] = field(default_factory=list)
    faults: Counter[str] = field(default_factory=Counter)
    address: str = ""
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _before: Counter[tuple[str, str]] = field(default_factory=Counter)

    def kinds(self) -> Counter[str]:
        """Count the requests by kind."""
        return Counter(request.kind for request in self.requests)

    def take(self, method: str, target: str) -> str:
        """Note a request and return its fault."""
        address, _, query = target.lstrip("/").partition("?")
        kind = "LIST" if "list-type=2" in query else method
        path = query if kind == "LIST" else address.partition("/")[2]
        with self._lock:
            request = Request(kind=kind, path=path, before=self._before[kind, path])
            self._before[kind, path] += 1
            self.requests.append(request)
            if name := self.fault(request):
                self.faults[name] += 1
        return name

    def clear(self) -> None:
        """Forget the requests up to now."""
        with self._lock:
            self.requests.clear()
            self.faults.clear()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    proxy: Proxy

    def _take(self) -> None:
        fault = self.proxy.take(self.command, self.path)
        if fault == "refused":
            self.rfile.read(int(self.headers.get("Content-Length") or 0) // 2)
            self.close_connection = True
            return
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if fault in _ANSWERS:
            status, code = _ANSWERS[fault]
            self._answer(status, {}, _ERROR.format(code=code).encode())
            return
        if fault == "slow":
            threading.Event().wait(SLOW_S)
        status, headers, data = self._forward(body)
        if fault == "unanswered":
            self.close_connection = True
            return
        self._answer(status, headers, data, is_cut=fault == "cut")

    do_GET = do_PUT = do_HEAD = do_POST = do_DELETE = _take  # noqa: N815

    def _forward(self, body: bytes) -> tuple[int, Mapping[str, str], bytes]:
        connection = HTTPConnection(urlsplit(self.proxy.upstream).netloc)
        headers = {name: value for name, value in self.headers.items() if name != "Expect"}
        connection.request(self.command, self.path, body, headers)
        answer = connection.getresponse()
        data = answer.read()
        connection.close()
        return answer.status, dict(answer.getheaders()), data

    def _answer(
        self, status: int, headers: Mapping[str, str], data: bytes, *, is_cut: bool = False
    ) -> None:
        self.send_response_only(status)
        hop = ("Connection", "Transfer-Encoding", "Content-Length")
        for name, value in headers.items():
            if name not in hop:
                self.send_header(name, value)
        is_head = self.command == "HEAD"
        length = headers.get("Content-Length", "0") if is_head else str(len(data))
        self.send_header("Content-Length", length)
        self.end_headers()
        if is_cut:
            data, self.close_connection = data[: len(data) // 2], True
        if not is_head:
            self.wfile.write(data)

    def handle(self) -> None:
        with suppress(ConnectionError):  # the other side has gone
            super().handle()

    def log_message(self, *_: Any) -> None:
        """Print nothing."""


@contextmanager
def proxy_of(upstream: str) -> Iterator[Proxy]:
    """Run a proxy in front of a server while the block runs."""
    proxy = Proxy(upstream=upstream)
    handler = type("Handler", (_Handler,), {"proxy": proxy})
    with serving(handler) as proxy.address:
        yield proxy

"""One HTTP request to a service that is not trusted.

Redirects stay on their host, answers are limited in size and uncompressed, so that few bytes cannot
become many. `service` sets the timeout and retries.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from types import TracebackType
from typing import TYPE_CHECKING, Any

from pydantic import SecretStr

from florilegium.engine.untrusted.escaped import cut
from florilegium.specialists.online.failure import (
    INVALID_ANSWER,
    SERVICE_FAILED,
    Failure,
    broken_connection,
)
from florilegium.specialists.online.reach import public_address
from florilegium.specialists.online.service import ServiceConfig

if TYPE_CHECKING:
    import httpx

MAX_REDIRECTS = 3
MAX_REFUSAL_BYTES = 64 * 1024
"""Maximum bytes that are read of an error answer."""
_REPEATED = (307, 308)
"""Redirects that repeat the same request; others change it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class HttpAnswer:
    """The answer of a service; the body of an error may be cut. Headers ignore case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def is_success(self) -> bool:
        """Whether the status is 2xx."""
        return 200 <= self.status < 300


class Exchange:
    """A connection to one service; to be entered in the event loop of the requests."""

    def __init__(self, url: str, key: SecretStr | None, config: ServiceConfig) -> None:
        import httpx

        self._config = config
        self._url = httpx.URL(url.rstrip("/"))
        self._key = {"Authorization": f"Bearer {key.get_secret_value()}"} if key else {}
        self._client = httpx.AsyncClient(
            headers={"Accept-Encoding": "identity"},
            timeout=None,  # `service` has one for the whole request
            limits=httpx.Limits(max_connections=config.concurrency),
            verify=_trust(),
            follow_redirects=False,  # they could send the request, and the key, elsewhere
        )

    async def __aenter__(self) -> Exchange:
        await self._client.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._client.__aexit__(kind, error, trace)

    async def ask(self, method: str, path: str, document: Any = None) -> HttpAnswer:
        """Send one request, and follow redirects on the same host.

        Raises:
            Failure: there is no answer, it is too large or compressed, a redirect leads elsewhere,
            or
                the address is private, which is not allowed.
        """
        import httpx

        url = httpx.URL(f"{self._url}{path}")
        for _ in range(1 + MAX_REDIRECTS):
            answer = await self._once(method, url, document)
            location = answer.headers.get("location")
            if answer.status not in _REPEATED or not location:
                return answer
            url = self._redirected(url, location)
        raise _refused(f"it redirects more than {MAX_REDIRECTS} times")

    async def _once(self, method: str, url: httpx.URL, document: Any) -> HttpAnswer:
        import httpx

        headers = dict(self._key) if _origin(url) == _origin(self._url) else {}
        extensions: dict[str, Any] = {}
        if not self._config.allow_private_addresses:
            address = await public_address(url.host, url.port)
            headers["Host"], extensions["sni_hostname"] = url.netloc.decode(), url.host
            url = url.copy_with(host=address)
        request = self._client.build_request(
            method, url, json=document, headers=headers, extensions=extensions
        )
        try:
            response = await self._client.send(request, stream=True)
            try:
                return await self._read(response)
            finally:
                await response.aclose()
        except (httpx.TransportError, httpx.StreamError) as error:
            raise broken_connection(error) from error

    async def _read(self, response: httpx.Response) -> HttpAnswer:
        most = self._config.max_answer_bytes if response.is_success else MAX_REFUSAL_BYTES
        check_encoding(response.headers)
        body = bytearray()
        async for chunk in response.aiter_raw():
            body += chunk
            if len(body) > most:
                break
        if len(body) > most and response.is_success:
            raise too_large(most)
        return HttpAnswer(
            status=response.status_code, headers=response.headers, body=bytes(body[:most])
        )

    def _redirected(self, url: httpx.URL, location: str) -> httpx.URL:
        """Return the target of a redirect, unless it leads elsewhere."""
        import httpx

        try:
            target = url.join(location)
        except (httpx.InvalidURL, ValueError):
            raise _refused("it redirects to an invalid URL") from None
        if _origin(target) == _origin(url):
            return target
        is_downgrade = url.scheme == "https" and target.scheme != "https"
        if is_downgrade or target.scheme not in ("http", "https"):
            raise _refused(f"it redirects to {cut(target.scheme)}, which is not secure")
        if not self._config.allow_redirects:
            raise _refused(
                f"it redirects to another server, {cut(target.host)}: give that one as the address "
                "if you trust it, or set allow_redirects=true"
            )
        return target


def check_encoding(headers: Mapping[str, str]) -> None:
    """Refuse a compressed answer, as none was requested.

    Raises:
        Failure: invalid_answer.
    """
    encoding = headers.get("content-encoding", "").strip().lower()
    if encoding not in ("", "identity"):
        raise Failure(
            INVALID_ANSWER, f"the answer is compressed ({encoding[:40]}), which was not requested"
        )


def too_large(most: int) -> Failure:
    """Return the failure for an answer that is too large; it may have been charged."""
    return Failure(INVALID_ANSWER, f"the answer has more than max_answer_bytes = {most} bytes")


@cache
def _trust() -> ssl.SSLContext:
    """Return the trusted certificates; loading them is slow."""
    import httpx

    return httpx.create_ssl_context()


def _origin(url: httpx.URL) -> tuple[str, str, int | None]:
    return url.scheme, url.host, url.port


def _refused(what: str) -> Failure:
    return Failure(SERVICE_FAILED, what, stops_all=True, is_free=True)

"""One question over HTTP, asked of a service that may mean no good.

A redirect stays on its host, an answer is bounded before it is kept, and is not compressed, so
that few bytes cannot become many. Knows neither the protocol nor how often is asked: a time limit
for the whole exchange is the business of `service`.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from types import TracebackType
from typing import TYPE_CHECKING, Any

from pydantic import SecretStr

from engine.safety.escaped import cut
from specialists.online.failure import INVALID_ANSWER, SERVICE_FAILED, Failure, broken_connection
from specialists.online.reach import public_address
from specialists.online.service import ServiceConfig

if TYPE_CHECKING:
    import httpx

MOST_REDIRECTS = 3
MOST_REFUSAL_BYTES = 64 * 1024
"""Bytes of an answer that is no success; what comes after them is not read."""
_REPEATED = (307, 308)
"""Redirects that repeat the same request; others would turn a question into another one."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Reply:
    """What a service answered, its body whole unless it is no success; headers ignore case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def is_success(self) -> bool:
        """Whether the status says so."""
        return 200 <= self.status < 300


class Exchange:
    """A connection to one service; to be entered in the event loop that asks."""

    def __init__(self, url: str, key: SecretStr | None, config: ServiceConfig) -> None:
        import httpx

        self._config = config
        self._url = httpx.URL(url.rstrip("/"))
        self._key = {"Authorization": f"Bearer {key.get_secret_value()}"} if key else {}
        self._client = httpx.AsyncClient(
            headers={"Accept-Encoding": "identity"},
            timeout=None,  # one time-out for the whole exchange is the service's
            limits=httpx.Limits(max_connections=config.concurrency),
            verify=_trust(),
            follow_redirects=False,  # they would carry the question, and perhaps the key, away
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

    async def ask(self, method: str, path: str, document: Any = None) -> Reply:
        """Send one request below the service's address, and follow redirects that stay there.

        Raises:
            Failure: nobody answers, the answer is too large or compressed, a redirect leads
                elsewhere, or the address is private and that is not allowed.
        """
        import httpx

        url = httpx.URL(f"{self._url}{path}")
        for _ in range(1 + MOST_REDIRECTS):
            reply = await self._once(method, url, document)
            location = reply.headers.get("location")
            if reply.status not in _REPEATED or not location:
                return reply
            url = self._redirected(url, location)
        raise _refused(f"it redirects more than {MOST_REDIRECTS} times")

    async def _once(self, method: str, url: httpx.URL, document: Any) -> Reply:
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

    async def _read(self, response: httpx.Response) -> Reply:
        most = self._config.max_answer_bytes if response.is_success else MOST_REFUSAL_BYTES
        check_encoding(response.headers)
        body = bytearray()
        async for chunk in response.aiter_raw():
            body += chunk
            if len(body) > most:
                break
        if len(body) > most and response.is_success:
            raise too_large(most)
        return Reply(status=response.status_code, headers=response.headers, body=bytes(body[:most]))

    def _redirected(self, url: httpx.URL, location: str) -> httpx.URL:
        """Return where a redirect leads, unless that is elsewhere."""
        import httpx

        try:
            place = url.join(location)
        except (httpx.InvalidURL, ValueError):
            raise _refused("it redirects to what is no address") from None
        if _origin(place) == _origin(url):
            return place
        is_downgrade = url.scheme == "https" and place.scheme != "https"
        if is_downgrade or place.scheme not in ("http", "https"):
            raise _refused(f"it redirects to {cut(place.scheme)}, which is not safe")
        if not self._config.allow_redirects:
            raise _refused(
                f"it redirects to another server, {cut(place.host)}: give that one as the address "
                "if you trust it, or set allow_redirects=true"
            )
        return place


def check_encoding(headers: Mapping[str, str]) -> None:
    """Refuse an answer that is compressed, which was not asked for.

    Raises:
        Failure: invalid_answer.
    """
    encoding = headers.get("content-encoding", "").strip().lower()
    if encoding not in ("", "identity"):
        raise Failure(
            INVALID_ANSWER, f"the answer is compressed ({encoding[:40]}), which was not asked for"
        )


def too_large(most: int) -> Failure:
    """Return the failure of an answer that is larger than allowed; it may have been paid."""
    return Failure(INVALID_ANSWER, f"the answer has more than max_answer_bytes = {most} bytes")


@cache
def _trust() -> ssl.SSLContext:
    """Return the certificates that are trusted; reading them takes a while."""
    import httpx

    return httpx.create_ssl_context()


def _origin(url: httpx.URL) -> tuple[str, str, int | None]:
    return url.scheme, url.host, url.port


def _refused(what: str) -> Failure:
    return Failure(SERVICE_FAILED, what, stops_all=True, is_free=True)

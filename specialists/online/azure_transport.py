"""A transport for Microsoft's clients that does not trust the service: answers are limited in size
and uncompressed, private addresses are refused. Needs the packages of Azure.
"""

from __future__ import annotations

import socket
from typing import Any
from urllib.parse import urlsplit

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from azure.core.pipeline.transport import AioHttpTransport

from florilegium.specialists.online.exchange import MAX_REFUSAL_BYTES, check_encoding, too_large
from florilegium.specialists.online.reach import public_address
from florilegium.specialists.online.service import ServiceConfig


class BoundedTransport(AioHttpTransport):  # type: ignore[misc]
    """Limits the size of answers, and refuses compressed ones."""

    def __init__(self, config: ServiceConfig) -> None:
        super().__init__()
        self.session: aiohttp.ClientSession | None = None
        self._limits = config

    async def open(self) -> None:
        """Open the session, in the event loop of the requests."""
        if self.session is None and not self._limits.allow_private_addresses:
            self.session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(resolver=_PublicResolver()),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
            )
        await super().open()

    async def send(self, request: Any, *, stream: bool = False, **config: Any) -> Any:
        """Send a request and read its answer.

        Raises:
            Failure: the answer is too large or compressed, or the address is private, which is not
                allowed.
        """
        request.headers["Accept-Encoding"] = "identity"
        if not self._limits.allow_private_addresses:
            host = urlsplit(request.url).hostname or ""
            await public_address(host, None)  # aiohttp does not resolve numeric addresses
        response = await super().send(request, stream=True, **config)
        try:
            check_encoding(response.headers)
            is_success = 200 <= response.status_code < 300
            most = self._limits.max_answer_bytes if is_success else MAX_REFUSAL_BYTES
            body = bytearray()
            async for chunk in response.iter_raw():
                body += chunk
                if len(body) > most:
                    break
            if len(body) > most and is_success:
                raise too_large(most)
        finally:
            await response.close()
        response._content = bytes(body[:most])  # as `response.read` does
        return response


class _PublicResolver(AbstractResolver):
    """Resolves names whose addresses are all public."""

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        address = await public_address(host, port)
        kind = socket.AF_INET6 if ":" in address else socket.AF_INET
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=kind,
                proto=0,
                flags=socket.AI_NUMERICHOST,
            )
        ]

    async def close(self) -> None:
        """Nothing to close."""

"""Web servers as sources: redirects may only lead to the server that the config names.

Otherwise a server could make this machine read internal addresses and publish the answers as
captions. fsspec uses aiohttp; this module makes its session.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from florilegium.engine.core.redaction import redacted

if TYPE_CHECKING:
    import aiohttp
    from yarl import URL


async def session(*, loop: Any, **options: Any) -> aiohttp.ClientSession:
    """Open a session that refuses redirects to another host, or from https to http."""
    import aiohttp

    trace = aiohttp.TraceConfig()
    trace.on_request_redirect.append(_check)
    return aiohttp.ClientSession(loop=loop, trace_configs=[trace], **options)


async def _check(
    session: aiohttp.ClientSession,
    context: SimpleNamespace,
    redirect: aiohttp.TraceRequestRedirectParams,
) -> None:
    """Refuse a redirect to another server.

    Raises:
        PermissionError: with both addresses.
    """
    from yarl import URL

    headers = redirect.response.headers
    target = redirect.url.join(URL(headers.get("Location") or headers.get("URI") or ""))
    if not is_same_server(redirect.url, target):
        raise PermissionError(
            f"{redacted(str(redirect.url))} redirects to another server, "
            f"{redacted(str(target.origin() if target.host else target))}: name that one if you "
            "trust it"
        )


def is_same_server(one: URL, other: URL) -> bool:
    """Whether two URLs have one scheme, host and port; a redirect from http to https is allowed."""
    is_upgrade = (one.scheme, one.port, other.scheme, other.port) == ("http", 80, "https", 443)
    return one.host == other.host and (
        is_upgrade or (one.scheme, one.port) == (other.scheme, other.port)
    )

"""Web servers as sources: a redirect stays on the host that the config names.

Else a server could have files read from places that only this machine reaches, and published as
captions. fsspec asks by aiohttp; this module gives it the session.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from engine.core.redaction import redacted

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
    """Refuse a redirect that leaves.

    Raises:
        PermissionError: with both addresses.
    """
    from yarl import URL

    headers = redirect.response.headers
    place = redirect.url.join(URL(headers.get("Location") or headers.get("URI") or ""))
    if not is_same_server(redirect.url, place):
        raise PermissionError(
            f"{redacted(str(redirect.url))} redirects to another server, "
            f"{redacted(str(place.origin() if place.host else place))}: name that one if you "
            "trust it"
        )


def is_same_server(one: URL, other: URL) -> bool:
    """Tell whether two addresses have one scheme, host and port; from http to https is no loss."""
    is_upgrade = (one.scheme, one.port, other.scheme, other.port) == ("http", 80, "https", 443)
    return one.host == other.host and (
        is_upgrade or (one.scheme, one.port) == (other.scheme, other.port)
    )

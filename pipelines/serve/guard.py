"""Who may ask the server: only its own page, opened with the token, under its own name.

The token comes once in the URL; a cookie takes its place, so that no link holds it. A page of
another site that the same browser shows cannot ask: not by name (`Host`), not across origins, and
the cookie is not sent along (`SameSite=Strict`).
"""

from __future__ import annotations

import hmac
from hashlib import sha256
from urllib.parse import urlencode

from starlette.datastructures import Headers, MutableHeaders, QueryParams
from starlette.requests import HTTPConnection
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

TOKEN = "token"
"""The parameter of the URL that has the token."""
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; "
        "object-src 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
"""On every answer that has no policy of its own: the page loads nothing from elsewhere, and runs
no script but its files."""
_OWN = ("same-origin", "none")
"""Requests of the page itself, and of a person who opens a link or types it."""


class Guard:
    """Middleware that refuses a request without the token, or from a page of another site."""

    def __init__(self, app: ASGIApp, token: str) -> None:
        self._app = app
        self._token = token.encode()
        self._cookie = f"florilegium_{sha256(self._token).hexdigest()[:8]}"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return

        async def sealed(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        answer = self._refusal(scope)
        await (answer or self._app)(scope, receive, sealed)

    def _refusal(self, scope: Scope) -> Response | None:
        """Return the answer to a request that may not pass, or that shows the token."""
        if scope["type"] != "http":
            return PlainTextResponse("only HTTP", 403)
        headers, parameters = Headers(scope=scope), QueryParams(scope["query_string"])
        if not _is_own(headers):
            return PlainTextResponse("another site may not ask", 403)
        if self._is_token(parameters.get(TOKEN, "")):
            return self._let_in(scope, parameters)
        if self._is_token(HTTPConnection(scope).cookies.get(self._cookie, "")):
            return None
        return PlainTextResponse("open the link that `florilegium serve` printed", 403)

    def _let_in(self, scope: Scope, parameters: QueryParams) -> Response:
        """Give the cookie, and go to the same page without the token."""
        others = [pair for pair in parameters.multi_items() if pair[0] != TOKEN]
        path = "/" + scope["path"].lstrip("/\\")  # "//name" would be another host
        answer = RedirectResponse(path + (f"?{urlencode(others)}" if others else ""), 303)
        value = self._token.decode()
        answer.set_cookie(self._cookie, value, httponly=True, samesite="strict")
        return answer

    def _is_token(self, given: str) -> bool:
        return hmac.compare_digest(given.encode(), self._token)


def _is_own(headers: Headers) -> bool:
    """Whether a request is not from a page of another origin."""
    origin = headers.get("origin")
    is_same = origin is None or origin == f"http://{headers.get('host')}"
    return is_same and headers.get("sec-fetch-site", "none") in _OWN

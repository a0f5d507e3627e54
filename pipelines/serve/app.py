"""The web application: what it answers to whom. It knows no page.

Only who has the token is answered, only under the name of this machine, and only from pages of this
server: no other page in the same browser can read or write anything.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Iterator, Sequence
from typing import Any
from urllib.parse import parse_qsl, urlencode

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Mount
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from florilegium.engine.core.errors import FlorilegiumError

HOSTS = ("127.0.0.1", "localhost", "[::1]")
"""The names under which a server on loopback is asked; another one is a page's that points here."""
MAX_BODY = 1 << 20
"""Bytes of a request's body, at most."""
_HEADERS = {
    "content-security-policy": "default-src 'self'; img-src 'self' data: blob:; base-uri 'none'; "
    "form-action 'self'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}


def create_app(token: str, routes: Sequence[BaseRoute]) -> Starlette:
    """Return an application with these routes and the static files, for whoever has the token."""
    static = StaticFiles(packages=[("florilegium.pipelines.serve", "static")])
    app = Starlette(
        routes=[*routes, Mount("/static", app=static)],
        middleware=[Middleware(Guard, token=token)],
        exception_handlers={FlorilegiumError: _refused, ValueError: _refused},
    )
    app.state.token = token
    return app


def _refused(_: Request, error: Exception) -> Response:
    return PlainTextResponse(str(error), status_code=400)


class Guard:
    """Refuses requests without the token, of other hosts and origins, and bodies too large."""

    def __init__(self, app: ASGIApp, *, token: str) -> None:
        self.app = app
        self.token = token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request = Request(scope)
        answer = self._refusal(request) or self._greeting(request)
        send = _with_headers(send)
        if answer is not None:
            await answer(scope, receive, send)
            return
        await self.app(scope, receive, send)

    def _refusal(self, request: Request) -> Response | None:
        host = request.headers.get("host", "")
        name = host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() else host
        if name not in HOSTS:
            return PlainTextResponse("this server is for this machine alone", status_code=421)
        if request.method in ("GET", "HEAD"):
            return None
        if request.headers.get("origin") != f"http://{host}":
            return PlainTextResponse("requests of other pages are refused", status_code=403)
        length = request.headers.get("content-length", "")
        if not length.isdigit() or int(length) > MAX_BODY:
            return PlainTextResponse(f"a body has {MAX_BODY} bytes at most", status_code=413)
        if request.headers.get("content-type", "").partition(";")[0] != "application/json":
            return PlainTextResponse("send JSON", status_code=415)
        return None

    def _greeting(self, request: Request) -> Response | None:
        """Exchange the token of a URL for a cookie; refuse who has neither."""
        cookie = f"florilegium_{request.url.port or 80}"
        given = request.query_params.get("token")
        if given is not None and request.method == "GET" and self._is_token(given):
            rest = [one for one in parse_qsl(request.url.query) if one[0] != "token"]
            target = request.url.path + (f"?{urlencode(rest)}" if rest else "")
            answer = RedirectResponse("/" + target.lstrip("/"), status_code=303)
            answer.set_cookie(cookie, self.token, httponly=True, samesite="strict", path="/")
            return answer
        if not self._is_token(request.cookies.get(cookie, "")):
            return PlainTextResponse(
                "open the address that `florilegium serve` printed: it has the token",
                status_code=403,
            )
        return None

    def _is_token(self, given: str) -> bool:
        return hmac.compare_digest(given.encode("utf-8", "replace"), self.token.encode())


def _with_headers(send: Send) -> Callable[[Message], Any]:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message["headers"], *_encoded()]
        await send(message)

    return sending


def _encoded() -> Iterator[tuple[bytes, bytes]]:
    return ((name.encode(), value.encode()) for name, value in _HEADERS.items())

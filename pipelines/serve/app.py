"""The app: the page, its files, and the routes that it asks, behind the guard."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles

from florilegium.engine.storage.folder import Folder
from florilegium.pipelines.serve.answers import answered
from florilegium.pipelines.serve.browsing import Browsing
from florilegium.pipelines.serve.guard import Guard
from florilegium.pipelines.serve.report import Report
from florilegium.pipelines.serve.rounds import Rounds

STATIC = Path(__file__).parent / "static"
HOSTS = ("127.0.0.1", "localhost")
"""Names of this machine by which the server answers."""
PAGES = ("/", "/image", "/disagreements", "/rounds", "/funnel", "/lost")
"""Paths of the page; its script shows what belongs to each."""


def create_app(run: Folder, token: str, *, audit: Sequence[BaseRoute] = ()) -> Starlette:
    """Return the app for a dataset; `audit` are the routes of its audit, with a page at `/audit`.

    Raises:
        UsageError: the dataset is not finished.
        StorageError: its manifest is damaged.
    """
    routes: list[BaseRoute] = [
        *(page_route(path, STATIC / "index.html") for path in PAGES),
        Mount("/static", StaticFiles(directory=STATIC)),
        *Browsing(Rounds(run), audits=bool(audit)).routes(),
        Route("/serve/report", answered(Report(run).endpoint), methods=["GET"]),
        *audit,
    ]
    return Starlette(
        routes=routes,
        middleware=[
            Middleware(TrustedHostMiddleware, allowed_hosts=HOSTS, www_redirect=False),
            Middleware(Guard, token=token),
        ],
    )


def page_route(path: str, file: Path) -> Route:
    """Return the route of a page, whose file is in the package."""
    return Route(path, partial(_page, file), methods=["GET"])


async def _page(file: Path, request: Request) -> Response:
    return FileResponse(file, headers={"Cache-Control": "no-cache"})

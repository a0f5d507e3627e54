"""The audit over HTTP: its page, and what the page asks and answers as JSON."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import asdict
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, Field
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from florilegium.engine.core.errors import UsageError
from florilegium.pipelines.audit.events import MOST_MISSING, Fix, Missing
from florilegium.pipelines.audit.log import checked_name
from florilegium.pipelines.audit.questions import ImageQuestion, StatementQuestion, to_json
from florilegium.pipelines.audit.session import AuditSession
from florilegium.pipelines.serve.answers import NoQuestion, Question, answered
from florilegium.pipelines.serve.app import STATIC, page_route

MAX_BODY = 1 << 20
"""Bytes of an answer, at most."""
_MEDIA = {"jpg": "jpeg", "jpeg": "jpeg", "png": "png", "webp": "webp", "gif": "gif", "bmp": "bmp"}
"""Types of images that are sent as such; others are only offered as bytes."""
_NO_STORE = {"Cache-Control": "no-store"}
Key = Annotated[str, Field(min_length=1, max_length=1000)]


class Person(Question):
    """Who asks or answers."""

    person: Annotated[str, AfterValidator(checked_name)]


class Judgement(Person):
    """An answer about one statement."""

    id: Annotated[str, Field(min_length=1, max_length=100)]
    answer: Literal["right", "wrong", "unsure", "fixed"]
    fix: Fix | None = None


class Chosen(Person):
    """An image that a person wants to search."""

    key: Key


class Search(Chosen):
    """What is missing in an image."""

    missing: Annotated[tuple[Missing, ...], Field(max_length=MOST_MISSING)]


class _Image(Question):
    key: Key


Asked = StatementQuestion | ImageQuestion | None
BodyT = TypeVar("BodyT", bound=Person)


def audit_routes(session: AuditSession) -> list[Route]:
    """Return the routes of an audit; `/audit` is its page."""

    def judge(body: Judgement) -> Asked:
        session.judge(body.person, body.id, body.answer, body.fix)
        return session.next(body.person)

    def search(body: Search) -> Asked:
        session.search(body.person, body.key, body.missing)
        return session.next(body.person)

    def posted(path: str, model: type[BodyT], ask: Callable[[BodyT], Asked]) -> Route:
        def question(body: BodyT) -> dict[str, Any]:
            found = to_json(ask(body))
            return {"question": found, "progress": asdict(session.progress(body.person))}

        async def endpoint(request: Request) -> Response:
            body = model.model_validate_json(await _body(request))
            return JSONResponse(await run_in_threadpool(question, body), headers=_NO_STORE)

        return Route(f"/audit/api/{path}", answered(endpoint), methods=["POST"])

    return [
        page_route("/audit", STATIC / "audit.html"),
        Route("/audit/api/about", answered(_about(session)), methods=["GET"]),
        Route("/audit/api/image", answered(_image(session)), methods=["GET"]),
        posted("next", Person, lambda body: session.next(body.person)),
        posted("undo", Person, lambda body: session.undo(body.person)),
        posted("choose", Chosen, lambda body: session.image(body.key)),
        posted("judge", Judgement, judge),
        posted("search", Search, search),
    ]


def _about(session: AuditSession) -> Callable[[Request], Awaitable[Response]]:
    about = {
        "dataset": session.dataset.folder.url.rstrip("/").rpartition("/")[2],
        "queue": session.queue,
        "vocabulary": session.pool.vocabulary,
        "missing_tasks": session.missing_tasks,
    }

    async def endpoint(request: Request) -> Response:
        NoQuestion.model_validate(dict(request.query_params))
        return JSONResponse(about, headers=_NO_STORE)

    return endpoint


def _image(session: AuditSession) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        wanted = _Image.model_validate(dict(request.query_params))
        sample = await run_in_threadpool(session.sample, wanted.key)
        kind = _MEDIA.get(sample.extension.lower())
        media = f"image/{kind}" if kind else "application/octet-stream"
        return Response(sample.image, media_type=media, headers=_NO_STORE)

    return endpoint


async def _body(request: Request) -> bytes:
    """Return the body of a request of this server's own page.

    Raises:
        UsageError: it is of no page, is no JSON, or is too large.
    """
    if request.headers.get("origin") is None:
        raise UsageError("only the page of this server may answer")
    if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
        raise UsageError("answers are JSON")
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > MAX_BODY:
            raise UsageError(f"an answer has {MAX_BODY} bytes at most")
    return body

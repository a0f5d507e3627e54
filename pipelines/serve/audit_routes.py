"""The audit over HTTP: its page, and what the page asks and answers as JSON."""

from __future__ import annotations

from dataclasses import asdict
from importlib.resources import files
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from florilegium.pipelines.audit.events import MOST_MISSING, Fix, Missing
from florilegium.pipelines.audit.log import checked_name
from florilegium.pipelines.audit.questions import to_json
from florilegium.pipelines.audit.session import AuditSession

_TYPES = {"jpg": "jpeg", "jpeg": "jpeg", "png": "png", "webp": "webp", "gif": "gif", "bmp": "bmp"}
"""Types of images that are sent as such; others are only offered as bytes."""
_Key = Annotated[str, Field(min_length=1, max_length=1000)]
_Person = Annotated[str, AfterValidator(checked_name)]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)
    person: _Person


class _Judgement(_Body):
    id: Annotated[str, Field(min_length=1, max_length=100)]
    answer: Literal["right", "wrong", "unsure", "fixed"]
    fix: Fix | None = None


class _Chosen(_Body):
    key: _Key


class _Search(_Body):
    key: _Key
    missing: Annotated[tuple[Missing, ...], Field(max_length=MOST_MISSING)]


BodyT = TypeVar("BodyT", bound=BaseModel)


async def _body(request: Request, model: type[BodyT]) -> BodyT:
    try:
        return model.model_validate_json(await request.body())
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise HTTPException(422, f"{where}: {first['msg']}" if where else first["msg"]) from error


def audit_routes(session: AuditSession) -> list[Route]:
    """Return the routes of an audit: `/audit` is its page."""
    page = files("florilegium.pipelines.serve").joinpath("static/audit.html").read_text("utf-8")

    async def show(_: Request) -> Response:
        return HTMLResponse(page)

    async def about(_: Request) -> Response:
        return JSONResponse(
            {
                "dataset": session.dataset.folder.url.rstrip("/").rpartition("/")[2],
                "queue": session.queue,
                "vocabulary": session.pool.vocabulary,
                "missing_tasks": session.missing_tasks,
            }
        )

    async def image(request: Request) -> Response:
        sample = await run_in_threadpool(session.sample, request.query_params.get("key", ""))
        kind = _TYPES.get(sample.extension.lower())
        media = f"image/{kind}" if kind else "application/octet-stream"
        return Response(sample.image, media_type=media)

    async def ask(request: Request) -> Response:
        body = await _body(request, _Body)
        return await _asked(session, body.person, session.next, body.person)

    async def choose(request: Request) -> Response:
        body = await _body(request, _Chosen)
        return await _asked(session, body.person, session.image, body.key)

    async def judge(request: Request) -> Response:
        body = await _body(request, _Judgement)
        await run_in_threadpool(session.judge, body.person, body.id, body.answer, body.fix)
        return await _asked(session, body.person, session.next, body.person)

    async def search(request: Request) -> Response:
        body = await _body(request, _Search)
        await run_in_threadpool(session.search, body.person, body.key, body.missing)
        return await _asked(session, body.person, session.next, body.person)

    async def undo(request: Request) -> Response:
        body = await _body(request, _Body)
        return await _asked(session, body.person, session.undo, body.person)

    return [
        Route("/audit", show),
        Route("/audit/api/about", about),
        Route("/audit/api/image", image),
        Route("/audit/api/next", ask, methods=["POST"]),
        Route("/audit/api/choose", choose, methods=["POST"]),
        Route("/audit/api/judge", judge, methods=["POST"]),
        Route("/audit/api/search", search, methods=["POST"]),
        Route("/audit/api/undo", undo, methods=["POST"]),
    ]


async def _asked(session: AuditSession, person: str, question: Any, *of: str) -> Response:
    """Answer with a question and the estimates."""
    found = await run_in_threadpool(question, *of)
    progress = await run_in_threadpool(session.progress, person)
    return JSONResponse({"question": to_json(found), "progress": asdict(progress)})

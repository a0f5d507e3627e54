"""Routes that answer in JSON: a function of a validated question, run in a thread.

    json_route("/api/run", NoQuestion, describe)

A question is a pydantic model of the parameters of the URL; an answer is one, too. What goes wrong
is `{"error": MESSAGE}` with a status that fits.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from florilegium.engine.core.errors import FlorilegiumError, UsageError

Q = TypeVar("Q", bound=BaseModel)


class Question(BaseModel):
    """The parameters of a URL; an unknown one is refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Answer(BaseModel):
    """What a route answers."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class NoQuestion(Question):
    """Of a route without parameters."""


class NotFound(UsageError):
    """What was asked for is not in the dataset."""


def json_route(path: str, question: type[Q], answer: Callable[[Q], BaseModel]) -> Route:
    """Return a route that is only read, at this path."""

    async def endpoint(request: Request) -> Response:
        asked = question.model_validate(dict(request.query_params))
        return json_response(await run_in_threadpool(answer, asked))

    return Route(path, answered(endpoint), methods=["GET"])


def json_response(answer: BaseModel) -> Response:
    """Return a model as JSON that no cache keeps."""
    headers = {"Cache-Control": "no-store"}
    return Response(answer.model_dump_json(), media_type="application/json", headers=headers)


def answered(endpoint: Callable[[Request], Any]) -> Callable[[Request], Any]:
    """Return an endpoint whose errors are answers: 422, 404, 400, or 500 for a damaged file."""

    async def answer(request: Request) -> Response:
        try:
            response: Response = await endpoint(request)
            return response
        except ValidationError as error:
            where = [f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors()]
            return _error("; ".join(where), 422)
        except NotFound as error:
            return _error(str(error), 404)
        except FlorilegiumError as error:
            return _error(str(error), 400 if isinstance(error, UsageError) else 500)

    return answer


def _error(message: str, status: int) -> Response:
    return JSONResponse({"error": message}, status, headers={"Cache-Control": "no-store"})

"""The command that shows a dataset in the browser, and lets people audit it there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from florilegium.pipelines.commands.options import Directory, err, out, warn

if TYPE_CHECKING:
    from starlette.routing import Route

    from florilegium.engine.storage.folder import Folder


class Queue(StrEnum):
    """What an audit asks next."""

    RANDOM = "random"
    GAIN = "gain"


_NAMES: Mapping[Queue, Literal["random", "gain"]] = {Queue.RANDOM: "random", Queue.GAIN: "gain"}


def serve(
    context: typer.Context,
    directory: Directory,
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="The port on 127.0.0.1; 0 takes a free one.")
    ] = 0,
    opens: Annotated[bool, typer.Option("--open", help="Open the page in a browser.")] = False,
    audit: Annotated[
        bool, typer.Option("--audit", help="Let people judge annotations: writes `audit.jsonl`.")
    ] = False,
    queue: Annotated[
        Queue | None,
        typer.Option(
            help="What an audit asks: `random` statements, for estimates, or those of most `gain` "
            "for a calibration, the default for candidates of a refinement."
        ),
    ] = None,
) -> None:
    """Browse a finished dataset in a page on this machine, until Ctrl-C."""
    from florilegium.engine.planning.registry import require

    require("serve", ("starlette", "uvicorn"), extra="serve")
    from florilegium.engine.storage.folder import Folder
    from florilegium.pipelines.serve.app import create_app
    from florilegium.pipelines.serve.server import new_token
    from florilegium.pipelines.serve.server import serve as serve_app
    from florilegium.pipelines.terminal.stopping import Stop

    def ready(url: str) -> None:
        url = url.replace("/?", "/audit?", 1) if audit else url
        out.say(url)
        err.say("open it in a browser of this machine; Ctrl-C stops the server")
        if opens:
            typer.launch(url)

    token, folder = new_token(), Folder(directory)
    if isinstance(context.obj, Stop):
        context.obj.expect()
    with _auditing(folder, queue) if audit else nullcontext(()) as routes:
        serve_app(create_app(folder, token, audit=routes), token, port=port, ready=ready)
    kept = f"; the answers are in {directory}: audit/, audit.jsonl" if audit else ""
    err.say(f"the server is stopped{kept}")


@contextmanager
def _auditing(folder: Folder, queue: Queue | None) -> Iterator[Sequence[Route]]:
    """Open the audit of a dataset, and yield its routes; what browsing alone does not need is
    imported here."""
    from florilegium.pipelines.audit.session import opened_audit
    from florilegium.pipelines.serve.audit_routes import audit_routes

    with opened_audit(folder, _NAMES[queue] if queue else None) as session:
        warn(session.log.notes)
        yield audit_routes(session)

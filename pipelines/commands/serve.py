"""The command that shows a dataset in the browser."""

from __future__ import annotations

from typing import Annotated

import typer

from florilegium.pipelines.commands.options import Directory, out


def serve(
    directory: Directory,
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="The port on 127.0.0.1; 0 takes a free one.")
    ] = 0,
    opens: Annotated[bool, typer.Option("--open", help="Open the page in a browser.")] = False,
) -> None:
    """Browse a finished dataset in a page on this machine, until Ctrl-C."""
    from florilegium.engine.planning.registry import require

    require("serve", ("starlette", "uvicorn"), extra="serve")
    from florilegium.engine.storage.folder import Folder
    from florilegium.pipelines.serve.app import create_app
    from florilegium.pipelines.serve.server import new_token
    from florilegium.pipelines.serve.server import serve as serve_app

    def ready(url: str) -> None:
        out.say(url)
        if opens:
            typer.launch(url)

    token = new_token()
    serve_app(create_app(Folder(directory), token), token, port=port, ready=ready)

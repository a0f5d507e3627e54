"""Starts the server on this machine alone, on a free port."""

from __future__ import annotations

import secrets
import socket
from collections.abc import Callable, Sequence

from florilegium.engine.core.errors import UsageError
from florilegium.engine.planning.registry import require

LOOPBACK = "127.0.0.1"


def serve(
    routes: Callable[[], Sequence[object]], *, port: int, start: str, announce: Callable[[str], None]
) -> None:
    """Serve pages until Ctrl-C; `announce` is given the address with the token once it answers.

    Args:
        routes: makes the routes, once the packages are known to be there.
        port: 0 takes a free one.
        start: the path of the first page.

    Raises:
        MissingPackage: the server is not installed.
        UsageError: the port is taken.
    """
    require("florilegium serve", ("starlette", "uvicorn"), extra="serve")
    import uvicorn

    from florilegium.pipelines.serve.app import create_app

    token = secrets.token_urlsafe(24)
    app = create_app(token, routes())  # type: ignore[arg-type]
    with socket.socket() as listener:
        try:
            listener.bind((LOOPBACK, port))
        except OSError as error:
            raise UsageError(
                f"port {port} of {LOOPBACK} cannot be used: {error.strerror}; leave --port out for "
                f"a free one"
            ) from error
        listener.listen()
        announce(f"http://{LOOPBACK}:{listener.getsockname()[1]}{start}?token={token}")
        config = uvicorn.Config(app, log_level="warning", access_log=False)
        uvicorn.Server(config).run(sockets=[listener])

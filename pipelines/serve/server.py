"""The server: one process on the loopback interface, until Ctrl-C."""

from __future__ import annotations

import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from secrets import token_urlsafe
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from florilegium.engine.core.errors import UsageError
from florilegium.pipelines.serve.guard import TOKEN

if TYPE_CHECKING:
    from starlette.applications import Starlette

HOST = "127.0.0.1"


def new_token() -> str:
    """Return a token that nobody can guess."""
    return token_urlsafe(24)


def serve(app: Starlette, token: str, *, port: int, ready: Callable[[str], None]) -> None:
    """Answer on a port of the loopback interface until the process is stopped; 0 is a free one.

    `ready` gets the URL with the token when requests are taken.

    Raises:
        UsageError: the port is in use.
    """
    import uvicorn

    class Server(uvicorn.Server):
        """A server that a signal ends. Uvicorn raises the signal once more when it has stopped,
        which would be the second one, that kills the command before it has cleaned up."""

        @contextmanager
        def capture_signals(self) -> Iterator[None]:
            numbers = (signal.SIGINT, signal.SIGTERM)
            before = {one: signal.signal(one, self.handle_exit) for one in numbers}
            try:
                yield
            finally:
                for one, handler in before.items():
                    signal.signal(one, handler)

    with _bound(port) as listening:
        config = uvicorn.Config(app, log_level="warning", access_log=False, ws="none")
        number = listening.getsockname()[1]
        ready(f"http://{HOST}:{number}/?{urlencode({TOKEN: token})}")
        Server(config).run(sockets=[listening])


def _bound(port: int) -> socket.socket:
    listening = socket.socket()
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((HOST, port))
        listening.listen()
    except OSError as error:
        listening.close()
        raise UsageError(f"port {port} of {HOST}: {error.strerror}; give another one") from error
    return listening

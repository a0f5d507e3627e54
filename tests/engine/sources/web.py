"""A web server on loopback: lends files for a signature, redirects, and refuses with an echo."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class WebServer:
    """Files of a free port of 127.0.0.1, between `with` and its end.

    With a `signature`, a request without it is refused, and the refusal repeats what was asked.
    `moved` are redirects by path. `asked` holds the address of every request.
    """

    def __init__(
        self,
        files: Mapping[str, bytes],
        *,
        signature: str = "",
        moved: Mapping[str, str] | None = None,
    ) -> None:
        self.asked: list[str] = []
        self._files = files
        self._signature = signature
        self._moved = moved or {}
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True

    @property
    def url(self) -> str:
        """The address without a path."""
        return f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> WebServer:
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                server.asked.append(self.path)
                path, _, query = self.path.partition("?")
                if path in server._moved:
                    self._send(302, b"", Location=server._moved[path])
                elif server._signature not in query:
                    self._send(403, f"refused: {self.path}".encode())
                elif path not in server._files:
                    self._send(404, b"")
                else:
                    self._send_file(server._files[path])

            def do_HEAD(self) -> None:
                self.do_GET()

            def _send_file(self, data: bytes) -> None:
                wanted = self.headers.get("Range", "").removeprefix("bytes=")
                start, _, stop = wanted.partition("-")
                if not wanted:
                    self._send(200, data)
                    return
                first, last = int(start or 0), int(stop or len(data) - 1)
                content_range = f"bytes {first}-{min(last, len(data) - 1)}/{len(data)}"
                self._send(206, data[first : last + 1], Content_Range=content_range)

            def _send(self, status: int, body: bytes, **headers: str) -> None:
                self.send_response(status)
                self.send_header("Content-Type", "application/octet-stream")
                self.send_header("Accept-Ranges", "bytes")
                self.send_header("Content-Length", str(len(body)))
                for name, value in headers.items():
                    self.send_header(name.replace("_", "-"), value)
                self.end_headers()
                if self.command == "GET":
                    self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Nothing is printed."""

        return Handler

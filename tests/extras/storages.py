"""As much of three object storages as a few files need, on loopback.

The clients are the real ones. The address of each server stands in the environment, where its
client looks for it.
"""

from __future__ import annotations

import json
import os
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar
from urllib.parse import parse_qs, unquote, urlsplit

_DATE = "Thu, 01 Jan 2026 00:00:00 GMT"


class _Storage(BaseHTTPRequestHandler):
    """Keeps files by name."""

    protocol_version = "HTTP/1.1"  # the client asks for leave before it sends
    files: ClassVar[dict[str, bytes]]

    @property
    def name(self) -> str:
        """The path that is asked for, without what follows it."""
        return unquote(urlsplit(self.path).path)

    def body(self) -> bytes:
        """Read what was sent."""
        return self.rfile.read(int(self.headers["Content-Length"]))

    def answer(self, code: int, data: bytes = b"", **headers: str) -> None:
        """Send an answer; that to HEAD without its body. In names of headers, `_` means `-`."""
        self.send_response(code)
        for name, value in {"ETag": '"0"', "Last_Modified": _DATE, **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        """Print nothing."""


class S3(_Storage):
    """Files at `/BUCKET/NAME`."""

    files: ClassVar[dict[str, bytes]] = {}

    def do_PUT(self) -> None:
        """Keep a file."""
        self.files[self.name] = self.body()
        self.answer(200)

    def do_GET(self) -> None:
        """Return a file."""
        data = self.files.get(self.name)
        suffix = re.fullmatch(r"bytes=-(\d+)", self.headers.get("Range", ""))
        if data is not None and suffix:
            self.answer(206, data[-int(suffix[1]) :])
        else:
            self.answer(404 if data is None else 200, data or b"")

    do_HEAD = do_GET  # noqa: N815


class GoogleCloud(_Storage):
    """The JSON API: an upload has a description and the file in two parts."""

    files: ClassVar[dict[str, bytes]] = {}

    def do_POST(self) -> None:
        """Keep a file."""
        _, about, data, _ = self.body().split(b"--==0==")
        described = json.loads(about.partition(b"\n\n")[2])
        self.files[described["name"]] = data.partition(b"\n\n")[2].removesuffix(b"\n")
        self._describe(described["name"])

    def do_GET(self) -> None:
        """Return a file, or what it is, or what is in a folder."""
        folder, _, name = self.name.partition("/o/")
        query = parse_qs(urlsplit(self.path).query)
        if not name and folder.endswith("/o"):
            prefix = query.get("prefix", [""])[0]
            items = [self._description(one) for one in self.files if one.startswith(prefix)]
            self.answer(200, json.dumps({"items": items}).encode())
        elif name not in self.files:
            self.answer(404, b'{"error": {"code": 404, "message": "Not Found"}}')
        elif query.get("alt") == ["media"]:
            suffix = re.fullmatch(r"bytes=-(\d+)", self.headers.get("Range", ""))
            self.answer(200, self.files[name][-int(suffix[1]) if suffix else 0 :])
        else:
            self._describe(name)

    def _describe(self, name: str) -> None:
        self.answer(200, json.dumps(self._description(name)).encode())

    def _description(self, name: str) -> dict[str, str]:
        return {
            "name": name,
            "bucket": "bucket",
            "size": str(len(self.files[name])),
            "generation": "1",
            "updated": "2026-01-01T00:00:00Z",
            "timeCreated": "2026-01-01T00:00:00Z",
        }


class Azure(_Storage):
    """Blobs at `/ACCOUNT/CONTAINER/NAME`; a client asks for ranges of them."""

    files: ClassVar[dict[str, bytes]] = {}

    def do_PUT(self) -> None:
        """Keep a blob."""
        self.files[self.name] = self.body()
        self.answer(201, x_ms_request_server_encrypted="true")

    def do_GET(self) -> None:
        """Return a blob, or a range of it."""
        data = self.files.get(self.name)
        kind = {"x_ms_blob_type": "BlockBlob", "x_ms_creation_time": _DATE}
        if data is None:
            self.answer(404, x_ms_error_code="BlobNotFound")
            return
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("x-ms-range", ""))
        if wanted is None or self.command == "HEAD":
            self.answer(200, data, **kind)
            return
        first = int(wanted[1])
        part = data[first : int(wanted[2] or len(data)) + 1]
        where = f"bytes {first}-{first + len(part) - 1}/{len(data)}"
        self.answer(206, part, **kind, Content_Range=where)

    do_HEAD = do_GET  # noqa: N815


def serve(storage: type[_Storage]) -> str:
    """Run a storage until this process ends, and return its address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), storage)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    os.environ["NO_PROXY"] = "127.0.0.1"
    return f"http://127.0.0.1:{server.server_port}"


def write_and_read(url: str) -> None:
    """Write a file below a URL and read it back, whole and its end."""
    from florilegium.engine.storage.folder import Folder

    folder = Folder(url)
    folder.publish("shards/000000.tar", b"a tar")
    assert folder.read("shards/000000.tar") == b"a tar"
    assert folder.tail("shards/000000.tar", 3) == b"tar"
    assert folder.size("shards/000000.tar") == 5
    assert folder.read("shards/absent.tar") is None
    with folder.publishing("shards/000001.tar") as file:
        file.write(b"another tar")
    assert folder.read("shards/000001.tar") == b"another tar"

"""A storage with the interface of S3 that waits before each answer, in a process of its own.

It keeps what is written in memory, and lists, beside that, as many files of shards as are wanted:
`FOLDER/shards/NAME.tar` and so on, which cannot be read.
"""

from __future__ import annotations

import bisect
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit
from urllib.request import Request, urlopen

PAGE = 1000
ENDS = (".parquet", ".tar", "_stats.json")
_HEAD = "<?xml version='1.0'?><ListBucketResult xmlns='http://s3.amazonaws.com/doc/2006-03-01/'>"
_TIME = "2026-01-01T00:00:00.000Z"
_OBJECT = (
    "<Contents><Key>{key}</Key><LastModified>{time}</LastModified><ETag>&quot;0&quot;</ETag>"
    "<Size>{size}</Size><StorageClass>STANDARD</StorageClass></Contents>"
)


def shard_name(number: int) -> str:
    """Return the name of a shard that is only listed."""
    return f"{number:06d}-{sha256(str(number).encode()).hexdigest()[:16]}"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wait_s: float
    listed: list[str]
    files: dict[str, bytes]
    requests: list[str]

    def _begin(self, kind: str) -> str:
        path = unquote(urlsplit(self.path).path).lstrip("/").partition("/")[2]
        self.requests.append(f"{kind} {path}")
        time.sleep(self.wait_s)
        return path

    def do_GET(self) -> None:
        """Answer with a page of a listing, a file, or, at `/-/requests`, what was asked."""
        if self.path == "/-/requests":
            asked = json.dumps(self.requests).encode()
            self.requests.clear()
            return self._answer(200, asked)
        query = {name: values[0] for name, values in parse_qs(urlsplit(self.path).query).items()}
        if "list-type" in query:
            self._begin("LIST")
            return self._answer(200, self._page(query))
        data = self.files.get(self._begin("GET"))
        return self._answer(404, b"") if data is None else self._answer(200, data)

    def do_HEAD(self) -> None:
        """Answer with the size of a file."""
        data = self.files.get(self._begin("HEAD"))
        self._answer(404 if data is None else 200, data or b"")

    def do_PUT(self) -> None:
        """Take a file."""
        path = self._begin("PUT")
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if "aws-chunked" in self.headers.get("Content-Encoding", ""):
            size, _, rest = body.partition(b"\r\n")
            body = rest[: int(size.partition(b";")[0], 16)]
        self.files[path] = body
        self._answer(200, b"")

    def do_DELETE(self) -> None:
        """Forget a file."""
        self.files.pop(self._begin("DELETE"), None)
        self._answer(204, b"")

    def _page(self, query: dict[str, str]) -> bytes:
        prefix, folders = query.get("prefix", ""), set[str]()
        after = query.get("continuation-token") or query.get("start-after") or ""
        if prefix.endswith("/shards/"):
            keys = self.listed
        else:
            inner = [key for key in sorted(self.files) if key.startswith(prefix)]
            folders = {key[: key.index("/", len(prefix)) + 1] for key in inner
                       if "/" in key[len(prefix) :]}  # fmt: skip
            keys = [key for key in inner if "/" not in key[len(prefix) :]]
        first = bisect.bisect_right(keys, after) if after else 0
        chosen = keys[first : first + int(query.get("max-keys", PAGE))]
        rows = "".join(
            _OBJECT.format(key=key, time=_TIME, size=len(self.files.get(key, b"x")))
            for key in chosen
        )
        more = "".join(
            f"<CommonPrefixes><Prefix>{one}</Prefix></CommonPrefixes>" for one in sorted(folders)
        )
        is_cut = first + len(chosen) < len(keys)
        token = f"<NextContinuationToken>{chosen[-1]}</NextContinuationToken>" if is_cut else ""
        cut = f"<IsTruncated>{str(is_cut).lower()}</IsTruncated>{token}"
        return f"{_HEAD}{cut}{rows}{more}</ListBucketResult>".encode()

    def _answer(self, status: int, data: bytes) -> None:
        self.send_response_only(status)
        self.send_header("Content-Length", str(len(data)))
        self.send_header("ETag", '"0"')
        self.send_header("Last-Modified", "Thu, 01 Jan 2026 00:00:00 GMT")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def log_message(self, *_: Any) -> None:
        """Print nothing."""


@contextmanager
def waiting_storage(folder: str, shards: int, *, wait_s: float) -> Iterator[str]:
    """Run a storage in whose folder so many shards are listed; the address."""
    command = [sys.executable, "-m", __name__, folder, str(shards), str(wait_s)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        try:
            yield process.stdout.readline().strip()
        finally:
            process.kill()


def asked(address: str) -> list[str]:
    """Return what was asked since the last time: the kind and the path of each request."""
    with urlopen(Request(f"{address}/-/requests")) as answer:
        return list(json.load(answer))


def main() -> None:
    """Serve until killed."""
    folder, shards, wait_s = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
    names = sorted(map(shard_name, range(shards)))
    handler = type("Handler", (_Handler,), {
        "wait_s": wait_s, "files": {}, "requests": [],
        "listed": [f"{folder}/shards/{name}{end}" for name in names for end in ENDS],
    })  # fmt: skip
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    sys.stdout.write(f"http://127.0.0.1:{server.server_port}\n")
    sys.stdout.flush()
    server.serve_forever()


if __name__ == "__main__":
    main()

"""A service on loopback that speaks real HTTP and misbehaves on order.

It answers `/v1/chat/completions` as OpenAI's reference has it and Azure's `imageanalysis:analyze`
as the documentation of Image Analysis 4.0 does. Without an order its answer is a function of the
request alone, so that a stage which asks it is pure.
"""

from __future__ import annotations

import base64
import io
import json
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from PIL import Image

WORDS = ("lamp", "river", "bread", "cloud", "violin", "garden", "bicycle", "window")
USAGE = (100, 20)
"""Tokens in and out of each chat answer."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """What was asked. `began` is a monotonic time, seconds; headers have lower-case names."""

    path: str
    headers: dict[str, str]
    body: bytes = field(repr=False)
    began: float

    @property
    def json(self) -> Any:
        """The body of a chat request."""
        return json.loads(self.body)

    @property
    def text(self) -> str:
        """All texts of the conversation, a line each."""
        return "\n".join(self._parts("text"))

    @property
    def images(self) -> list[Image.Image]:
        """All images of the request, decoded."""
        if "/chat/" not in self.path:
            return [Image.open(io.BytesIO(self.body))]
        files = [
            base64.b64decode(part["url"].split(",", 1)[1]) for part in self._parts("image_url")
        ]
        return [Image.open(io.BytesIO(file)) for file in files]

    def _parts(self, kind: str) -> Iterator[Any]:
        for message in self.json["messages"]:
            content = message["content"]
            parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
            yield from (part[kind] for part in parts if part["type"] == kind)

    @property
    def word(self) -> str:
        """A word that depends on the whole request and on nothing else."""
        return WORDS[blake2b(self.body, digest_size=1).digest()[0] % len(WORDS)]


@dataclass(frozen=True, kw_only=True)
class Behaviour:
    """How one request is answered: after a while, with a body, perhaps cut off half-way."""

    body: bytes | None = None
    status: int = 200
    headers: tuple[tuple[str, str], ...] = ()
    delay_s: float = 0.0
    is_cut: bool = False
    drip_s: float = 0.0
    """Seconds between two bytes of the body."""


def ok(text: str | None = None, *, finish: str = "stop", has_usage: bool = True) -> Behaviour:
    """Answer a chat with a text, or as without an order."""
    if text is None:
        return Behaviour()
    return Behaviour(body=_json(completion(text, finish=finish, has_usage=has_usage)))


def analysis(document: Any) -> Behaviour:
    """Answer with this JSON."""
    return Behaviour(body=_json(document))


def status(
    code: int, *, retry_after: str | float | None = None, message: str = "not now"
) -> Behaviour:
    """Refuse, perhaps telling when to come again."""
    headers = () if retry_after is None else (("Retry-After", str(retry_after)),)
    body = _json({"error": {"code": str(code), "message": message}})
    return Behaviour(body=body, status=code, headers=headers)


def slow(seconds: float) -> Behaviour:
    """Answer as without an order, but late."""
    return Behaviour(delay_s=seconds)


def cut() -> Behaviour:
    """Promise a whole answer and close the connection after half of it."""
    return Behaviour(is_cut=True)


def garbage() -> Behaviour:
    """Answer with what is no JSON."""
    return Behaviour(body=b"<html>it works!</html>{")


def empty() -> Behaviour:
    """Answer a chat with no text; it is charged."""
    return ok("")


def completion(text: str, *, finish: str = "stop", has_usage: bool = True) -> Any:
    """Return the JSON of a chat answer."""
    tokens_in, tokens_out = USAGE
    usage = {
        "prompt_tokens": tokens_in,
        "completion_tokens": tokens_out,
        "total_tokens": tokens_in + tokens_out,
    }
    return {
        "id": "chatcmpl-0",
        "object": "chat.completion",
        "created": 0,
        "model": "loopback",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": text},
                "finish_reason": finish,
            }
        ],
        **({"usage": usage} if has_usage else {}),
    }


def line(text: str, quad: Sequence[float], *confidences: float) -> Any:
    """Return the JSON of a line of text: a corner list and a word for each confidence."""
    polygon = [{"x": quad[i], "y": quad[i + 1]} for i in range(0, 8, 2)]
    words = [
        {"text": word, "boundingPolygon": polygon, "confidence": confidence}
        for word, confidence in zip(text.split(), confidences, strict=True)
    ]
    return {"text": text, "boundingPolygon": polygon, "words": words}


def read_result(size_wh: tuple[int, int], *lines: Any) -> Any:
    """Return the JSON of an image analysis with the feature `read`."""
    return {
        "modelVersion": "2023-10-01",
        "metadata": {"width": size_wh[0], "height": size_wh[1]},
        "readResult": {"blocks": [{"lines": list(lines)}]},
    }


def _json(document: Any) -> bytes:
    return json.dumps(document).encode()


def a_sentence(request: Request) -> str:
    """Say something that depends on the request."""
    return f"A photograph of a {request.word} beside a {request.word[::-1]}."


def two_lines(request: Request) -> Any:
    """Read two lines off any image: one along its upper half, one across its lower."""
    width, height = request.images[0].size
    upper = (0, 0, width // 2, 0, width // 2, height // 4, 0, height // 4)
    low, lower = height // 2, height - 1
    whole = (0, low, width - 1, low, width - 1, lower, 0, lower)
    text = f"{request.word} street"
    return read_result(
        (width, height), line(text, upper, 0.9, 0.8), line(request.word, whole, 0.75)
    )


class MisbehavingServer:
    """A server on a free port of 127.0.0.1, from `start` or `with` to `close`.

    Orders are used up one by one by POST requests as they come; what comes after gets an
    answer `delay_s` later. `requests` holds all POST requests in order, `most_at_once` how many
    were being answered at the same time. `greeting` answers a GET, the list of models.
    """

    def __init__(
        self,
        *orders: Behaviour,
        answer: Callable[[Request], str] = a_sentence,
        read: Callable[[Request], Any] = two_lines,
        delay_s: float = 0.0,
        greeting: Behaviour | None = None,
    ) -> None:
        self.greeting = greeting or analysis({"object": "list", "data": []})
        self.orders = deque(orders)
        self.requests: list[Request] = []
        self.most_at_once = 0
        self._answer = answer
        self._read = read
        self._delay_s = delay_s
        self._now = 0
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._server = _Server(("127.0.0.1", 0), _handler_of(self))

    @property
    def endpoint(self) -> str:
        """The address without a path."""
        return f"http://127.0.0.1:{self._server.server_port}"

    @property
    def url(self) -> str:
        """The address of the chat service."""
        return f"{self.endpoint}/v1"

    def start(self) -> MisbehavingServer:
        """Answer from now on."""
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def close(self) -> None:
        """Stop answering and give the port back."""
        self._closing.set()
        self._server.shutdown()
        self._server.server_close()

    def __enter__(self) -> MisbehavingServer:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()

    def take(self, request: Request) -> Behaviour:
        """Write a request down and decide how it is answered."""
        with self._lock:
            self.requests.append(request)
            self._now += 1
            self.most_at_once = max(self.most_at_once, self._now)
            order = self.orders.popleft() if self.orders else Behaviour(delay_s=self._delay_s)
        self._closing.wait(order.delay_s)
        return order

    def done(self) -> None:
        """Forget a request that was answered."""
        with self._lock:
            self._now -= 1

    def answer_to(self, request: Request) -> bytes:
        """Answer a request as without an order."""
        if "/chat/" in request.path:
            return _json(completion(self._answer(request)))
        return _json(self._read(request))


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def handle_error(self, *_: object) -> None:
        """A client that hangs up is nothing to write about."""


def _handler_of(server: MisbehavingServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_GET(self) -> None:
            self._send(server.greeting, server.greeting.body or b"")

        def do_POST(self) -> None:
            request = Request(
                path=self.path,
                headers={name.lower(): value for name, value in self.headers.items()},
                body=self.rfile.read(int(self.headers["Content-Length"])),
                began=time.monotonic(),
            )
            try:
                order = server.take(request)
                body = order.body if order.body is not None else server.answer_to(request)
                self._send(order, body)
            finally:
                server.done()

        def _send(self, order: Behaviour, body: bytes) -> None:
            self.send_response(order.status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            for name, value in order.headers:
                self.send_header(name, value)
            self.end_headers()
            if order.drip_s:
                for byte in body:
                    self.wfile.write(bytes([byte]))
                    server._closing.wait(order.drip_s)
                return
            self.wfile.write(body[: len(body) // 2] if order.is_cut else body)
            if order.is_cut:
                self.wfile.flush()
                self.connection.shutdown(socket.SHUT_RDWR)
                self.close_connection = True

        def log_message(self, *_: object) -> None:
            """Nothing is printed."""

    return Handler

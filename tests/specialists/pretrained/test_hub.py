from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from huggingface_hub import constants

from florilegium.specialists.pretrained.hub import download_lines

FILES = {
    "acme/seer": [{"rfilename": "model.safetensors", "size": 1_540_000_000}],
    "acme/poet": [
        {"rfilename": "model.safetensors", "size": 1_000_000},
        {"rfilename": "config.json", "size": 500_000},
    ],
    "acme/silent": [{"rfilename": "model.safetensors"}],
}


class Hub(BaseHTTPRequestHandler):
    """Tells the sizes of files, as the hub does when it is asked for them."""

    def do_GET(self) -> None:
        path, _, query = self.path.partition("?")
        model, _, revision = path.removeprefix("/api/models/").partition("/revision/")
        files = FILES.get(model) if revision in ("", "v2") and query == "blobs=true" else None
        answer = {"_id": "1", "id": model, "siblings": files} if files else {"error": "not found"}
        data = json.dumps(answer).encode()
        self.send_response(200 if files else 404)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A hub on loopback in the place of the real one."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever).start()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    yield
    server.shutdown()
    server.server_close()


def test_a_missing_model_is_listed_with_its_download_size(hub: None) -> None:
    commands = ["hf download acme/seer", "hf download acme/poet --revision v2"]
    assert download_lines(commands) == [
        "not here yet: hf download acme/seer  (1.5 GB)",
        "not here yet: hf download acme/poet --revision v2  (1.5 MB)",
        "sum of all known sizes: 1.5 GB",
    ]


@pytest.mark.parametrize("model", ["acme/unknown", "acme/silent"])
def test_a_size_missing_on_the_hub_is_unknown(hub: None, model: str) -> None:
    first, why = download_lines([f"hf download {model}"])
    assert first == f"not here yet: hf download {model}  (size unknown)"
    assert why.startswith("sizes are unknown because: ")


def test_without_a_network_every_size_is_unknown() -> None:
    lines = download_lines(["hf download acme/seer", "hf download acme/poet"])
    assert [line.endswith("(size unknown)") for line in lines] == [True, True, False]
    assert "offline" in lines[2].lower()

"""A chat service on loopback, which asks about the first fact what depends on the request."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.specialists.online.server import MisbehavingServer, Request


def options(folder: Path) -> dict[str, Any]:
    return {"url": MisbehavingServer(answer=a_question).start().url, "backoff_s": 0.0}


def a_question(request: Request) -> str:
    """Ask one question, as JSON."""
    question = {"question": f"Is there a {request.word}?", "answer": "no"}
    return json.dumps([{**question, "kind": "existence", "from": [1]}])

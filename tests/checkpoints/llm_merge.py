"""A chat service on loopback that repeats one caption, and adds words of none."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from tests.specialists.online.server import WORDS, MisbehavingServer, Request

_QUOTED = re.compile(r'^- ("(?:[^"\\]|\\.)*")', re.MULTILINE)


def options(folder: Path) -> dict[str, Any]:
    return {"url": MisbehavingServer(answer=one_of_many).start().url, "backoff_s": 0.0}


def one_of_many(request: Request) -> str:
    """Repeat one of the texts that the prompt quotes, and make up a sentence."""
    captions = [json.loads(quoted) for quoted in _QUOTED.findall(request.text)]
    chosen = captions[WORDS.index(request.word) % len(captions)]
    return f"{chosen.rstrip('.')}. A giraffe watches."

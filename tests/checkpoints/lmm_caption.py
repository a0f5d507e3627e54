"""A chat service on loopback, which says of an image what depends on the whole request."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.specialists.online.server import MisbehavingServer


def options(folder: Path) -> dict[str, Any]:
    return {"url": MisbehavingServer().start().url, "backoff_s": 0.0}

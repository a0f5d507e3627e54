"""Azure AI Vision on loopback: a server that lives as long as the process."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from tests.specialists.online.server import MisbehavingServer

KEY_VARIABLE = "LOOPBACK_VISION_KEY"


def options(folder: Path) -> dict[str, Any]:
    """Start a server that reads two lines off every image."""
    os.environ[KEY_VARIABLE] = "no-secret"
    return {"endpoint": MisbehavingServer().start().endpoint, "api_key_env": KEY_VARIABLE}

"""A tiny BLIP-2, which describes crops."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.checkpoints.chat_caption import WRITERS


def options(folder: Path) -> dict[str, Any]:
    """Options with which the stage runs."""
    return {"model": str(WRITERS["blip-2"](folder))}

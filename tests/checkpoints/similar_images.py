"""A tiny image-text model for the sample filter `similar_images`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.checkpoints.image_text import write_clip


def options(folder: Path) -> dict[str, Any]:
    """Options of the sample filter."""
    return {"model": str(write_clip(folder))}

"""Options of the specialist `image_tags` with a tiny CLIP and a vocabulary of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.checkpoints.image_text import write_clip


def options(folder: Path) -> dict[str, Any]:
    """Options of the specialist `image_tags`."""
    vocabulary = ["cat", "cup of coffee", "motorcycle", "rocket", "page of a book"]
    return {"model": str(write_clip(folder)), "vocabulary": vocabulary, "top_k": 3}

"""A tiny Florence-2: the pretrained student that comes with the package."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def options(folder: Path) -> dict[str, Any]:
    """Return the options of a `florence2` stage; nothing is written into the folder."""
    return {"model": "package://florilegium/specialists/tiny_florence2"}

"""Options of the specialist `faces` with which it finds something in photographs without people."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def options(folder: Path) -> dict[str, Any]:
    """Options of the specialist `faces`."""
    return {"least_neighbours": 1, "least_face": 24}

"""A tiny NLLB that translates back, and judges what declares to be German."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.checkpoints.translate import write


def options(folder: Path) -> dict[str, Any]:
    """Return the options of `round_trip`."""
    return {"model": str(write("nllb", folder)), "languages": ["de"], "max_new_tokens": 24}

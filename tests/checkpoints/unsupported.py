"""Judges the captions of the quickstart, which were merged from none."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def options(folder: Path) -> dict[str, Any]:
    return {"specialists": ["template_caption"]}

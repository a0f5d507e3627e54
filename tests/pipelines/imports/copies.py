"""A run that a test may change: a copy of one that many share."""

from __future__ import annotations

import os
import shutil
from pathlib import Path


def copied(run: Path, output: Path) -> Path:
    """Return a copy of a run whose files are links: they are replaced, never written into."""
    output.parent.mkdir(parents=True, exist_ok=True)
    return Path(shutil.copytree(run, output, copy_function=os.link))

"""A finding: what was looked at, how it is, and the cure where something is to be done."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import Final, Literal

from florilegium.engine.core.errors import MissingPackage

Level = Literal["ok", "absent", "warning", "problem"]
OK: Final = "ok"
ABSENT: Final = "absent"
"""Not here, and not needed by the config that is checked."""
WARNING: Final = "warning"
"""A build starts, and may be slow or fail later."""
PROBLEM: Final = "problem"
"""A build cannot start."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What was found about one thing; findings of one `topic` stand together. `cure` has commands,
    a line each, or a sentence."""

    topic: str
    name: str
    level: Level
    text: str
    cure: str = ""


def pip_line(error: MissingPackage) -> str:
    """Return the command that installs what is missing."""
    return f"pip install {' '.join(map(shlex.quote, error.install.split()))}"

"""Entry points of the installed packages. Reading them takes 10 ms or more, and a build asks a
hundred times: they are read again only when a folder of `sys.path` has changed.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from functools import lru_cache
from importlib import metadata


def entry_points(group: str) -> metadata.EntryPoints:
    """Return the entry points of a group, of all installed packages."""
    return _read(group, tuple(_folders()))


def _folders() -> Iterator[tuple[str, int]]:
    """Yield where packages are looked for, and when each of these folders was last changed."""
    for path in sys.path:
        try:
            yield os.path.abspath(path), os.stat(path or os.curdir).st_mtime_ns
        except OSError:
            yield os.path.abspath(path), 0


@lru_cache(maxsize=32)
def _read(group: str, folders: tuple[tuple[str, int], ...]) -> metadata.EntryPoints:
    return metadata.entry_points(group=group)

"""Opens local files below a root without following links out of it.

A link is followed when its target is within the root and not hidden. The target is resolved first,
then opened folder by folder without following links, so that a link put there meanwhile is not
followed. A hard link is an ordinary file.
"""

from __future__ import annotations

import os
import stat
from pathlib import PurePath

from florilegium.engine.core.errors import SampleError

LINK_NOT_FOLLOWED = "link_not_followed"
"""The reason for a dead letter, and the signature of such a link in a listing."""

_CURE = "set the source's `follow_links: true` where you trust the folder"
_FOLDER = os.O_RDONLY | os.O_NOFOLLOW | os.O_DIRECTORY
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK


def leads_out(root: str, path: str) -> bool:
    """Whether the target of a path is outside a root, or hidden within it."""
    parts = _below(os.path.realpath(root), os.path.realpath(path))
    return parts is None or _hidden(parts)


def descriptor(root: str, path: str, *, follow_links: bool) -> int:
    """Open a regular file below a root for reading; nothing else, so that nothing blocks.

    Raises:
        SampleError: `link_not_followed`.
        OSError: it cannot be opened, or is not a regular file.
    """
    full = os.path.join(root, path)
    if follow_links:
        _check_regular(os.stat(full))
        return _checked(os.open(full, os.O_RDONLY | os.O_NONBLOCK))
    real_root = os.path.realpath(root)
    parts = _below(real_root, os.path.realpath(full))
    if parts is None or (_hidden(parts) and not _hidden(PurePath(path).parts)):
        raise not_followed()
    folder = os.open(real_root, _FOLDER)
    try:
        for part in parts[:-1]:
            below = os.open(part, _FOLDER, dir_fd=folder)
            os.close(folder)
            folder = below
        name = parts[-1] if parts else "."
        _check_regular(os.stat(name, dir_fd=folder, follow_symlinks=False))
        return _checked(os.open(name, _FILE, dir_fd=folder))
    finally:
        os.close(folder)


def not_followed() -> SampleError:
    """Return the error for a link that is not followed; it does not say where the link leads."""
    message = f"a link that leads out of the source, or to a hidden place in it; {_CURE}"
    return SampleError(LINK_NOT_FOLLOWED, message)


def _below(real_root: str, real: str) -> tuple[str, ...] | None:
    """Return the parts of a path below a root, or nothing when it is not below it."""
    if not PurePath(real).is_relative_to(real_root):
        return None
    return PurePath(real).relative_to(real_root).parts


def _hidden(parts: tuple[str, ...]) -> bool:
    return any(part.startswith(".") for part in parts)


def _checked(file: int) -> int:
    """Return a descriptor if it is that of a regular file; the file may have been replaced."""
    try:
        _check_regular(os.fstat(file))
    except BaseException:
        os.close(file)
        raise
    return file


def _check_regular(status: os.stat_result) -> None:
    if stat.S_ISLNK(status.st_mode):
        raise OSError("a link that leads nowhere")
    if not stat.S_ISREG(status.st_mode):
        raise OSError("it is not a regular file")

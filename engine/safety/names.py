"""Names that become parts of paths: those of stages and students, and those of finished shards.

A name is no path: it has no separator, and is neither `.` nor `..`.
"""

from __future__ import annotations

import re

LONGEST = 100
"""Characters of a name at most: with a digest behind it, it is still a name of a file."""
_NAME = re.compile(r"[A-Za-z0-9_.-]+")
_SHARD = re.compile(r"[0-9]{6,12}-[0-9a-f]{16}")


def check_name(name: object) -> None:
    """Check the name of a stage.

    Raises:
        ValueError: it is not made of letters, digits, `_`, `.` and `-`, or is too long.
    """
    is_one = isinstance(name, str) and _NAME.fullmatch(name) and name.strip(".")
    if not is_one or len(str(name)) > LONGEST:
        shown = repr(name) if len(repr(name)) <= LONGEST else f"{repr(name)[:LONGEST]}..."
        raise ValueError(
            f"{shown} is no name: take up to {LONGEST} letters, digits, `_`, `.` and `-`, as in "
            f"`my_detector`, and name the class by `use`"
        )


def is_shard_name(name: object) -> bool:
    """Whether a value is the stem of a shard's files: its number and a digest of its content."""
    return isinstance(name, str) and _SHARD.fullmatch(name) is not None

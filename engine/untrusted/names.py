"""Names that become parts of paths: those of stages and students, and those of finished shards.

A name is no path: it has no separator, and is neither `.` nor `..`.
"""

from __future__ import annotations

import re

from florilegium.engine.untrusted.escaped import cut

LONGEST = 100
"""Characters of a name at most: with a digest appended, it is still a valid file name."""
_NAME = re.compile(r"[A-Za-z0-9_.-]+")
SHARD_NAME = "[0-9]{6,12}-[0-9a-f]{16}"
"""A pattern of the names of shards."""
_SHARD = re.compile(SHARD_NAME)


def check_name(name: object) -> None:
    """Check the name of a stage.

    Raises:
        ValueError: it is not made of letters, digits, `_`, `.` and `-`, or is too long.
    """
    if not is_name(name):
        raise ValueError(
            f"{cut(name)} is no name: take up to {LONGEST} letters, digits, `_`, `.` and `-`, as "
            f"in `my_detector`, and name the class by `use`"
        )


def is_name(value: object) -> bool:
    """Whether a value can be the name of a stage or a task."""
    is_one = isinstance(value, str) and _NAME.fullmatch(value) and value.strip(".")
    return bool(is_one) and len(str(value)) <= LONGEST


def is_shard_name(name: object) -> bool:
    """Whether a value is the stem of a shard's files: its number and a digest of its content."""
    return isinstance(name, str) and _SHARD.fullmatch(name) is not None

"""JSON files of a dataset, read with limits; the error of a damaged one is one sentence.

Knows nothing of their content; their readers check the types.
"""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError

from florilegium.engine.core.errors import DamagedFile
from florilegium.engine.storage.folder import Folder
from florilegium.engine.untrusted.bounded_json import TooDeep, parsed

MAX_BYTES = 1 << 30
"""Bytes of a document, at most: a manifest of a million shards has about half of it."""
MAX_DEPTH = 64
"""Depth of nested lists and objects, at most."""
_SHOWN = 200  # characters of a reason


def read_json(folder: Folder, name: str, *, cure: str) -> Any:
    """Return the content of a JSON file, or `None` when it does not exist.

    Raises:
        StorageError: it is no JSON, or too large or too deep; the message ends with the cure.
    """
    data = read_limited(folder, name, cure=cure)
    if data is None:
        return None
    try:
        return parse_json(data)
    except ValueError as error:
        raise damaged(folder, name, error, cure=cure) from error


def read_limited(folder: Folder, name: str, *, cure: str) -> bytes | None:
    """Return the bytes of a document, or `None` when it does not exist.

    Raises:
        StorageError: there are more than `MAX_BYTES` of them, or they cannot be read.
    """
    data = read_enough(folder, name)
    try:
        refuse_large(data or b"")
    except ValueError as error:
        raise damaged(folder, name, error, cure=cure) from None
    return data


def read_enough(folder: Folder, name: str) -> bytes | None:
    """Return the bytes of a file, of a large one as many as `refuse_large` needs; `None` when it
    does not exist.

    Raises:
        StorageError: they cannot be read.
    """
    return folder.read(name, most=MAX_BYTES + 1)


def refuse_large(data: bytes) -> None:
    """Refuse a document of more than `MAX_BYTES`.

    Raises:
        ValueError: it is one.
    """
    if len(data) > MAX_BYTES:
        raise ValueError(f"it has more than {MAX_BYTES} bytes")


def parse_json(data: bytes) -> Any:
    """Return the value of a JSON document.

    Raises:
        ValueError: it is no JSON, an object has a key twice, or lists and objects are nested
            deeper than `MAX_DEPTH`.
    """
    try:
        return parsed(data, max_depth=MAX_DEPTH, has_unique_keys=True, parse_constant=_refuse)
    except TooDeep:
        problem = f"its lists and objects are more than {MAX_DEPTH} deep in each other"
        raise ValueError(problem) from None
    except ValueError as error:
        raise ValueError(f"it is not JSON: {error}") from error


def damaged(folder: Folder, name: str, reason: object, *, cure: str) -> DamagedFile:
    """Return the error of a file that is not what it should be, in one sentence."""
    return DamagedFile(f"{folder.path(name)} is damaged: {in_one_line(reason)}; {cure}")


def in_one_line(reason: object) -> str:
    """Return a reason as part of a sentence; of a pydantic error, its first problem."""
    if isinstance(reason, ValidationError):
        first = reason.errors(include_url=False, include_context=False)[0]
        reason = f"{'.'.join(map(str, first['loc']))}: {first['msg']}".removeprefix(": ")
    return " ".join(str(reason).split())[:_SHOWN]


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is no number")

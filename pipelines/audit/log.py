"""The log of an audit: a file of events for each person, to which lines are only added.

    AUDIT/PERSON.jsonl      an event on each line, on the disk before it is acknowledged

A line that was torn when the machine stopped was never acknowledged: it is left out, reported, and
cut off before the next one.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from unicodedata import normalize
from urllib.parse import quote, unquote

from pydantic import ValidationError

from florilegium.engine.core.errors import UsageError
from florilegium.engine.storage.documents import damaged, read_limited
from florilegium.engine.storage.failure import failing
from florilegium.engine.storage.folder import Folder
from florilegium.pipelines.audit.events import (
    EVENT,
    LONGEST_NAME,
    ImageSearched,
    StatementJudged,
    Undone,
)

Events = list[StatementJudged | ImageSearched | Undone]
_END = ".jsonl"
_LONGEST_FILE = 200
"""Characters of the name of a file, at most; file systems take 255 bytes, with room to publish."""
_CURE = "restore it from a copy, or remove that line"


@dataclass(kw_only=True)
class AuditLog:
    """The events by person, and how many bytes of each file were torn."""

    folder: Folder
    events: dict[str, Events] = field(default_factory=dict)
    torn: dict[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, folder: Folder) -> AuditLog:
        """Read the log of a folder.

        Raises:
            UsageError: it is not on a mounted file system, where lines cannot be added.
            StorageError: a line that was acknowledged cannot be read.
        """
        if not folder.is_local:
            raise UsageError(
                f"{folder.url}: an audit is written line by line, which object storage cannot do: "
                f"copy the dataset to a disk"
            )
        log = cls(folder=folder)
        for name in folder.names():
            if name.endswith(_END):
                person = unquote(name.removesuffix(_END))
                if _file_of(person) != name:  # another file may have the answers of this person
                    reason = f"the log of {person!r:.100} is {_file_of(person)!r:.250}"
                    raise damaged(folder, name, reason, cure="give the file that name, or move it")
                log.events[person], log.torn[person] = _read(folder, name)
        return log

    @property
    def notes(self) -> Iterator[str]:
        """What was left out, in words."""
        for person, size in sorted(self.torn.items()):
            if size:
                name = self.folder.path(_file_of(person))
                yield f"{name}: the last {size} bytes are no whole line and are left out"

    def append(self, person: str, event: StatementJudged | ImageSearched | Undone) -> None:
        """Add an event; it is on the disk when this returns.

        Raises:
            StorageError: it cannot be written; then nothing was added.
        """
        path = self.folder.path(_file_of(checked_name(person)))
        line = event.model_dump_json(exclude_none=False).encode() + b"\n"
        with failing("write", path):
            os.makedirs(os.path.dirname(path), exist_ok=True)
            is_new = not os.path.exists(path)
            with open(path, "ab", buffering=0) as file:
                end = os.fstat(file.fileno()).st_size - self.torn.get(person, 0)
                file.truncate(end)
                try:
                    _write(file.fileno(), line)
                except OSError:
                    file.truncate(end)
                    raise
            if is_new:
                _sync_folder(os.path.dirname(path))
        self.torn[person] = 0
        self.events.setdefault(person, []).append(event)


def checked_name(person: str) -> str:
    """Return the name of a person without outer white space, in Unicode's composed form: however a
    keyboard writes it, it is one person.

    Raises:
        ValueError: it is empty, too long, or has characters that cannot be printed.
    """
    name = normalize("NFC", person.strip()[: LONGEST_NAME + 1])
    if not name or len(name) > LONGEST_NAME or not name.isprintable():
        raise ValueError(f"a name has 1 to {LONGEST_NAME} printable characters")
    if len(_file_of(name)) > _LONGEST_FILE:
        raise ValueError("the name is too long for the name of a file: give a shorter one")
    return name


def _file_of(person: str) -> str:
    return f"{quote(person, safe=' ')}{_END}"


def _read(folder: Folder, name: str) -> tuple[Events, int]:
    """Return the events of a file, and the size of what follows its last whole line."""
    data = read_limited(folder, name, cure=_CURE) or b""
    whole = data[: data.rfind(b"\n") + 1]
    events = [_parsed(folder, name, number, line) for number, line in _lines(whole.splitlines())]
    return events, len(data) - len(whole)


def _lines(lines: Sequence[bytes]) -> Iterator[tuple[int, bytes]]:
    return ((number, line) for number, line in enumerate(lines, start=1) if line.strip())


def _parsed(
    folder: Folder, name: str, number: int, line: bytes
) -> StatementJudged | ImageSearched | Undone:
    try:
        return EVENT.validate_json(line)
    except ValidationError as error:
        reason = f"line {number}: {error.errors()[0]['msg']}"
        raise damaged(folder, name, reason, cure=_CURE) from error


def _write(descriptor: int, line: bytes) -> None:
    while line:
        line = line[os.write(descriptor, line) :]
    os.fsync(descriptor)


def _sync_folder(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

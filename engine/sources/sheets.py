"""Finds the rows of each image in the sheets of the folders above it.

The nearest folder with a row for the image counts, with all its sheets. Where a name in another
spelling could mean two files, or two rows one file, only exact names match; other rows are
reported.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator, Sequence

from florilegium.engine.core.errors import SampleError, StorageError
from florilegium.engine.core.image.header import TOO_MANY_BYTES
from florilegium.engine.core.limits import Limits
from florilegium.engine.core.redaction import redacted
from florilegium.engine.sources.labels import CAPTION_COLUMNS, OBJECTS, Labels
from florilegium.engine.sources.place import Place
from florilegium.engine.sources.sheet import SHEET_NAMES, Match, Sheet

SHARED_MARK = " shares-its-name"
"""Marks in the signature of a file that another file has its name in another spelling."""
_MARK = re.compile(r" metadata=(\d+)/(" + "|".join(map(re.escape, SHEET_NAMES)) + ")=")
_AMBIGUOUS = "rows with other spellings of the name (NFC, slashes) fit, and none exactly"

Found = list[tuple[Sheet, Match]]


class SheetReader:
    """Reads the labels of files from sheets; of sheets in other folders it keeps at most as many
    bytes as one sheet may have."""

    def __init__(self, place: Place, encoding: str, caption_column: str, limits: Limits) -> None:
        self._place = place
        self._encoding = encoding
        self._limits = limits
        self._captions = (caption_column,) if caption_column else CAPTION_COLUMNS
        self._sheets: dict[str, Sheet] = {}

    def sheet(self, path: str) -> Sheet:
        """Return a sheet; one that cannot be read has a problem and no rows."""
        if path not in self._sheets:
            self._forget(path)
            self._sheets[path] = read_sheet(self._place, path, self._encoding, self._limits)
        return self._sheets[path]

    def _forget(self, path: str) -> None:
        """Drop sheets that are not above a path when all together are too large."""
        if sum(sheet.size for sheet in self._sheets.values()) <= self._limits.max_sheet_bytes:
            return
        self._sheets = {
            other: sheet
            for other, sheet in self._sheets.items()
            if path.startswith(other[: -len(posixpath.basename(other))])
        }

    def add_labels(self, labels: Labels, path: str, signature: str) -> None:
        """Add the labels of a file from the sheets that its signature names."""
        is_shared = SHARED_MARK in signature
        problems: list[str] = []
        for folder, names in _levels(path, signature):
            sheets = [self.sheet(folder + name) for name in names]
            found, problem = rows_for(path.removeprefix(folder), sheets, is_shared=is_shared)
            if found:
                self._add_rows(labels, found)
                return
            problems += [problem] if problem else [sheet.first_problem() for sheet in sheets]
        # A row that cannot be read may be that of this file.
        labels.problems += filter(None, problems)

    def _add_rows(self, labels: Labels, found: Found) -> None:
        for sheet, match in found:
            row = sheet.row(match.row)
            if match.name == match.owner:
                labels.add_row(row, captions=self._captions)
                continue
            labels.add_metadata(row)
            given = [n for n in (*self._captions, OBJECTS) if row.get(n) is not None]
            if given and not match.owner:
                labels.problems.append(
                    f"{sheet.name} {sheet.place_of(match.row)}: {' and '.join(given)} of several "
                    f"images; name the one that is meant in `file_name`"
                )


def sheet_mark(up: int, name: str, signature: str) -> str:
    """Return the part of a file's signature for a sheet `up` folders above it."""
    return f" metadata={up}/{name}={signature}"


def _levels(path: str, signature: str) -> Iterator[tuple[str, list[str]]]:
    """Yield the folders with sheets that a signature names, the nearest first."""
    levels: dict[int, list[str]] = {}
    for up, name in _MARK.findall(signature):
        levels.setdefault(int(up), []).append(name)
    parents = path.split("/")[:-1]
    for up, names in sorted(levels.items()):
        yield "".join(f"{parent}/" for parent in parents[: len(parents) - up]), names


def read_sheet(place: Place, path: str, encoding: str, limits: Limits) -> Sheet:
    """Read a sheet; its problems name rows that cannot be read, or the whole sheet."""
    name = posixpath.basename(path)
    try:
        return Sheet(name, place.read(path, limit=limits.max_sheet_bytes), encoding, limits)
    except SampleError as error:
        cure = "; divide it among folders" if error.reason == TOO_MANY_BYTES else ""
        return Sheet.unreadable(name, f"{error.message}{cure}")
    except StorageError:
        raise
    except Exception as error:  # each storage client has its own errors
        return Sheet.unreadable(name, getattr(error, "strerror", None) or redacted(str(error)))


def rows_for(path: str, sheets: Sequence[Sheet], *, is_shared: bool) -> tuple[Found, str]:
    """Find the rows of a file, or why its rows cannot be used.

    `is_shared`: another file has the same name in the common spelling.
    """
    found = [(sheet, match) for sheet in sheets for match in sheet.find(path)]
    exact = [(sheet, match) for sheet, match in found if match.name == posixpath.normpath(path)]
    if exact or not found:
        return exact, ""
    if is_shared:
        return [], f"{found[0][0].name}: another file has the same name by Unicode NFC and slashes"
    if len({match.name for _, match in found}) > 1:
        return [], f"{found[0][0].name}: {len(found)} {_AMBIGUOUS}"
    return found, ""

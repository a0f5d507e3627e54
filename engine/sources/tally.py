"""Rows without a file and files without a row, counted while a folder is listed.

Reads the sheets during the listing, and drops each when the listing has left its folder.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator

from florilegium.engine.core.counted import counted
from florilegium.engine.core.limits import Limits
from florilegium.engine.sources.place import Place, SourceFolder, printable
from florilegium.engine.sources.sheet import SHEET_NAMES, Match, Sheet, folded
from florilegium.engine.sources.sheets import SHARED_MARK, read_sheet, rows_for, sheet_mark

MAX_REMARKS = 100
"""Lines about sheets, at most; one more line counts the others."""


class SheetTally:
    """Follows a listing, parents first: `enter` each folder, then count its images."""

    def __init__(self, place: Place, encoding: str, limits: Limits) -> None:
        self._place = place
        self._limits = limits
        self._encoding = encoding
        self._is_selected = place.selected()
        self._levels: list[_Level] = []
        self._shared: frozenset[str] = frozenset()
        self._depth = 0
        self._remarks: list[str] = []

    def enter(self, folder: SourceFolder) -> None:
        """Go on to a folder, and finish sheets that are not above it."""
        while self._levels and not folder.path.startswith(self._levels[-1].path):
            self._remarks += self._levels.pop().remarks(self._is_selected)
        self._depth = folder.path.count("/")
        sheets = {
            name: read_sheet(self._place, folder.path + name, self._encoding, self._limits)
            for name in SHEET_NAMES
            if name in folder.files
        }
        if sheets:
            self._levels.append(_Level(folder, sheets))
        if self._levels:
            spellings = Counter(folded(name) for name in folder.files)
            self._shared = frozenset(name for name, count in spellings.items() if count > 1)

    def marks_of(self, path: str) -> str:
        """Count an image; return the part of its signature for the sheets above it."""
        if not self._levels:
            return ""
        is_shared = folded(path.rpartition("/")[2]) in self._shared
        is_found = False
        for level in reversed(self._levels):
            is_found = level.take(path, is_shared=is_shared, is_found=is_found) or is_found
        if not is_found:
            self._levels[-1].lack(path)
        marks = [mark for level in reversed(self._levels) for mark in level.marks(self._depth)]
        return "".join(marks) + (SHARED_MARK if is_shared else "")

    def finish(self) -> tuple[str, ...]:
        """Return the remarks on sheets, after the listing."""
        while self._levels:
            self._remarks += self._levels.pop().remarks(self._is_selected)
        remarks = sorted(self._remarks)
        more = len(remarks) - MAX_REMARKS
        return (*remarks[:MAX_REMARKS], *([f"{more} more lines about sheets"] if more > 0 else []))


class _Level:
    """The sheets of one folder, and which of their rows and images matched."""

    def __init__(self, folder: SourceFolder, sheets: dict[str, Sheet]) -> None:
        self.path = folder.path
        self._sheets = sheets
        self._signatures = {name: folder.files[name] for name in sheets}
        self._uses: Counter[tuple[str, Match]] = Counter()
        self._nearer: Counter[tuple[str, Match]] = Counter()
        self._lacking: list[str] = []
        self._unclear: list[str] = []
        self._repeated: list[str] = []

    def marks(self, depth: int) -> Iterator[str]:
        """Yield the parts of the signature of a file at this depth for these sheets."""
        for name, signature in self._signatures.items():
            yield sheet_mark(depth - self.path.count("/"), name, signature)

    def take(self, path: str, *, is_shared: bool, is_found: bool) -> bool:
        """Count the rows of an image; return whether there are any. A nearer sheet may have some,
        too."""
        name = path.removeprefix(self.path)
        found, problem = rows_for(name, [*self._sheets.values()], is_shared=is_shared)
        if problem and not is_found:
            self._unclear.append(f"{printable(path)!r}: {problem}")
        elif len(found) > 1 and not is_found:
            self._repeated.append(printable(path))
        for sheet, match in found:
            (self._nearer if is_found else self._uses)[sheet.name, match] += 1
        return bool(found)

    def lack(self, path: str) -> None:
        """Count an image that no sheet names."""
        self._lacking.append(printable(path))

    def remarks(self, is_selected: Callable[[str], bool]) -> Iterator[str]:
        """Yield the remarks on the sheets of this folder."""
        where = " and ".join(printable(self.path + name) for name in self._sheets)
        if self._lacking:
            yield f"{_have(self._lacking)} no row in {where}, such as {self._lacking[0]!r}"
        if self._repeated:
            yield (
                f"{where}: {_have(self._repeated)} several rows, such as {self._repeated[0]!r}; "
                f"the captions and objects of all are taken"
            )
        if self._unclear:
            yield f"{where}: {_have(self._unclear)} no certain row, such as {self._unclear[0]}"
        for sheet in self._sheets.values():
            yield from self._remarks_on(sheet, is_selected)

    def _remarks_on(self, sheet: Sheet, is_selected: Callable[[str], bool]) -> Iterator[str]:
        where = printable(self.path + sheet.name)
        total = len(sheet) + sheet.bad_rows
        if sheet.bad_rows:
            count = f"{sheet.bad_rows:,} of {counted(total, 'row')}"
            yield f"{where}: {count} cannot be read; {printable(sheet.problems[0])}"
        elif sheet.problems:
            yield f"{where}: {printable(sheet.problems[0])}"
        lost: dict[int, str] = {}
        nearer: dict[int, str] = {}
        several: dict[int, str] = {}
        for match in sheet.matches():
            key = sheet.name, match
            if self._uses[key] > 1:
                several[match.row] = match.name
            if self._uses[key] or not is_selected(self.path + folded(match.name)):
                continue
            (nearer if self._nearer[key] else lost)[match.row] = match.name
        for rows, verb, what in (
            (lost, "name", "no image"),
            (nearer, "name", "an image that a nearer sheet names"),
            (several, "fit", "more than one image"),
        ):
            if rows:
                verb = f"{verb}s" if len(rows) == 1 else verb
                such = printable(rows[min(rows)])
                count = f"{len(rows):,} of {counted(total, 'row')}"
                yield f"{where}: {count} {verb} {what}, such as {such!r}"


def _have(images: list[str]) -> str:
    return f"{counted(len(images), 'image')} {'has' if len(images) == 1 else 'have'}"

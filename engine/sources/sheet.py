"""Sheets of an image folder: `metadata.csv`, `metadata.jsonl`, `metadata.parquet`.

As in the imagefolder of Hugging Face `datasets`, a row names its image in `file_name`, or in one
column `*_file_name`, relative to the sheet. Names match exactly, else by Unicode NFC and with
either slash. A row that cannot be read is left out and reported with its number.
"""

from __future__ import annotations

import csv
import json
import posixpath
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any, NamedTuple

from florilegium.engine.core.limits import Limits
from florilegium.engine.sources.bounded_parquet import bounded_table
from florilegium.engine.sources.columns import is_binary, readable_values
from florilegium.engine.sources.labels import CAPTION_COLUMNS, OBJECTS
from florilegium.engine.sources.text import decoded_lines
from florilegium.engine.untrusted.bounded_json import parsed

SHEET_NAMES = ("metadata.csv", "metadata.jsonl", "metadata.parquet")

_BYTES_PER_ROW = 64
"""Bytes of the limit of a sheet for each row, and for each named image, that it may have."""
_BYTES_PER_CELL = 16
"""The same for each cell of a CSV file: an empty one takes a byte there, and eight in memory."""
_MAX_PROBLEMS = 100
_CURE = "divide it among folders"
_FILE_NAME = "file_name"
_DELIMITERS = ",;\t|"
_UNUSUAL = re.compile(r"(?:^|/)\.|//|\\|/$")
"""Parts of a path that `normpath` changes; most names have none."""


class _TooMany(Exception):
    """A sheet names more images than its limit."""


class Match(NamedTuple):
    """A row that names an image: its number in the sheet, and the name as written there.

    Its labels are those of `owner`: the image in `file_name`, or the only one that it names.
    """

    row: int
    name: str
    owner: str


class Sheet:
    """The rows of one sheet, by the images that they name; each is parsed when it is needed.

    `problems` are the first rows that cannot be read, or the one reason why none can. `size` is in
    bytes.
    """

    def __init__(
        self, name: str, data: bytes, encoding: str = "", limits: Limits | None = None
    ) -> None:
        self.name = name
        self.size = len(data)
        self._limits = limits or Limits()
        self._most = max(1000, self._limits.max_sheet_bytes // _BYTES_PER_ROW)
        self._named = 0
        self._cells = 0
        self.problems: list[str] = []
        self.bad_rows = 0
        self._rows: list[Any] = []
        self._numbers: list[int] = []
        self._values: Callable[[Any], Mapping[str, Any]] = dict
        self._matches: dict[str, list[Match]] = {}
        try:
            self._read(data, encoding)
        except _TooMany as error:
            self.bad_rows += 1
            self.problems.insert(0, f"{name} is read in part: {error}")
        except Exception as error:  # hostile bytes raise anything
            self.problems.append(f"{name} cannot be read: {error}")

    @classmethod
    def unreadable(cls, name: str, problem: str) -> Sheet:
        """Return a sheet that has only a problem."""
        sheet = cls(name, b"")
        sheet.problems = [f"{name} cannot be read: {problem}"]
        return sheet

    def __len__(self) -> int:
        return len(self._rows)

    def first_problem(self) -> str:
        """Return the first problem and the number of others, or ""."""
        more = max(len(self.problems), self.bad_rows) - 1
        first = "".join(self.problems[:1])
        return f"{first} (and {more:,} more)" if more > 0 else first

    def matches(self) -> Iterator[Match]:
        """Yield all rows with all the images that they name."""
        return chain.from_iterable(self._matches.values())

    def find(self, path: str) -> list[Match]:
        """Return the rows that name a file, given relative to the sheet, in any spelling."""
        return self._matches.get(folded(path), [])

    def row(self, number: int) -> dict[str, Any]:
        """Return the values of a row, without the name of its file."""
        values = dict(self._values(self._rows[number]))
        values.pop(_FILE_NAME, None)
        return values

    def place_of(self, number: int) -> str:
        """Return the position of a row for messages: its line, or its number in a Parquet file."""
        unit = "row" if self.name.endswith(".parquet") else "line"
        return f"{unit} {self._numbers[number]}"

    def _read(self, data: bytes, encoding: str) -> None:
        if self.name.endswith(".parquet"):
            self._read_parquet(data)
            return
        if (count := max(data.count(b"\n"), data.count(b"\r"))) > self._most:
            raise ValueError(f"{count:,} lines, the limit is {self._most:,}; {_CURE}")
        lines = decoded_lines(data, encoding)
        for number, line in enumerate(lines, 1):
            if line is not None and len(line) > self._limits.max_label_bytes:
                lines[number - 1] = None
                limit = self._limits.max_label_bytes
                self._refuse(number, f"{len(line)} characters, the limit is {limit} bytes")
            elif line is None:
                cure = f"it is not {encoding} either" if encoding else "set the source's `encoding`"
                self._refuse(number, f"it is no UTF-8; {cure}")
        if self.name.endswith(".csv"):
            self._read_csv(lines)
        else:
            self._read_jsonl(lines)

    def _read_jsonl(self, lines: Sequence[str | None]) -> None:
        self._values = json.loads
        limits = self._limits
        for number, line in enumerate(lines, 1):
            if not line or not line.strip():
                continue
            try:
                values = parsed(
                    line,
                    max_depth=limits.max_json_depth,
                    max_values=limits.max_json_values,
                    has_unique_keys=True,
                )
                if not isinstance(values, dict):
                    raise ValueError("it is not a JSON object")
            except ValueError as error:
                self._refuse(number, str(error))
                continue
            self._add(number, line, values)

    def _read_csv(self, lines: Sequence[str | None]) -> None:
        """Read the rows as lists of cells: `None` where empty, else text."""
        if not lines or lines[0] is None:
            raise ValueError("its header cannot be read" if lines else "it is empty")
        header, delimiter = _header(lines[0])
        most_cells = max(1000, self._limits.max_sheet_bytes // _BYTES_PER_CELL)
        self._values = lambda cells: dict(zip(header, cells, strict=False))
        readable = [line or "\n" for line in lines]
        rows = csv.reader(
            readable, delimiter=delimiter, strict=True, skipinitialspace=delimiter != "\t"
        )
        next(rows)
        while True:
            number = rows.line_num + 1
            try:
                cells = next(rows, None)
            except csv.Error as error:
                lost = f"; it takes all up to line {rows.line_num}" * (rows.line_num > number)
                self._refuse(number, f"{error}{lost}")
                continue
            if cells is None:
                return
            self._cells += len(cells)
            if self._cells > most_cells:
                raise _TooMany(f"it has more than {most_cells:,} cells; {_CURE}")
            if len(cells) > len(header):
                cure = f"a cell with {delimiter!r} in it needs quotes"
                self._refuse(number, f"{len(cells)} cells for {len(header)} columns; {cure}")
            elif any(cells):
                values = [cell or None for cell in cells]
                self._add(number, values, self._values(values))

    def _read_parquet(self, data: bytes) -> None:
        columns = _parquet_columns(data, self._limits)
        self._values = lambda number: {name: values[number] for name, values in columns.items()}
        for number in range(len(next(iter(columns.values()), ()))):
            self._add(number + 1, number, self._values(number))

    def _add(self, number: int, row: Any, values: Mapping[str, Any]) -> None:
        names, owner = _images(values)
        if not names:
            columns = ", ".join(list(values)[:20])
            self._refuse(number, f"no {_FILE_NAME} with the name of an image ({columns})")
            return
        self._named += len(names)
        if self._named > self._most:
            raise _TooMany(f"it names more than {self._most:,} images; {_CURE}")
        for name in names:
            self._matches.setdefault(folded(name), []).append(Match(len(self._rows), name, owner))
        self._rows.append(row)
        self._numbers.append(number)

    def _refuse(self, number: int, problem: str) -> None:
        self.bad_rows += 1
        unit = "row" if self.name.endswith(".parquet") else "line"
        if len(self.problems) < _MAX_PROBLEMS:
            self.problems.append(f"{self.name} {unit} {number}: {problem:.300}")


def folded(path: str) -> str:
    """Return the common form of all spellings of a path: NFC, slashes, no `./`."""
    plain = path if path.isascii() else unicodedata.normalize("NFC", path)
    return posixpath.normpath(plain.replace("\\", "/")) if _UNUSUAL.search(plain) else plain


def _images(values: Mapping[str, Any]) -> tuple[tuple[str, ...], str]:
    """Return the images that a row names, and the one that its labels describe, if any."""
    names: dict[str, None] = {}
    for column, value in values.items():
        if f"_{column}".endswith("_file_name"):
            value = [value]
        elif not isinstance(value, list) or not f"_{column}".endswith("_file_names"):
            continue
        named = (name for name in value if isinstance(name, str) and name)
        names |= dict.fromkeys(map(posixpath.normpath, named))
    own = values.get(_FILE_NAME)
    if isinstance(own, str) and own:
        return tuple(names), posixpath.normpath(own)
    return tuple(names), next(iter(names)) if len(names) == 1 else ""


def _header(line: str) -> tuple[list[str], str]:
    """Read the first line of a CSV file: its columns, and the delimiter that separates most.

    Raises:
        ValueError: no column has names of images, or two columns have one name.
    """
    headers = []
    for delimiter in _DELIMITERS:
        cells = next(csv.reader([line], delimiter=delimiter, skipinitialspace=True), [])
        columns = [cell.strip() for cell in cells]
        if any(f"_{column}".endswith("_file_name") for column in columns):
            headers.append((columns, delimiter))
    if not headers:
        raise ValueError(f"no column {_FILE_NAME} in its first line: {line.strip():.200}")
    columns, delimiter = max(headers, key=lambda header: len(header[0]))
    if len(set(columns)) < len(columns):
        twice = Counter(columns).most_common(1)[0][0]
        raise ValueError(f"it has the column {twice!r} twice; rename one of them")
    return columns, delimiter


def _parquet_columns(data: bytes, limits: Limits) -> dict[str, list[Any]]:
    """Read the columns of a sheet; of bytes only those that may be text."""
    table = bounded_table(data, limits)
    return {
        name: [
            value
            for chunk in column.chunks
            for value in readable_values(chunk, most_bytes=limits.max_sheet_bytes)
        ]
        for name, column in zip(table.column_names, table.columns, strict=True)
        if not is_binary(column.type) or name in (*CAPTION_COLUMNS, OBJECTS)
    }

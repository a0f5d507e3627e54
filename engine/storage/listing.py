"""What is in a folder of any file system, as columns: a folder may have millions of files."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from itertools import islice
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from fsspec.implementations.local import LocalFileSystem

from florilegium.engine.storage.object_storage import pages_of
from florilegium.engine.storage.s3_listing import Page

LISTING = pa.schema(
    [("name", pa.string()), ("kind", pa.string()), ("size", pa.int64()), ("modified", pa.float64())]
)
"""An entry of a folder, as `Entry` has it."""
_TOGETHER = 10_000
"""Entries that become columns together."""
_MODIFIED = ("mtime", "LastModified", "last_modified", "modified", "created")
"""Names of the time of the last change in different file systems."""


def listing_of(fs: Any, path: str, *, cuts: Sequence[str] = ()) -> Iterator[pa.Table]:
    """Yield the entries of a folder as rows of `LISTING`; `cuts` as of `Folder.listing`.

    Raises:
        OSError: it is absent, or cannot be listed.
    """
    pages = pages_of(fs, path, cuts=cuts)
    if pages is not None:
        yield from map(_of_page, pages)
        return
    infos = iter(_infos(fs, path))
    while rows := list(islice(infos, _TOGETHER)):
        table = pa.Table.from_pylist(list(map(_row, rows)), schema=LISTING)
        yield table.filter(pc.invert(pc.is_in(table["name"], pa.array(["", ".", ".."]))))


def _of_page(page: Page) -> pa.Table:
    files = page.files
    names = pc.replace_substring_regex(files["Key"], "^(?s:.*)/", "")
    modified = pc.divide(files["LastModified"].cast(pa.int64()).cast(pa.float64()), 1e6)
    kinds = pa.repeat(pa.scalar("file"), len(files))
    table = pa.table([names, kinds, files["Size"], modified], schema=LISTING)
    if not page.folders:
        return table
    rows = [{"name": one, "size": 0, "type": "directory"} for one in page.folders]
    return pa.concat_tables([table, pa.Table.from_pylist(list(map(_row, rows)), schema=LISTING)])


def _infos(fs: Any, path: str) -> Iterable[Mapping[str, Any]]:
    """Yield what fsspec says of each entry; of a local folder one at a time."""
    if not isinstance(fs, LocalFileSystem) or not os.path.isdir(path):
        yield from fs.ls(path, detail=True)
        return
    with os.scandir(path) as entries:
        yield from map(fs.info, entries)


def _row(info: Mapping[str, Any]) -> dict[str, Any]:
    modified = next((info[name] for name in _MODIFIED if info.get(name)), 0)
    return {
        "name": str(info["name"]).rstrip("/").rpartition("/")[2],
        "kind": "link" if info.get("islink") else info["type"],
        "size": int(info.get("size") or 0),
        "modified": modified.timestamp() if isinstance(modified, datetime) else float(modified),
    }

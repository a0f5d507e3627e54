"""A place: an fsspec URL, listed folder by folder and read file by file.

Names come as they are on disk, which may be no valid text; `location` is their reversible
spelling in printable UTF-8, so that it fits into Arrow and JSON. This module knows neither
formats nor labels.
"""

from __future__ import annotations

import os
import posixpath
import re
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, BinaryIO, NamedTuple

from engine.errors import ConfigError, SampleError, StorageError, nearest
from engine.image import TOO_MANY_BYTES

UNREADABLE = "unreadable"
"""The signature of what is listed but cannot be read: a broken link, a locked folder."""

_VERSIONS = ("ETag", "etag", "md5Hash", "blob_id", "checksum", "LastModified", "last_modified",
             "updated", "mtime", "created")  # fmt: skip
_TO_ESCAPE = re.compile(r"[\x00-\x1f\x7f]|\\(?=x[0-9a-f]{2})")
_ESCAPED = re.compile(rb"\\x([0-9a-f]{2})")


def printable(name: str) -> str:
    """Spell any file name in printable UTF-8: odd bytes become `\\xNN`; `original` undoes it."""
    spelled = _TO_ESCAPE.sub(lambda match: f"\\x{ord(match[0]):02x}", name)
    return spelled.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def original(location: str) -> str:
    """Return the file name that `printable` spelled."""
    raw = _ESCAPED.sub(lambda match: bytes([int(match[1], 16)]), location.encode())
    return raw.decode("utf-8", "surrogateescape")


class Folder(NamedTuple):
    """One folder of a place: its path below the place ("" or ending in "/"), and its files.

    `files` maps names to signatures; a locked folder has the one file "".
    """

    path: str
    files: Mapping[str, str]


class Listing(NamedTuple):
    """What one folder holds, hidden entries left out: signatures of files, names of folders."""

    files: dict[str, str]
    folders: list[str]


@dataclass(frozen=True, kw_only=True)
class Place:
    """Files below a root, perhaps only those named or matching a pattern.

    `names` are exact paths below the root; when there are any, nothing else is there.
    """

    url: str
    fs: Any = field(repr=False)
    root: str
    names: tuple[str, ...] = ()
    patterns: tuple[str, ...] = ()
    include: tuple[str, ...] = ()
    query: str = field(default="", repr=False)
    """What signs the address of each file, with its `?`: part of no name."""

    @property
    def is_local(self) -> bool:
        """Whether files are read by the operating system itself."""
        return "file" in _protocols(self.fs)

    def folders(self) -> Iterator[Folder]:
        """List the folders of the place, each with its files sorted, parents first.

        Raises:
            ConfigError: a file that the URL names is not there.
            StorageError: a remote folder cannot be listed.
        """
        self.fs.invalidate_cache()
        if self.names:
            yield from self._named_folders()
        elif self.is_local:
            yield from _walk(_LocalLister(self.root), self._depth())
        else:
            yield from _walk(self._list_remote, self._depth())

    def selected(self) -> Callable[[str], bool]:
        """Return the predicate for paths below the root that the URL and `include` select."""
        names = frozenset(self.names)
        patterns = _glob_regex(self.patterns)
        # As in .gitignore, a pattern without a slash means the name in any folder.
        include = _glob_regex([p if "/" in p else f"**/{p}" for p in self.include])

        def is_selected(path: str) -> bool:
            return (
                (not names or path in names)
                and (patterns is None or patterns.fullmatch(path) is not None)
                and (include is None or include.fullmatch(path) is not None)
            )

        return is_selected

    def open(self, path: str) -> BinaryIO:
        """Open a file below the root for reading; only regular files, so that none blocks.

        Raises:
            OSError: it cannot be opened.
        """
        if not path or path.endswith("/"):
            raise OSError("the folder cannot be listed")
        full = posixpath.join(self.root, path)
        if not self.is_local:
            return self.fs.open(f"{full}{self.query}", "rb")
        if not stat.S_ISREG(os.stat(full).st_mode):
            raise OSError("it is not a regular file")
        return open(full, "rb")

    def read(self, path: str, *, limit: int) -> bytes:
        """Read a file below the root.

        Raises:
            SampleError: `too_many_bytes`, before they are read.
            OSError: it cannot be read.
        """
        with self.open(path) as file:
            size = file.seek(0, os.SEEK_END)
            if size > limit:
                raise SampleError(TOO_MANY_BYTES, f"{size} bytes, the limit is {limit}")
            file.seek(0)
            return file.read(size)

    def _depth(self) -> int:
        if not self.patterns or any("**" in pattern for pattern in self.patterns):
            return 1_000_000
        return max(pattern.count("/") for pattern in self.patterns)

    def _named_folders(self) -> Iterator[Folder]:
        parents = {posixpath.dirname(name) for name in self.names}
        for parent in sorted(parents, key=lambda parent: parent.split("/")):  # parents first
            listed = self._listed(parent)
            wanted = [n for n in self.names if posixpath.dirname(n) == parent]
            for name in wanted:
                if posixpath.basename(name) not in listed:
                    listed[posixpath.basename(name)] = self._signature_of(name, listed)
            yield Folder(f"{parent}/" if parent else "", dict(sorted(listed.items())))

    def _listed(self, parent: str) -> dict[str, str]:
        try:
            lister = _LocalLister(self.root) if self.is_local else self._list_remote
            return lister(parent).files
        except (OSError, StorageError):
            return {}  # a web server lists nothing; each name is then asked for

    def _signature_of(self, name: str, listed: Mapping[str, str]) -> str:
        try:
            full = posixpath.join(self.root, name)
            return _signature(self.fs.info(f"{full}{self.query}"))
        except OSError as error:
            hint = nearest(posixpath.basename(name), listed) if listed else "check the URL"
            raise ConfigError(f"{self.url} names {name!r}, which does not exist; {hint}") from error

    def _list_remote(self, folder: str) -> Listing:
        full = posixpath.join(self.root, folder).rstrip("/")
        try:
            entries = self.fs.ls(full, detail=True)
        except Exception as error:  # each storage client has its own errors
            raise StorageError(f"cannot list {folder!r} of {self.url}: {error}") from error
        listing = Listing({}, [])
        for entry in entries:
            name = posixpath.basename(entry["name"].rstrip("/"))
            if entry["name"].strip("/") == full.strip("/") or not name or name.startswith("."):
                continue
            if entry["type"] == "directory":
                listing.folders.append(name)
            else:
                listing.files[name] = _signature(entry)
        return listing


class _LocalLister:
    """Lists local folders; follows links to files, and to each folder outside only once."""

    def __init__(self, root: str) -> None:
        self.root = root
        self.real_root = os.path.realpath(root)
        self.seen: set[tuple[int, int]] = set()

    def __call__(self, folder: str) -> Listing:
        full = os.path.join(self.root, folder)
        status = os.stat(full)
        listing = Listing({}, [])
        if (status.st_dev, status.st_ino) in self.seen:
            return listing
        self.seen.add((status.st_dev, status.st_ino))
        with os.scandir(full) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                if not self._is_folder(entry):
                    listing.files[entry.name] = self._signature(entry)
                elif not entry.is_symlink() or self._leads_elsewhere(entry.path):
                    listing.folders.append(entry.name)
        return listing

    @staticmethod
    def _is_folder(entry: os.DirEntry[str]) -> bool:
        try:
            return entry.is_dir()
        except OSError:  # a link to itself
            return False

    @staticmethod
    def _signature(entry: os.DirEntry[str]) -> str:
        try:
            status = entry.stat()
        except OSError:
            return UNREADABLE
        return f"{status.st_size}-{status.st_mtime_ns}"

    def _leads_elsewhere(self, path: str) -> bool:
        """Whether a link leads to a folder that is not walked on its own: outside, or hidden."""
        below = os.path.relpath(os.path.realpath(path), self.real_root)
        return any(part.startswith(".") and part != "." for part in below.split(os.sep))


def _walk(list_folder: Callable[[str], Listing], depth: int) -> Iterator[Folder]:
    pending = [""]
    while pending:
        path = pending.pop()
        try:
            listing = list_folder(path)
        except OSError:
            yield Folder(path, {"": UNREADABLE})
            continue
        yield Folder(path, dict(sorted(listing.files.items())))
        if path.count("/") < depth:
            pending += [f"{path}{name}/" for name in sorted(listing.folders, reverse=True)]


def _signature(info: Mapping[str, Any]) -> str:
    version = next((info[key] for key in _VERSIONS if info.get(key) is not None), "")
    return f"{info.get('size')}-{version}"


def _protocols(fs: Any) -> tuple[str, ...]:
    return (fs.protocol,) if isinstance(fs.protocol, str) else tuple(fs.protocol)


def _glob_regex(patterns: Sequence[str]) -> re.Pattern[str] | None:
    from fsspec.utils import glob_translate

    if not patterns:
        return None
    return re.compile("|".join(f"(?:{glob_translate(pattern)})" for pattern in patterns))

"""A place: the files below an fsspec URL, listed folder by folder and read file by file.

Names on disk may be no valid text; a `location` is a name in printable UTF-8, for Arrow and JSON,
from which `original` restores it. This module knows neither formats nor labels.
"""

from __future__ import annotations

import os
import posixpath
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from io import BufferedReader
from itertools import islice
from typing import Any, BinaryIO, NamedTuple

from florilegium.engine.core.errors import ConfigError, SampleError, StorageError, nearest
from florilegium.engine.core.image.header import TOO_MANY_BYTES
from florilegium.engine.sources.links import LINK_NOT_FOLLOWED, descriptor, leads_out, not_followed
from florilegium.engine.storage.failure import storage_error
from florilegium.engine.storage.object_storage import (
    PAGE,
    RemoteFile,
    beginning,
    is_object_storage,
    listed,
    outages_of,
    speaks_s3,
)

UNREADABLE = "unreadable"
"""The signature of a listed entry that cannot be read: a broken link, a locked folder."""
UNOPENED = (UNREADABLE, LINK_NOT_FOLLOWED)
"""Signatures of the file "" that represents a whole folder."""
CHANGED_WHILE_READ = "changed_while_read"

_VERSIONS = ("ETag", "etag", "md5Hash", "blob_id", "checksum", "LastModified", "last_modified",
             "updated", "mtime", "created")  # fmt: skip
_TO_ESCAPE = re.compile(r"[\x00-\x1f\x7f]|\\(?=x[0-9a-f]{2})")
_ESCAPED = re.compile(rb"\\x([0-9a-f]{2})")


def printable(name: str) -> str:
    """Return any file name in printable UTF-8: other bytes become `\\xNN`; `original` reverses
    it."""
    if name.isascii() and name.isprintable() and "\\" not in name:
        return name
    spelled = _TO_ESCAPE.sub(lambda match: f"\\x{ord(match[0]):02x}", name)
    try:
        raw = spelled.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:  # half of a character: no file name has one
        raw = spelled.encode("utf-8", "surrogatepass")
    return raw.decode("utf-8", "backslashreplace")


def original(location: str) -> str:
    """Return the file name that `printable` was given."""
    raw = _ESCAPED.sub(lambda match: bytes([int(match[1], 16)]), location.encode())
    return raw.decode("utf-8", "surrogateescape")


class SourceFolder(NamedTuple):
    """One folder of a place: its path below the place ("" or ending in "/"), and its files.

    `files` maps names to signatures; a folder that is locked, or behind a link that is not
    followed, has the one file "".
    """

    path: str
    files: Mapping[str, str]


class Listing(NamedTuple):
    """The entries of one folder without hidden ones: signatures of files, names of folders.

    `unfollowed` are the folders behind links that are not followed.
    """

    files: dict[str, str]
    folders: list[str]
    unfollowed: list[str]


@dataclass(frozen=True, kw_only=True)
class Place:
    """Files below a root, perhaps only those named or matching a pattern.

    `names` are exact paths below the root; if there are any, these files are all. The root, and a
    file that is the only name, may be links, as the author of the URL chose them.
    """

    url: str
    fs: Any = field(repr=False)
    root: str
    names: tuple[str, ...] = ()
    patterns: tuple[str, ...] = ()
    include: tuple[str, ...] = ()
    follow_links: bool = False
    query: str = field(default="", repr=False)
    """The signature of the URL of each file, with its `?`; not part of names."""

    @property
    def is_local(self) -> bool:
        """Whether files are read by the operating system itself."""
        return "file" in _protocols(self.fs)

    def folders(self) -> Iterator[SourceFolder]:
        """List the folders of the place, each with its files sorted, parents first.

        Raises:
            ConfigError: a file that the URL names does not exist.
            StorageError: a remote folder cannot be listed.
        """
        self.fs.invalidate_cache()
        if self.names:
            yield from self._named_folders()
        elif self.is_local:
            yield from _walk(self._local_lister(), self._depth())
        else:
            yield from _walk(self._list_remote, self._depth())

    def parts(self) -> Iterator[SourceFolder]:
        """List like `folders`, but a folder on S3 in parts of a page, for those who look at some
        names only.

        Raises:
            ConfigError, StorageError: as `folders`.
        """
        if self.names or not speaks_s3(self.fs):
            yield from self.folders()
            return
        pending = [""]
        while pending:
            path = pending.pop()
            below: list[str] = []
            entries = self._remote_entries(path)
            while page := list(islice(entries, PAGE)):
                part = self._listing(page, path)
                yield SourceFolder(path, part.files)
                below += part.folders
            pending += [f"{path}{name}/" for name in sorted(below, reverse=True)]

    def selected(self) -> Callable[[str], bool]:
        """Return the predicate for paths below the root that the URL and `include` select."""
        names = frozenset(self.names)
        patterns = _glob_regex(self.patterns)
        # As in .gitignore, a pattern without a slash matches the name in any folder.
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
            SampleError: `link_not_followed`.
            OSError: it cannot be opened.
        """
        if not path or path.endswith("/"):
            is_link = path and not self.follow_links and self.is_local
            if is_link and leads_out(self.root, posixpath.join(self.root, path)):
                raise not_followed()
            raise OSError("the folder cannot be listed")
        if not self.is_local:
            full = posixpath.join(self.root, path) + self.query
            if not is_object_storage(self.fs):
                return self.fs.open(full, "rb")
            with outages_of(full):
                return BufferedReader(RemoteFile(self.fs.open(full, "rb"), full))
        follow_links = self.follow_links or path == self._chosen

        def opener(_path: str, _flags: int) -> int:
            return descriptor(self.root, path, follow_links=follow_links)

        return open(posixpath.join(self.root, path), "rb", opener=opener)

    def read(self, path: str, *, limit: int) -> bytes:
        """Read a file below the root.

        Raises:
            SampleError: `too_many_bytes`, before they are read, `changed_while_read` or
                `link_not_followed`.
            StorageError: the object storage failed.
            OSError: it cannot be read.
        """
        if speaks_s3(self.fs):
            full = posixpath.join(self.root, path)
            with outages_of(full):
                data = beginning(self.fs, full, limit + 1)
            return _within(data, limit)
        with self.open(path) as file:
            before = state_of(file)
            size = before[0] if before else getattr(file, "size", None)
            if size is not None and size > limit:
                raise SampleError(TOO_MANY_BYTES, f"{size} bytes, the limit is {limit}")
            data = file.read((limit if size is None else size) + 1)
            check_unchanged(file, before)
        return _within(data, limit)

    @property
    def _chosen(self) -> str:
        return self.names[0] if len(self.names) == 1 else ""

    def _local_lister(self) -> _LocalLister:
        return _LocalLister(self.root, self._chosen, follow_links=self.follow_links)

    def _depth(self) -> int:
        if not self.patterns or any("**" in pattern for pattern in self.patterns):
            return 1_000_000
        return max(pattern.count("/") for pattern in self.patterns)

    def _named_folders(self) -> Iterator[SourceFolder]:
        parents = {posixpath.dirname(name) for name in self.names}
        for parent in sorted(parents, key=lambda parent: parent.split("/")):  # parents first
            listed = self._listed(parent)
            wanted = [n for n in self.names if posixpath.dirname(n) == parent]
            for name in wanted:
                if posixpath.basename(name) not in listed:
                    listed[posixpath.basename(name)] = self._signature_of(name, listed)
            yield SourceFolder(f"{parent}/" if parent else "", dict(sorted(listed.items())))

    def _listed(self, parent: str) -> dict[str, str]:
        try:
            if not self.is_local:
                return self._list_remote(parent).files
            return self._local_lister()(parent).files
        except (OSError, StorageError):
            if is_object_storage(self.fs):
                raise
            return {}  # a web server has no listings: look for each name

    def _signature_of(self, name: str, others: Mapping[str, str]) -> str:
        try:
            full = posixpath.join(self.root, name)
            return _signature(self.fs.info(f"{full}{self.query}"))
        except FileNotFoundError as error:
            hint = nearest(posixpath.basename(name), others) if others else "check the URL"
            raise ConfigError(f"{self.url} names {name!r}, which does not exist; {hint}") from error
        except Exception as error:  # each storage client has its own errors
            raise storage_error("look at", f"{name!r} of {self.url}", error) from error

    def _list_remote(self, folder: str) -> Listing:
        return self._listing(self._remote_entries(folder), folder)

    def _remote_entries(self, folder: str) -> Iterator[Mapping[str, Any]]:
        try:
            yield from listed(self.fs, posixpath.join(self.root, folder).rstrip("/"))
        except Exception as error:  # each storage client has its own errors
            raise storage_error("list", f"{folder!r} of {self.url}", error) from error

    def _listing(self, entries: Iterable[Mapping[str, Any]], folder: str) -> Listing:
        full = posixpath.join(self.root, folder).rstrip("/")
        listing = Listing({}, [], [])
        for entry in entries:
            self._add(listing, entry, full)
        return listing

    def _add(self, listing: Listing, entry: Mapping[str, Any], full: str) -> None:
        """Add what a storage lists in a folder, unless it is hidden, or the folder itself."""
        name = posixpath.basename(entry["name"].rstrip("/"))
        if entry["name"].strip("/") == full.strip("/") or not name or name.startswith("."):
            return
        is_link = entry["type"] == "link" or entry.get("islink")
        if is_link and not self.follow_links:  # a link of the storage, which resolves it
            is_folder = entry["type"] == "directory"
            if is_folder:
                listing.unfollowed.append(name)
            else:
                listing.files[name] = LINK_NOT_FOLLOWED
        elif entry["type"] == "directory":
            listing.folders.append(name)
        else:
            listing.files[name] = _signature(entry)


class _LocalLister:
    """Lists local folders, each only once. A link that is not followed is listed as a link, except
    for the file that the URL names."""

    def __init__(self, root: str, chosen: str, *, follow_links: bool) -> None:
        self.root = root
        self.chosen = os.path.join(root, chosen)
        self.follow_links = follow_links
        self.seen: set[tuple[int, int]] = set()

    def __call__(self, folder: str) -> Listing:
        full = os.path.join(self.root, folder)
        listing = Listing({}, [], [])
        if not self.follow_links and folder and leads_out(self.root, full):
            return listing  # it has just been deleted or replaced
        status = os.stat(full)
        if (status.st_dev, status.st_ino) in self.seen:
            return listing
        self.seen.add((status.st_dev, status.st_ino))
        with os.scandir(full) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                is_out = entry.is_symlink() and leads_out(self.root, entry.path)
                if not self._is_folder(entry):
                    is_followed = self.follow_links or not is_out or entry.path == self.chosen
                    signature = self._signature(entry) if is_followed else LINK_NOT_FOLLOWED
                    listing.files[entry.name] = signature
                elif is_out and not self.follow_links:
                    listing.unfollowed.append(entry.name)
                elif is_out or not entry.is_symlink():  # else it is listed by itself
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


def _within(data: bytes, limit: int) -> bytes:
    if len(data) > limit:
        raise SampleError(TOO_MANY_BYTES, f"more bytes than the limit of {limit}")
    return data


def state_of(file: BinaryIO) -> tuple[int, int] | None:
    """Return size and time of change of an open local file; of other files nothing."""
    try:
        status = os.fstat(file.fileno())
    except (OSError, AttributeError):
        return None
    return status.st_size, status.st_mtime_ns


def check_unchanged(file: BinaryIO, before: tuple[int, int] | None) -> None:
    """Check that an open file has not changed.

    Raises:
        SampleError: `changed_while_read`.
    """
    if before is not None and state_of(file) != before:
        cure = "run the same command again when nothing writes it any more"
        raise SampleError(CHANGED_WHILE_READ, f"the file changed while it was read; {cure}")


def _walk(list_folder: Callable[[str], Listing], depth: int) -> Iterator[SourceFolder]:
    pending = [""]
    while pending:
        path = pending.pop()
        try:
            listing = list_folder(path)
        except OSError:
            yield SourceFolder(path, {"": UNREADABLE})
            continue
        yield SourceFolder(path, dict(sorted(listing.files.items())))
        if path.count("/") < depth:
            for name in sorted(listing.unfollowed):
                yield SourceFolder(f"{path}{name}/", {"": LINK_NOT_FOLLOWED})
            pending += [f"{path}{name}/" for name in sorted(listing.folders, reverse=True)]


def size_of(signature: str) -> int:
    """Return the size of a file from its signature, or 0."""
    size = signature.partition("-")[0]
    return int(size) if size.isascii() and size.isdigit() else 0


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

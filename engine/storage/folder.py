"""Folders on any file system of fsspec, with atomic publication.

On a local disk a file appears under its name only when it is complete: temporary name, fsync,
rename. On object storage one upload does the same. A `Draft` gets its name after it is written,
so a file can be named by its content. Knows nothing of the content.
"""

from __future__ import annotations

import os
import re
import stat
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import PurePosixPath
from secrets import token_hex
from typing import IO, TYPE_CHECKING, Any

from fsspec.core import url_to_fs
from fsspec.implementations.local import LocalFileSystem

from florilegium.engine.core.errors import ConfigError, MissingPackage, StorageError
from florilegium.engine.core.redaction import has_user, redacted
from florilegium.engine.storage.failure import failing
from florilegium.engine.storage.object_storage import (
    FEW_TRIES,
    TRIES,
    beginning,
    end_of,
    options_in,
    speaks_s3,
    whole,
)

if TYPE_CHECKING:
    import pyarrow as pa

TEMPORARY = ".tmp"
"""The suffix of hidden temporary files; a killed writer leaves them behind."""

_EXTRAS = {
    "s3fs": "florilegium[s3]",
    "gcsfs": "florilegium[gs]",
    "adlfs": "florilegium[az]",
}
"""Extras of this distribution by the storage package that they install."""


def file_system(url: str, *, tries: int = TRIES) -> tuple[Any, str]:
    """Return the file system of an fsspec URL or a path, and the path within it.

    A web server may redirect to its own host only. `tries`: of a request to S3, at most.

    Raises:
        MissingPackage: the storage needs a package that is not installed.
        ConfigError: the protocol is unknown, or the URL holds a user or a password.
    """
    if has_user(url):
        raise ConfigError(
            f"{redacted(url)} holds a user or a password: give them through the environment of the "
            "storage (AWS_ACCESS_KEY_ID, ...) or fsspec's config (~/.config/fsspec/NAME.json)"
        )
    try:
        return url_to_fs(url, **_web_options(url), **options_in(url, tries=tries))
    except ImportError as error:
        package = getattr(error.__cause__, "name", None) or "its package"
        install = _EXTRAS.get(package, package)
        raise MissingPackage(
            f"{url} cannot be reached: {error}; pip install {install!r}", install=install
        ) from error
    except ValueError as error:
        raise ConfigError(f"{url}: {error}; give a path or an fsspec URL") from error


def _web_options(url: str) -> dict[str, Any]:
    """Return options with the session for web servers, alone or at the end of a chain of URLs."""
    from florilegium.engine.untrusted.web import session

    options = {"get_client": session}
    if url.startswith(("http://", "https://")):
        return options
    return {scheme: options for scheme in ("http", "https") if f"::{scheme}://" in url}


@dataclass(frozen=True, kw_only=True)
class Entry:
    """An entry of a folder; `kind` is `file`, `directory`, `link` or a word of the file system.

    `modified` is in seconds since 1970, 0 where the storage does not state it.
    """

    kind: str
    size: int
    modified: float


def entries_of(listing: pa.Table) -> dict[str, Entry]:
    """Return rows of a listing as objects, by name."""
    names, *columns = (one.to_pylist() for one in listing.columns)
    values = (
        dict(zip(listing.column_names[1:], row, strict=True)) for row in zip(*columns, strict=True)
    )
    return {name: Entry(**one) for name, one in zip(names, values, strict=True)}


class Folder:
    """A folder of files, named by relative paths with forward slashes."""

    def __init__(self, url: str, *, tries: int = TRIES) -> None:
        self.url = url
        self._fs, root = file_system(url, tries=tries)
        self._root = root.rstrip("/")

    def impatient(self) -> Folder:
        """Return the same folder on a client that gives up soon when the storage fails."""
        if not speaks_s3(self._fs):
            return self
        folder = Folder(self.url, tries=FEW_TRIES)
        folder._fs.retries = 1  # s3fs asks again by itself, each time with all tries
        return folder

    @property
    def is_local(self) -> bool:
        """Whether the folder is on a mounted file system."""
        return isinstance(self._fs, LocalFileSystem)

    def path(self, name: str) -> str:
        """Return the full path of a file, as fsspec knows it.

        Raises:
            StorageError: the name leads out of the folder, as one from a damaged file may.
        """
        return _joined(self._root, name)

    def exists(self, name: str) -> bool:
        """Return whether the file exists."""
        with failing("read", self.path(name)):
            return bool(self._fs.exists(self.path(name)))

    def size(self, name: str) -> int | None:
        """Return the size of a file in bytes, or `None` when it does not exist."""
        with failing("read", self.path(name)), suppress(FileNotFoundError):
            return int(self._fs.size(self.path(name)))
        return None

    def read(self, name: str, *, most: int | None = None) -> bytes | None:
        """Return the bytes of a file, or `None` when it does not exist; with `most`, the first
        ones, so many at most.

        Raises:
            StorageError: it cannot be read, or is a pipe or a device, which may never end.
        """
        path = self.path(name)
        with failing("read", path), suppress(FileNotFoundError):
            self._refuse_endless(name)
            if most is None:
                return whole(self._fs, path)
            if self.is_local:  # room is made for as many bytes as are asked for
                most = min(most, os.stat(path).st_size)
            return beginning(self._fs, path, most)
        return None

    def tail(self, name: str, size: int) -> bytes | None:
        """Return the last bytes of a file, or all where it has fewer; `None` without a file."""
        with failing("read", self.path(name)), suppress(FileNotFoundError):
            return end_of(self._fs, self.path(name), size)
        return None

    def part(self, name: str, start: int, end: int) -> bytes:
        """Return the bytes of a file from `start` to one before `end`, fewer where it is shorter.

        Raises:
            StorageError: it cannot be read, or is a pipe or a device, which may never end.
        """
        with failing("read", self.path(name)):
            self._refuse_endless(name)
            return bytes(self._fs.cat_file(self.path(name), start=start, end=end))

    @contextmanager
    def opened(self, name: str) -> Iterator[IO[bytes]]:
        """Open a file for reading.

        Raises:
            StorageError: it cannot be read, or is a pipe or a device, which may never end.
        """
        with failing("read", self.path(name)):
            self._refuse_endless(name)
            with self._fs.open(self.path(name), "rb") as file:
                yield file

    def snapshot(self, name: str) -> IO[bytes] | None:
        """Open a file, of a remote one a local copy, that stays what it is when another one is
        published under its name; `None` when it does not exist.

        Raises:
            StorageError: it cannot be read, or is a pipe or a device, which may never end.
        """
        with failing("read", self.path(name)), suppress(FileNotFoundError):
            self._refuse_endless(name)
            if self.is_local:
                return open(self.path(name), "rb")
            with ExitStack() as stack:
                file = stack.enter_context(tempfile.NamedTemporaryFile())
                self._fs.get_file(self.path(name), file.name)
                stack.pop_all()
                return file
        return None

    def _refuse_endless(self, name: str) -> None:
        if not self.is_local:
            return
        path = self.path(name)
        mode = os.stat(path).st_mode
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
            raise StorageError(f"{path} is no file but a pipe, a socket or a device: delete it")

    def names(self, under: str = "") -> list[str]:
        """Return the names of the files in a sub-folder, sorted; none when it is absent."""
        if not self.is_local:
            return sorted(self.entries(under))
        path = self.path(under) if under else self._root
        with failing("list", path), suppress(FileNotFoundError, NotADirectoryError):
            return sorted(PurePosixPath(one).name for one in self._fs.ls(path, detail=False))
        return []

    def entries(self, under: str = "") -> dict[str, Entry]:
        """Return the entries of a sub-folder by name; none when it is absent."""
        return {
            name: entry
            for table in self.listing(under)
            for name, entry in entries_of(table).items()
        }

    def listing(self, under: str = "", *, cuts: Sequence[str] = ()) -> Iterator[pa.Table]:
        """Yield the entries of a sub-folder as rows of `listing.LISTING`, in any order; none when
        it is absent.

        `cuts` are sorted names: on S3, what lies between them is listed side by side.
        """
        from florilegium.engine.storage.listing import listing_of

        path = self.path(under) if under else self._root
        with failing("list", path), suppress(FileNotFoundError, NotADirectoryError):
            yield from listing_of(self._fs, path, cuts=cuts)

    def publish(self, name: str, data: bytes | memoryview, *, durable: bool = True) -> None:
        """Write a whole file atomically; `durable=False` for files that can be made again."""
        if self.is_local:
            with self.publishing(name, durable=durable) as file:
                file.write(data)
            return
        with failing("write", self.path(name)):
            self._fs.pipe_file(self.path(name), bytes(data))

    def create(self, name: str, data: bytes) -> bool:
        """Write a small file unless it exists; return whether it was written.

        Atomic on local disks and where the storage has conditional writes.
        """
        path = self.path(name)
        with failing("write", path), suppress(FileExistsError):
            if self.is_local:
                os.makedirs(os.path.dirname(path), exist_ok=True)
                _create(path, data)
            else:
                self._fs.pipe_file(path, data, mode="create")
            return True
        return False

    @contextmanager
    def publishing(self, name: str, *, durable: bool = True) -> Iterator[IO[bytes]]:
        """Give a file to write; it appears under its name when the block ends without error.

        Raises:
            StorageError: the file cannot be written; nothing appears under the name.
        """
        with self.draft(name, durable=durable) as draft:
            yield draft.file
            draft.publish(name)

    @contextmanager
    def draft(self, name: str, *, durable: bool = True) -> Iterator[Draft]:
        """Give a file to write that `Draft.publish` names when it is complete.

        `name` determines the folder, and appears in errors. A draft that is not published when the
        block ends is deleted.

        Raises:
            StorageError: the file cannot be written.
        """
        path = self.path(name)
        by_way = "" if self.is_local else f" (by way of {tempfile.gettempdir()})"
        with (
            failing("write", f"{path}{by_way}"),
            _temporary_file(path if self.is_local else None) as file,
        ):
            yield Draft(file, self._fs, self._root, durable)

    def remove(self, name: str) -> None:
        """Delete a file; one that is not there is no error."""
        with failing("delete", self.path(name)), suppress(FileNotFoundError):
            self._fs.rm_file(self.path(name))

    def clear(self) -> None:
        """Delete the folder with all that is in it; one that is not there is no error."""
        with failing("delete", self._root), suppress(FileNotFoundError):
            self._fs.rm(self._root, recursive=True)


class Draft:
    """A file that is being written; it has no name yet."""

    def __init__(self, file: IO[bytes], fs: Any, root: str, durable: bool) -> None:
        self.file = file
        self._fs = fs
        self._root = root
        self._durable = durable

    def publish(self, name: str) -> None:
        """Complete the file and let it appear under a name, in the folder it was opened for.

        Raises:
            StorageError: the name leads out of the folder.
            OSError: the file cannot be completed; nothing appears under the name.
        """
        path = _joined(self._root, name)
        self.file.flush()
        if not isinstance(self._fs, LocalFileSystem):
            self._fs.put_file(self.file.name, path)
            return
        if self._durable:
            os.fsync(self.file.fileno())
        self.file.close()  # a network disk may report only now that it is full
        os.replace(self.file.name, path)


def _create(path: str, data: bytes) -> None:
    """Write a local file that does not exist; delete it if it cannot be written whole."""
    file = open(path, "xb")  # noqa: SIM115 - closed below
    try:
        with file:
            file.write(data)
    except OSError:
        with suppress(OSError):
            os.unlink(path)
        raise


def is_left_over(name: str) -> bool:
    """Whether a file is a temporary one that a killed writer left."""
    return name.startswith(".") and name.endswith(TEMPORARY)


@contextmanager
def _temporary_file(beside: str | None) -> Iterator[IO[bytes]]:
    """Open a file that is deleted when the block ends, unless it was renamed by then."""
    if beside is None:
        with tempfile.NamedTemporaryFile() as file:
            yield file
        return
    folder = os.path.dirname(beside)
    os.makedirs(folder, exist_ok=True)
    temporary = os.path.join(folder, f".{token_hex(8)}{TEMPORARY}")
    try:
        with open(temporary, "xb") as file:
            yield file
    finally:
        with suppress(OSError):
            os.unlink(temporary)


def _joined(root: str, name: str) -> str:
    if "\0" in name or ".." in re.split(r"[/\\]", name):
        raise StorageError(
            f"{name!r} is no name of a file in {root}: a file of the dataset is damaged, or was "
            f"made to lead elsewhere; build the dataset again"
        )
    return f"{root}/{name}"

"""Object storage through fsspec, as this engine wants it: nothing cached, few requests, retries.

A listing that is remembered hides what other processes wrote since. Folders are listed page by
page. Only S3 is treated by itself, as fsspec has no words for these things.
"""

from __future__ import annotations

import errno
import io
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from florilegium.engine.storage.failure import is_outage, storage_error
from florilegium.engine.storage.side_by_side import AT_ONCE

if TYPE_CHECKING:
    from florilegium.engine.storage.s3_listing import Page

_S3 = ("s3", "s3a")
_OTHERS = ("gs", "gcs", "az", "abfs", "abfss")
PAGE = 1000
"""The files of one page of a listing of S3."""
TRIES = 8
"""How often a request to S3 is sent, at most, while the storage is busy or fails: half a minute in
all. s3fs does that up to five times when there is no answer. AWS_MAX_ATTEMPTS changes it."""

FEW_TRIES = 2
"""The tries of a client that gives up within a second or two; see `Folder.impatient`."""


def options_in(url: str, *, tries: int = TRIES) -> dict[str, Any]:
    """Return the options of the object storages in a URL, or in a chain of URLs, by scheme."""
    return {
        scheme: {"use_listings_cache": False, **(_of_client(tries) if scheme in _S3 else {})}
        for scheme in (*_S3, *_OTHERS)
        if url.startswith(f"{scheme}://") or f"::{scheme}://" in url
    }


def _of_client(tries: int) -> Mapping[str, Any]:
    """Return how often S3 is asked again, and how many requests wait at once (of itself, the client
    lets ten), unless the user's own config of fsspec has it."""
    from fsspec.config import conf

    chosen: dict[str, Any] = {}
    for scheme in _S3:
        chosen |= conf.get(scheme, {}).get("config_kwargs", {})
    retries: dict[str, Any] = {}
    if "AWS_RETRY_MODE" not in os.environ:
        retries["mode"] = "standard"
    if "AWS_MAX_ATTEMPTS" not in os.environ or tries < TRIES:
        retries["total_max_attempts"] = tries
    return {"config_kwargs": {"max_pool_connections": AT_ONCE, "retries": retries, **chosen}}


def speaks_s3(fs: Any) -> bool:
    """Whether a file system is that of s3fs, without versions of files."""
    return "s3" in fs.protocol and not getattr(fs, "version_aware", True)


def is_object_storage(fs: Any) -> bool:
    """Whether a file system is a storage that is known here."""
    protocols = (fs.protocol,) if isinstance(fs.protocol, str) else fs.protocol
    return not {*_S3, *_OTHERS}.isdisjoint(protocols)


def listed(fs: Any, path: str) -> Iterator[Mapping[str, Any]]:
    """Yield what is in a folder, as fsspec describes it; from S3 a page of a thousand at a time.

    Raises:
        FileNotFoundError: there is no such folder; S3 lists an empty one.
    """
    pages = pages_of(fs, path)
    if pages is None:
        yield from fs.ls(path, detail=True)
        return
    bucket = fs.split_path(path)[0]
    for page in pages:
        for folder in page.folders:
            yield {"name": f"{bucket}/{folder.rstrip('/')}", "size": 0, "type": "directory"}
        for file in page.files.to_pylist():
            yield {**file, "name": f"{bucket}/{file['Key']}", "size": file["Size"], "type": "file"}


def pages_of(fs: Any, path: str, *, cuts: Sequence[str] = ()) -> Iterator[Page] | None:
    """Return the pages of what is in a folder of S3, an empty one where there is none; `None` for
    other storages.

    `cuts` are sorted names of files: what lies between them is listed side by side.
    """
    if not speaks_s3(fs):
        return None
    bucket, key, _ = fs.split_path(path)
    if not bucket:
        return None
    from florilegium.engine.storage.s3_listing import pages_between

    prefix = f"{key}/" if key else ""
    wanted = {"Bucket": bucket, "Delimiter": "/", "Prefix": prefix}
    pages = pages_between(fs, [f"{prefix}{one}" for one in cuts], **wanted)
    return (page.without(prefix) for page in pages)  # the mark of an empty folder


def is_folder(fs: Any, path: str) -> bool:
    """Whether a path is a folder; on S3 by asking for one of its files, however many it has."""
    if not speaks_s3(fs):
        return bool(fs.isdir(path))
    bucket, key, _ = fs.split_path(path)
    if not key:
        return bool(fs.isdir(path))
    try:
        page = fs.call_s3("list_objects_v2", Bucket=bucket, Prefix=f"{key}/", MaxKeys=1)
    except FileNotFoundError:
        return False
    return bool(page.get("Contents"))


def whole(fs: Any, path: str) -> bytes:
    """Return the bytes of a file, in one request."""
    return bytes(fs.cat_file(path, **_in_one(fs)))


def copy_to(fs: Any, path: str, local: str) -> None:
    """Copy a file into a local one, in one request; it is never whole in memory."""
    fs.get_file(path, local, **_in_one(fs))


def _in_one(fs: Any) -> dict[str, int]:
    """Return what keeps s3fs from asking for the size first, and from parts side by side."""
    return {"max_concurrency": 1} if speaks_s3(fs) else {}


def beginning(fs: Any, path: str, size: int) -> bytes:
    """Return the bytes of a file, at most so many, in one request."""
    try:
        return bytes(fs.cat_file(path, start=0, end=size))
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        return whole(fs, path)[:size]  # S3 refuses each range of an empty file


def end_of(fs: Any, path: str, size: int) -> bytes:
    """Return the last bytes of a file, or all where it has fewer."""
    if "abfs" in fs.protocol:  # its client knows no range that is counted from the end
        return bytes(fs.cat_file(path, start=max(fs.size(path) - size, 0)))
    return bytes(fs.cat_file(path, start=-size))


class RemoteFile(io.RawIOBase):
    """A file that is read from object storage; when the storage fails, the error is ours.

    Readers of damaged files take any error for damage: an outage must not look like it.
    """

    def __init__(self, file: Any, path: str) -> None:
        self._file = file
        self._path = path
        self.size: int | None = getattr(file, "size", None)

    def read(self, size: int | None = -1, /) -> bytes:
        """Read at most so many bytes, or all.

        Raises:
            StorageError: the storage failed.
        """
        with outages_of(self._path):
            return bytes(self._file.read(-1 if size is None else size))

    def readinto(self, buffer: Any, /) -> int:
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        return int(self._file.seek(offset, whence))

    def tell(self) -> int:
        return int(self._file.tell())

    def close(self) -> None:
        self._file.close()
        super().close()


@contextmanager
def outages_of(path: str) -> Iterator[None]:
    """Turn the failure of a storage, and of nothing else, into our error while the block runs.

    Raises:
        StorageError: the storage failed, after several tries.
    """
    try:
        yield
    except Exception as error:
        if not is_outage(error):
            raise
        raise storage_error("read", path, error) from error

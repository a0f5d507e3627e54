"""Object storage as the engine uses it, on a server that speaks S3."""

from __future__ import annotations

import pytest
from s3fs import S3FileSystem

from engine.storage.folder import Folder


@pytest.fixture
def folder(bucket: str) -> Folder:
    return Folder(f"{bucket}/out")


def write_from_elsewhere(url: str, name: str, data: bytes) -> None:
    """Write as another process does: with a client that shares nothing with that of `Folder`."""
    fs = S3FileSystem(skip_instance_cache=True)
    fs.pipe_file(f"{url.removeprefix('s3://')}/{name}", data)


def test_what_another_process_wrote_after_a_listing_is_seen(folder: Folder) -> None:
    folder.publish("a/1", b"one")
    assert folder.names("a") == ["1"]
    write_from_elsewhere(folder.url, "a/2", b"second")
    assert folder.names("a") == ["1", "2"]
    assert folder.exists("a/2")
    assert folder.size("a/2") == 6
    assert folder.read("a/2") == b"second"
    assert folder.entries("a")["2"].size == 6

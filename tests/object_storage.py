"""A storage that speaks S3, on loopback: moto's server, in a thread of this process.

A fixture makes it (`bucket`, in `conftest`); processes that a test starts reach it, too, through
the environment.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import fsspec
import pytest

from florilegium.engine.storage.folder import Folder

ACCOUNT = "123456789012"
"""The account that moto gives to whoever asks."""
REGION = "us-east-1"
ACCESS = {
    "AWS_ACCESS_KEY_ID": "loopback-access",
    "AWS_SECRET_ACCESS_KEY": "loopback-signing",
    "AWS_DEFAULT_REGION": REGION,
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_CONFIG_FILE": "/nonexistent",
    "AWS_SHARED_CREDENTIALS_FILE": "/nonexistent",
    "NO_PROXY": "127.0.0.1",
}
"""The environment of a client; no file of the user's counts."""


@dataclass(frozen=True, kw_only=True)
class ObjectStorage:
    """A running server and its address."""

    address: str

    @contextmanager
    def reached(self, **changes: str) -> Iterator[None]:
        """Let `s3://` mean this server, in this process and those that it starts."""
        with reached_at(self.address, changes):
            yield

    def new_bucket(self) -> str:
        """Make a bucket and return its URL."""
        from moto.s3.models import s3_backends

        name = f"bucket-{uuid4().hex[:12]}"
        s3_backends[ACCOUNT]["aws"].create_bucket(name, REGION)
        return f"s3://{name}"


@contextmanager
def reached_at(address: str, changes: Mapping[str, str] | None = None) -> Iterator[None]:
    """Let `s3://` mean the server at an address; clients that were made for another are left."""
    from s3fs import S3FileSystem

    with pytest.MonkeyPatch.context() as patch:
        for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "HTTP_PROXY", "http_proxy"):
            patch.delenv(name, raising=False)
        for name, value in {**ACCESS, "AWS_ENDPOINT_URL": address, **(changes or {})}.items():
            patch.setenv(name, value)
        S3FileSystem.clear_instance_cache()
        yield
        S3FileSystem.clear_instance_cache()


@contextmanager
def running() -> Iterator[ObjectStorage]:
    """Run a server while the block runs."""
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # else a line for each request
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield ObjectStorage(address=f"http://{host}:{port}")
    server.stop()


def upload(folder: Path, url: str) -> str:
    """Copy a local folder to object storage, and return its URL there."""
    fs, path = fsspec.url_to_fs(url, use_listings_cache=False)
    for file in sorted(folder.rglob("*")):
        if file.is_file():
            fs.pipe_file(f"{path}/{file.relative_to(folder)}", file.read_bytes())
    return url


def files_of(url: str, *folders: str) -> dict[str, bytes]:
    """Return the bytes of the files in these folders of a dataset, by name."""
    folder = Folder(url)
    names = [f"{under}/{name}" for under in folders for name in folder.names(under)]
    return {name: folder.read(name) or b"" for name in names}


def promised(url: str) -> dict[str, bytes]:
    """Return the bytes of all files that a build promises to repeat."""
    folder = Folder(url)
    others = (
        "dead_letters.parquet",
        "manifest.json",
        "README.md",
        "report.html",
        "statistics.json",
    )
    return {**files_of(url, "shards"), **{name: folder.read(name) or b"" for name in others}}

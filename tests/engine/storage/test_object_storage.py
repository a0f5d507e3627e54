"""Object storage as the engine uses it, on a server that speaks S3."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from fsspec.config import conf
from s3fs import S3FileSystem

from florilegium.engine.core.errors import ConfigError, MissingPackage, StorageError
from florilegium.engine.sources.source import FilesConfig
from florilegium.engine.sources.url import place_of
from florilegium.engine.storage import s3_listing
from florilegium.engine.storage.folder import Folder, file_system
from florilegium.engine.storage.object_storage import (
    TRIES,
    beginning,
    is_folder,
    listed,
    options_in,
)
from florilegium.engine.storage.side_by_side import AT_ONCE
from tests.fault_proxy import FAULTS, Proxy, passing_faults
from tests.object_storage import ObjectStorage


@pytest.fixture
def folder(watched: Proxy, object_storage: ObjectStorage) -> Folder:
    """A folder that is reached through the proxy."""
    return Folder(f"{object_storage.new_bucket()}/out")


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


def test_a_file_is_read_by_one_request(watched: Proxy, folder: Folder) -> None:
    folder.publish("x", b"abc")
    folder.publish("empty", b"")
    watched.clear()
    assert (folder.read("x"), folder.read("empty"), folder.read("absent")) == (b"abc", b"", None)
    assert (folder.tail("x", 2), folder.tail("x", 9)) == (b"bc", b"abc")
    assert watched.kinds() == {"GET": 5}


def test_the_first_bytes_of_a_file_are_read_by_one_request(watched: Proxy, folder: Folder) -> None:
    folder.publish("x", b"abc")
    folder.publish("empty", b"")
    fs, path = file_system(folder.url)
    watched.clear()
    assert beginning(fs, f"{path}/x", 2) == b"ab"
    assert beginning(fs, f"{path}/x", 9) == b"abc"
    assert watched.kinds() == {"GET": 2}
    assert beginning(fs, f"{path}/empty", 9) == b""
    with pytest.raises(FileNotFoundError):
        beginning(fs, f"{path}/absent", 9)


def test_a_folder_is_listed_page_by_page(
    watched: Proxy, folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(7):
        folder.publish(f"many/{number}", b"x")
    folder.publish("many/below/7", b"x")
    folder.publish("many/", b"")  # as a console makes an empty folder
    fs, path = file_system(folder.url)
    call = type(fs)._call_s3

    async def of_three(self: Any, method: str, **options: Any) -> Any:
        return await call(self, method, **options, MaxKeys=3)

    monkeypatch.setattr(type(fs), "_call_s3", of_three)
    watched.clear()
    found = listed(fs, f"{path}/many")
    assert next(found)["type"] in ("file", "directory")
    assert watched.kinds() == {"LIST": 1}, "the other pages are not asked for yet"
    names = sorted([*map(str, range(7)), "below"])
    assert folder.names("many") == names
    assert folder.entries("many")["below"].kind == "directory"


@pytest.fixture
def bucket(object_storage: ObjectStorage) -> Iterator[str]:
    """The name of a bucket that is reached without a proxy."""
    with object_storage.reached():
        yield object_storage.new_bucket().removeprefix("s3://")


def test_names_of_all_kinds_are_listed_as_the_client_lists_them(
    bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [
        "a&b",
        "a&amp;b",
        "<x>",
        "a+b",
        "a b",
        "a%20b",
        "a%2Bb",
        'q"',
        "'",
        "é",
        "字",
        "\N{SMIRKING FACE}",
    ]
    names += [
        "tab\t",
        "back\\slash",
        " led",
        "trailed ",
        "?#",
        "=",
        "below/1",
        "d&d/+ é/1",
    ]
    fs = S3FileSystem(skip_instance_cache=True, use_listings_cache=False)
    for name in names:
        fs.call_s3("put_object", Bucket=bucket, Key=f"many/{name}", Body=name.encode())

    def found() -> list[tuple[Any, ...]]:
        entries = listed(fs, f"{bucket}/many")
        return [(one["name"], one["size"], one["type"], one.get("LastModified")) for one in entries]

    with monkeypatch.context() as patch:
        patch.setattr(s3_listing, "_take_files", lambda *_: None)
        of_client = found()
    assert found() == of_client
    files = {name for name, _, kind, _ in of_client if kind == "file"}
    assert files == {f"{bucket}/many/{name}" for name in names if "/" not in name}


def test_a_page_of_the_form_of_s3_is_not_left_to_the_client() -> None:
    entry = (
        "<Contents><Key>{}</Key><LastModified>2027-01-01T00:00:00.250Z</LastModified>"
        "<ETag>&quot;0&quot;</ETag><Size>{}</Size></Contents>"
    )
    body = f"<A><B>1</B>{entry.format('a', 1)}{entry.format('b', 20)}<C/></A>".encode()
    response, found = {"status_code": 200, "body": body}, dict[str, Any]()
    s3_listing._take_files(response, found)
    assert response["body"] == b"<A><B>1</B><C/></A>"
    (files,) = found.values()
    assert files.drop_columns(["LastModified"]).to_pylist() == [
        {"Key": "a", "Size": 1, "ETag": '"0"'},
        {"Key": "b", "Size": 20, "ETag": '"0"'},
    ]
    assert files["LastModified"][0].as_py() == datetime(2027, 1, 1, 0, 0, 0, 250_000, UTC)


@pytest.mark.parametrize(
    "entry",
    [
        "<Key>a</Key><Size>1</Size>",
        "<Key>a&lt;</Key><LastModified>2027-01-01T00:00:00.000Z</LastModified>"
        "<ETag>0</ETag><Size>1</Size>",
        "<Key>a</Key><LastModified>Fri, 01 Jan 2027 00:00:00 GMT</LastModified>"
        "<ETag>0</ETag><Size>1</Size>",
        "<Key>a</Key><LastModified>2027-01-01T00:00:00.000Z</LastModified><ETag>0</ETag><Size/>",
    ],
)
def test_a_page_of_another_form_is_left_to_the_client(entry: str) -> None:
    body = f"<ListBucketResult><Contents>{entry}</Contents></ListBucketResult>".encode()
    response, found = {"status_code": 200, "body": body}, dict[str, Any]()
    s3_listing._take_files(response, found)
    assert (response["body"], found) == (body, {})


def test_whether_a_folder_is_there_costs_one_small_page(watched: Proxy, folder: Folder) -> None:
    for number in range(5):
        folder.publish(f"many/{number}", b"x")
    fs, path = file_system(folder.url)
    watched.clear()
    assert is_folder(fs, f"{path}/many")
    assert not is_folder(fs, f"{path}/man")
    assert not is_folder(fs, f"{path}/many/1")
    assert watched.kinds() == {"LIST": 3}
    assert all("max-keys=1" in request.path for request in watched.requests)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_that_passes_is_not_noticed(watched: Proxy, folder: Folder, fault: str) -> None:
    watched.fault = lambda request: fault if request.before == 0 else ""
    folder.publish("a/1", b"one" * 100)
    assert folder.create("a/2", b"second") or fault == "unanswered"
    with folder.publishing("a/3") as file:
        file.write(b"third")
    assert folder.read("a/1") == b"one" * 100
    assert folder.tail("a/1", 3) == b"one"
    assert folder.names("a") == ["1", "2", "3"]
    with folder.opened("a/3") as opened:
        assert opened.read() == b"third"
    folder.remove("a/1")
    assert not folder.exists("a/1")
    assert watched.faults[fault] >= 6


@pytest.mark.parametrize(
    ("fault", "cure"),
    [
        ("denied", "must be allowed to list, read, write and delete"),
        ("unknown_key", "does not know this key, or it has expired"),
        ("expired", "does not know this key, or it has expired"),
        ("other_region", "is in another region: set AWS_DEFAULT_REGION"),
        ("unavailable", "busy or failed.*run the same command again later, it resumes"),
        ("slow_down", "busy or failed.*run the same command again later, it resumes"),
        ("internal_error", "busy or failed.*run the same command again later, it resumes"),
        ("refused", "does not answer.*AWS_ENDPOINT_URL.*run the same command again, it resumes"),
    ],
)
@pytest.mark.usefixtures("hasty")
def test_a_fault_that_stays_is_an_error_with_its_cure(
    watched: Proxy, folder: Folder, fault: str, cure: str
) -> None:
    watched.fault = lambda _: fault
    with pytest.raises(StorageError, match=rf"(?s)cannot write .*/out/x: .*{cure}"):
        folder.publish("x", b"x")
    with pytest.raises(StorageError, match=rf"(?s)cannot list .*/out: .*{cure}"):
        folder.names()
    with pytest.raises(StorageError, match=rf"(?s)cannot read .*/out/x: .*{cure}"):
        folder.read("x")


def test_a_bucket_that_is_not_there_is_an_error_with_its_cure(bucket: str) -> None:
    folder = Folder("s3://no-such-bucket/out")
    assert folder.read("x") is None
    assert folder.names() == []
    with pytest.raises(StorageError, match="does not exist; create the bucket first"):
        folder.publish("x", b"x")


def test_missing_credentials_are_an_error_with_its_cure(
    object_storage: ObjectStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    with object_storage.reached():
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            monkeypatch.delenv(name)
        with pytest.raises(StorageError, match=r"there are no credentials: set AWS_ACCESS_KEY_ID"):
            Folder(object_storage.new_bucket()).publish("x", b"x")
        with pytest.raises(ConfigError, match=r"there are no credentials: set AWS_ACCESS_KEY_ID"):
            place_of(FilesConfig(url=f"{object_storage.new_bucket()}/photos"))


@pytest.fixture
def in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have files of more than 10 MiB written in parts, as those of more than 100 MiB are."""
    monkeypatch.setattr("s3fs.core.calculate_chunksize", lambda *_, **__: 5 << 20)


def write_in_parts(folder: Folder) -> bytes:
    data = b"".join(bytes([number]) * (5 << 20) for number in range(3))
    with folder.publishing("large") as file:
        file.write(data)
    return data


@pytest.mark.usefixtures("hasty", "in_parts")
def test_a_large_file_that_is_cut_on_its_way_is_never_seen(watched: Proxy, folder: Folder) -> None:
    watched.fault = lambda request: "refused" if request.kind == "PUT" else ""
    with pytest.raises(StorageError, match="run the same command again"):
        write_in_parts(folder)
    assert watched.kinds()["POST"], "it was begun in parts"
    assert folder.names() == []


@pytest.mark.usefixtures("in_parts")
def test_a_large_file_arrives_whole_whatever_happens_on_its_way(
    watched: Proxy, folder: Folder
) -> None:
    watched.fault = passing_faults(0, 0.5)
    data = write_in_parts(folder)
    assert folder.read("large") == data
    assert watched.faults.total() >= 3


def test_a_user_may_choose_how_often_s3_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_MAX_ATTEMPTS", "AWS_RETRY_MODE"):
        monkeypatch.delenv(name, raising=False)
    expected = {"mode": "standard", "total_max_attempts": TRIES}
    assert options_in("s3://bucket/x")["s3"]["config_kwargs"]["retries"] == expected
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "3")
    monkeypatch.setenv("AWS_RETRY_MODE", "adaptive")
    assert options_in("s3://bucket/x")["s3"]["config_kwargs"]["retries"] == {}
    own = {"config_kwargs": {"retries": {"total_max_attempts": 1}, "read_timeout": 3}}
    monkeypatch.setitem(conf, "s3", own)
    chosen = options_in("s3://bucket/x")["s3"]["config_kwargs"]
    assert chosen == {"max_pool_connections": AT_ONCE, **own["config_kwargs"]}


@pytest.mark.parametrize("scheme", ["s3", "gs", "az", "abfs"])
def test_no_storage_remembers_a_listing(scheme: str) -> None:
    for url in (f"{scheme}://bucket/x", f"zip://a.zip::{scheme}://bucket/x"):
        assert options_in(url)[scheme]["use_listings_cache"] is False
    assert options_in("/a/path") == options_in("memory://x") == {}


@pytest.mark.parametrize(
    ("url", "extra"), [("gs://bucket/x", "gs"), ("az://container/x", "az"), ("s3://b/x", "s3")]
)
def test_a_storage_without_its_package_names_the_extra(
    url: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = {"gs": "gcsfs", "az": "adlfs", "s3": "s3fs"}[extra]
    monkeypatch.setitem(sys.modules, package, None)
    known = sys.modules["fsspec.registry"].__dict__["_registry"]  # those that were used already
    monkeypatch.delitem(known, extra, raising=False)
    with pytest.raises(MissingPackage, match=rf"pip install 'florilegium\[{extra}\]'"):
        Folder(url)


@pytest.mark.parametrize("cuts", [[], ["c"], ["a&b", "é"], ["0", "zz"]])
def test_a_folder_that_is_listed_in_parts_has_the_same_entries(
    folder: Folder, cuts: list[str]
) -> None:
    names = ["a", "a&b", "a b", "c", "d+%20<x>", "é", "z"]
    for name in names:
        folder.publish(f"x/{name}", name.encode())
    folder.publish("x/inner/y", b"")
    found = [row for table in folder.listing("x", cuts=cuts) for row in table.to_pylist()]
    assert sorted(one["name"] for one in found) == sorted([*names, "inner"])
    assert {one["name"]: (one["kind"], one["size"]) for one in found} == {
        "inner": ("directory", 0),
        **{name: ("file", len(name.encode())) for name in names},
    }


def test_a_page_is_read_as_its_client_reads_it(folder: Folder) -> None:
    folder.publish("x/a&b", b"abc")
    fs = S3FileSystem(skip_instance_cache=True)
    bucket, _, key = f"{folder.url.removeprefix('s3://')}/x/".partition("/")
    (theirs,) = fs.call_s3("list_objects_v2", Bucket=bucket, Prefix=key)["Contents"]
    (ours,) = listed(folder._fs, f"{bucket}/{key}".rstrip("/"))
    for name in ("ETag", "LastModified", "Size"):
        assert ours[name] == theirs[name], name
    assert str(ours["LastModified"]) == str(theirs["LastModified"])

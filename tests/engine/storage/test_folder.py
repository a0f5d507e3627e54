from __future__ import annotations

import errno
import io
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from florilegium.engine.core.errors import StorageError
from florilegium.engine.execution.preparation import prepare
from florilegium.engine.execution.progress import Progress
from florilegium.engine.execution.run import execute
from florilegium.engine.storage import folder as storage
from florilegium.engine.storage.folder import Folder
from florilegium.pipelines.build import put_in_place
from tests.building import build, configure, contents


@pytest.fixture(params=["disk", "memory"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Folder:
    """A folder on disk and one on a storage without renames."""
    return Folder(str(tmp_path / "out") if request.param == "disk" else f"memory://{uuid4().hex}")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 512 KiB, where the system lets us have one."""
    where = tmp_path / "disk"
    where.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", str(where)]
    if not shutil.which("mount") or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("tmpfs cannot be mounted here")
    yield where
    subprocess.run(["umount", str(where)], check=True)


def test_a_published_file_is_read_back(folder: Folder) -> None:
    folder.publish("a/b.bin", b"one")
    folder.publish("a/c.bin", memoryview(b"two"), durable=False)
    assert folder.read("a/b.bin") == b"one"
    assert folder.names("a") == ["b.bin", "c.bin"]
    with folder.opened("a/c.bin") as file:
        assert file.read() == b"two"
    assert folder.exists("a/b.bin")


def test_what_is_not_there_is_no_error(folder: Folder) -> None:
    folder.remove("absent")
    assert folder.read("absent") is None
    assert folder.names("absent") == []
    assert not folder.exists("absent")


def test_publishing_again_replaces_the_file(folder: Folder) -> None:
    folder.publish("x", b"a long first version")
    folder.publish("x", b"second")
    assert folder.read("x") == b"second"


def test_a_snapshot_stays_what_it_was_when_another_file_has_the_name(folder: Folder) -> None:
    assert folder.snapshot("a/b") is None
    folder.publish("a/b", b"before")
    file = folder.snapshot("a/b")
    assert file is not None
    folder.publish("a/b", b"after it")
    with file:
        assert file.read() == b"before"
        file.seek(2)
        assert file.read() == b"fore"


def test_a_removed_file_is_gone(folder: Folder) -> None:
    folder.publish("x", b"1")
    folder.remove("x")
    assert folder.read("x") is None


def write_then_fail(folder: Folder, name: str) -> None:
    with folder.publishing(name) as file:
        file.write(b"half")
        raise RuntimeError("interrupted")


def test_an_interrupted_block_leaves_nothing(folder: Folder) -> None:
    with pytest.raises(RuntimeError, match="interrupted"):
        write_then_fail(folder, "x")
    assert folder.names() == []


def test_an_interrupted_block_leaves_the_old_version(folder: Folder) -> None:
    folder.publish("x", b"old")
    with pytest.raises(RuntimeError, match="interrupted"):
        write_then_fail(folder, "x")
    assert folder.read("x") == b"old"
    assert folder.names() == ["x"]


def test_nothing_is_seen_under_the_name_before_the_block_ends(folder: Folder) -> None:
    with folder.publishing("x") as file:
        file.write(b"half")
        assert folder.read("x") is None
    assert folder.read("x") == b"half"


@pytest.mark.parametrize(
    ("code", "cure"),
    [
        (errno.ENOSPC, "the disk is full: free some space"),
        (errno.EDQUOT, "quota"),
        (errno.EROFS, "read-only: choose another `output`"),
        (errno.EACCES, "permission"),
        (errno.EIO, "look at the system's log"),
        (errno.ENOENT, "something deleted or moved the folder"),
        (errno.EBUSY, "check the path"),
    ],
)
def test_a_write_that_fails_tells_the_path_and_the_cure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, cure: str
) -> None:
    def fail(descriptor: int) -> None:
        raise OSError(code, os.strerror(code))

    folder = Folder(str(tmp_path / "out"))
    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(StorageError, match=cure) as caught:
        folder.publish("shards/x.tar", b"1")
    assert str(tmp_path / "out" / "shards" / "x.tar") in str(caught.value)
    assert os.strerror(code) in str(caught.value)
    assert folder.names("shards") == []


@pytest.mark.attack("faults")
def test_a_small_file_that_cannot_be_written_whole_is_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Full(io.BytesIO):
        def write(self, data: object) -> int:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def opened(path: str, mode: str) -> Full:
        Path(path).write_bytes(b"half")
        return Full()

    monkeypatch.setattr(storage, "open", opened, raising=False)
    with pytest.raises(StorageError, match="the disk is full"):
        Folder(str(tmp_path)).create("lease.json", b"{}")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.attack("faults")
def test_a_disk_that_tells_on_closing_that_it_is_full_leaves_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Late(io.FileIO):
        def close(self) -> None:
            is_first = not self.closed
            super().close()
            if is_first:
                raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))

    monkeypatch.setattr(storage, "open", Late, raising=False)
    with pytest.raises(StorageError, match="quota"):
        Folder(str(tmp_path)).publish("layer.parquet", b"1", durable=False)
    assert list(tmp_path.iterdir()) == []


def test_a_file_in_place_of_the_folder_is_a_storage_error(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("a file", encoding="utf-8")
    with pytest.raises(StorageError, match="cannot write"):
        Folder(str(tmp_path / "out")).publish("x", b"1")


def test_reading_what_is_a_folder_is_a_storage_error(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    with pytest.raises(StorageError, match="cannot read"):
        Folder(str(tmp_path)).read("x")


@pytest.mark.attack("faults")
def test_a_full_disk_ends_a_build_clearly_and_a_rerun_completes(
    album: Path, tmp_path: Path, small_disk: Path
) -> None:
    out = small_disk / "out"
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(480 * 1024))
    with pytest.raises(StorageError, match=r"the disk is full: free some space .* it resumes"):
        build(album, out, shard_size=4)
    assert not (out / "manifest.json").exists()
    ballast.unlink()
    build(album, out, shard_size=4)
    build(album, tmp_path / "reference", shard_size=4)
    assert contents(out) == contents(tmp_path / "reference")


@pytest.mark.attack("faults")
@pytest.mark.parametrize("at", range(0, 13, 3))
def test_a_build_completes_after_a_write_failed_anywhere(
    album: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    replace, count = os.replace, iter(range(1000))

    def fail_once(source: str, target: str) -> None:
        if next(count) == at:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        replace(source, target)

    monkeypatch.setattr("os.replace", fail_once)
    with pytest.raises(StorageError, match="disk is full"):
        build(album, tmp_path / "out", shard_size=5)
    build(album, tmp_path / "out", shard_size=5)
    build(album, tmp_path / "reference", shard_size=5)
    assert contents(tmp_path / "out") == contents(tmp_path / "reference")


def test_a_whole_build_goes_into_a_storage_without_renames(album: Path, tmp_path: Path) -> None:
    url = f"memory://{uuid4().hex}"
    run = prepare(configure(album, Path("unused"), shard_size=5).model_copy(update={"output": url}))
    put_in_place(run, execute(run, Progress()))
    build(album, tmp_path / "reference", shard_size=5)
    wanted = contents(tmp_path / "reference")
    assert {name: run.output.read(name) for name in wanted} == wanted


def test_a_part_of_a_file_is_read(tmp_path: Path) -> None:
    folder = Folder(str(tmp_path))
    folder.publish("a", b"0123456789")
    assert folder.part("a", 2, 5) == b"234"
    assert folder.part("a", 8, 50) == b"89"
    with pytest.raises(StorageError):
        folder.part("gone", 0, 1)

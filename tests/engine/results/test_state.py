"""The state of a dataset: a cache of what is known of its finished shards, and no more."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from florilegium.engine.execution.preparation import prepare
from florilegium.engine.execution.progress import Progress
from florilegium.engine.execution.run import execute
from florilegium.engine.results import finished_shards
from florilegium.engine.results.shard_table import ShardTable
from florilegium.engine.results.state import NOTHING_KNOWN, STATE, read_state
from florilegium.engine.storage.folder import Folder
from florilegium.pipelines.build import put_in_place
from florilegium.pipelines.verify.verify import verify_dataset
from tests.building import build, configure, contents, shard_file
from tests.engine.by_hand import stats_of
from tests.engine.results.test_manifest import LETTER, stats


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """The files that are read, by name."""
    found: Counter[str] = Counter()
    read = Folder.read

    def counted(self: Folder, name: str, **options: Any) -> bytes | None:
        found[name] += 1
        return read(self, name, **options)

    monkeypatch.setattr(Folder, "read", counted)
    return found


def of_shards(reads: Counter[str]) -> int:
    """Return how many files were read of which each shard has one."""
    return sum(count for name, count in reads.items() if name.startswith(("shards/", "source-")))


def test_shards_as_columns_are_the_shards_again() -> None:
    given = [stats(number, dead_letters=(LETTER,) * (number % 3)) for number in range(7)]
    table = ShardTable.of(given)
    assert list(table) == given
    assert [one.name for one in table] == [one.name for one in given] == table.names
    assert [(one.reading, one.file) for one in table] == [(one.reading, one.file) for one in given]
    assert list(table.take([5, 2])) == [given[5], given[2]]
    assert list(table.dead_letters()) == [
        (one.name, letter) for one in given for letter in one.dead_letters
    ]
    assert ShardTable.of([stats_of(1, number=2), stats_of(1, number=1)]).sorted()[0].number == 1


def test_nothing_is_read_of_shards_that_are_listed_as_before(
    album: Path, tmp_path: Path, reads: Counter[str]
) -> None:
    build(album, tmp_path, shard_size=2)
    before = contents(tmp_path)
    reads.clear()
    build(album, tmp_path, shard_size=2)
    assert of_shards(reads) == 0
    assert contents(tmp_path) == before


def truncated(output: Path) -> None:
    (output / STATE).write_bytes((output / STATE).read_bytes()[:-9])


def changed(output: Path) -> None:
    data = bytearray((output / STATE).read_bytes())
    data[len(data) // 2] ^= 1
    (output / STATE).write_bytes(data)


def deleted(output: Path) -> None:
    (output / STATE).unlink()


@pytest.mark.parametrize("damage", [truncated, changed, deleted])
def test_a_state_that_cannot_be_used_is_made_again_from_the_shards(
    album: Path, tmp_path: Path, reads: Counter[str], damage: Callable[[Path], None]
) -> None:
    build(album, tmp_path, shard_size=2)
    before, state = contents(tmp_path), (tmp_path / STATE).read_bytes()
    damage(tmp_path)
    assert read_state(Folder(str(tmp_path))) == NOTHING_KNOWN
    reads.clear()
    build(album, tmp_path, shard_size=2)
    assert of_shards(reads) > 0
    assert contents(tmp_path) == before
    assert (tmp_path / STATE).read_bytes() == state


@pytest.mark.parametrize("suffix", [".tar", ".parquet", "_stats.json"])
@pytest.mark.parametrize("how", ["deleted", "truncated", "replaced"])
def test_a_shard_that_is_not_listed_as_before_is_looked_at_and_made_again(
    album: Path, tmp_path: Path, suffix: str, how: str
) -> None:
    build(album, tmp_path, shard_size=2)
    before = contents(tmp_path)
    path = shard_file(tmp_path, suffix, 1)
    data = path.read_bytes()
    if how == "deleted":
        path.unlink()
    else:
        path.chmod(0o644)
        path.write_bytes(data[:-1] if how == "truncated" else data[:-1] + b"?")
        later = max(one.stat().st_mtime_ns for one in path.parent.iterdir()) + 10**9
        os.utime(path, ns=(later, later))
    build(album, tmp_path, shard_size=2)
    assert contents(tmp_path) == before


def test_a_copy_of_a_dataset_is_looked_at_once(
    album: Path, tmp_path: Path, reads: Counter[str]
) -> None:
    build(album, tmp_path, shard_size=2)
    for path in (tmp_path / "shards").iterdir():
        os.utime(path, (1, 1))
    for is_first in (True, False):
        reads.clear()
        build(album, tmp_path, shard_size=2)
        assert (of_shards(reads) > 0) == is_first


@pytest.mark.parametrize("step", ["remember", "write_state", "switch", "complete"])
def test_a_build_that_is_killed_around_its_state_ends_with_the_same_bytes(
    album: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    output, fresh = tmp_path / "out", tmp_path / "fresh"
    build(album, output, shard_size=2)
    build(album, fresh, shard_size=3)
    where = "engine.results.versions" if step == "write_state" else "pipelines.build"

    def killed(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(f"florilegium.{where}.{step}", killed)
        with pytest.raises(KeyboardInterrupt):
            build(album, output, shard_size=3)
    build(album, output, shard_size=3)
    assert contents(output) == contents(fresh)
    assert set(read_state(Folder(str(output))).shards.names) == set(
        read_state(Folder(str(fresh))).shards.names
    )
    assert not list(verify_dataset(Folder(str(output))))


def test_a_shard_that_was_rewritten_before_it_was_listed_is_not_believed(
    album: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build(album, tmp_path, shard_size=2)
    before = contents(tmp_path)
    (tmp_path / STATE).unlink()
    listed, path = finished_shards.list_shards, shard_file(tmp_path, ".tar", 1)
    later = max(one.stat().st_mtime_ns for one in path.parent.iterdir()) + 10**9

    def rewritten(output: Folder, shards: ShardTable) -> finished_shards.Listed:
        if shards:  # those that were looked at before
            path.chmod(0o644)
            path.write_bytes(b"?" * path.stat().st_size)
            os.utime(path, ns=(later, later))
        return listed(output, shards)

    with monkeypatch.context() as patch:
        patch.setattr(finished_shards, "list_shards", rewritten)
        build(album, tmp_path, shard_size=2)
    assert contents(tmp_path) != before
    build(album, tmp_path, shard_size=2)
    assert contents(tmp_path) == before


def test_a_storage_without_times_is_asked_about_each_shard(
    album: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reads: Counter[str]
) -> None:
    listing = Folder.listing

    def timeless(self: Folder, *given: Any, **options: Any) -> Iterator[pa.Table]:
        for table in listing(self, *given, **options):
            yield table.set_column(3, "modified", pa.array([0.0] * len(table)))

    monkeypatch.setattr(Folder, "listing", timeless)
    build(album, tmp_path, shard_size=2)
    before = contents(tmp_path)
    path = shard_file(tmp_path, "_stats.json", 1)
    path.chmod(0o644)
    path.write_bytes(b"?" * path.stat().st_size)
    build(album, tmp_path, shard_size=2)
    assert contents(tmp_path) == before
    reads.clear()
    build(album, tmp_path, shard_size=2)
    assert of_shards(reads) > 0


def test_the_state_of_another_dataset_is_not_believed(album: Path, tmp_path: Path) -> None:
    output, other = tmp_path / "out", tmp_path / "other"
    build(album, output, shard_size=2)
    build(album, other, shard_size=3)
    before, state = contents(output), (output / STATE).read_bytes()
    (output / STATE).write_bytes((other / STATE).read_bytes())
    build(album, output, shard_size=2)
    assert contents(output) == before
    assert (output / STATE).read_bytes() == state


def test_with_check_every_shard_is_read_whatever_the_state_has(album: Path, tmp_path: Path) -> None:
    build(album, tmp_path, shard_size=2)
    before = contents(tmp_path)
    path = shard_file(tmp_path, ".tar", 0)
    times = path.stat()
    path.chmod(0o644)
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    run = prepare(configure(album, tmp_path, shard_size=2))
    put_in_place(run, execute(run, Progress(), check=True))
    assert contents(tmp_path) == before


def test_the_shards_of_versions_that_are_kept_are_not_read_either(
    album: Path, tmp_path: Path, reads: Counter[str]
) -> None:
    build(album, tmp_path, shard_size=2, keep_versions=2)
    build(album, tmp_path, shard_size=3, keep_versions=2)
    reads.clear()
    build(album, tmp_path, shard_size=3, keep_versions=2)
    assert of_shards(reads) == 0

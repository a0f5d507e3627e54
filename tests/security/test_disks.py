"""Disks that fill up, fail or vanish under a build: one clear sentence, and the next run completes.

Each kind of file is hit at each of its operations through the seam of the storage; a small disk of
its own shows the same with a real one.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from florilegium.engine.core.errors import RunError, StorageError
from florilegium.engine.storage.failure import CURES
from florilegium.engine.storage.folder import Folder
from florilegium.pipelines.verify.verify import verify_dataset
from tests.building import BRIGHT_ENOUGH, DESCRIBED
from tests.security.points import Point, Watch, files_of, whole_build

pytestmark = pytest.mark.attack("faults")

KEYS: dict[str, Any] = {
    "specialists": DESCRIBED, "filters": BRIGHT_ENOUGH, "shard_size": 5, "keep_versions": 2,
    "max_dead_letter_share": 1,
}  # fmt: skip
FAULTS = {
    "open": (errno.EROFS, errno.ENAMETOOLONG),
    "write": (errno.ENOSPC,),
    "fsync": (errno.EIO,),
    "close": (errno.EDQUOT,),
    "replace": (errno.EACCES,),
    "remove": (errno.EIO,),
}
"""What goes wrong at which operation; a write that fails has written half."""
KINDS = ("lease", "index", "recipe", "receipt", "layer", "tar", "parquet", "shard statistics",
         "run.log", "run.yaml", "statistics", "report", "card", "dead letters", "version",
         "manifest", "state")  # fmt: skip
LEASE_REMOVED = Point("lease", "remove")
"""The last operation; a lease that is not deleted ends by itself."""


class Case(NamedTuple):
    """A build: the source, the version before, and what happens and comes out undisturbed."""

    source: Path
    before: Path
    points: list[Point]
    whole: dict[str, bytes]
    anew: dict[str, bytes]
    """What is made where nothing of the version before is left."""

    def folder(self, out: Path) -> Path:
        """Put the version before in place."""
        shutil.copytree(self.before, out)
        config = (out / "run.yaml").read_text("utf-8")
        (out / "run.yaml").write_text(config.replace(str(self.before), str(out)), "utf-8")
        return out

    def known(self, name: str) -> list[bytes]:
        """Return the contents that a file may have, whenever the build stops."""
        old, new = (json.loads(one["manifest.json"]) for one in (files_of(self.before), self.whole))
        recipe = [new["recipe"].encode()] if name == "recipe" else []
        assert old["recipe"] != new["recipe"]
        return [one[name] for one in (files_of(self.before), self.whole) if name in one] + recipe


@pytest.fixture(scope="module")
def case(album: Path, tmp_path_factory: pytest.TempPathFactory) -> Case:
    """A second version with one more image, which is none, and one more stage."""
    folder = tmp_path_factory.mktemp("case")
    source, before, out = folder / "album", folder / "before", folder / "out"
    shutil.copytree(album, source)
    whole_build(source, before, **{**KEYS, "filters": {}})
    (source / "broken.jpg").write_bytes(b"this is no image")
    shutil.copytree(before, out)
    watch = Watch(out)
    with watch.on():
        whole_build(source, out, **KEYS)
    whole_build(source, folder / "anew", **KEYS)
    return Case(source, before, watch.points, files_of(out), files_of(folder / "anew"))


def test_every_kind_of_file_that_a_build_writes_is_hit(case: Case) -> None:
    assert {point.kind for point in case.points} - {"start", "reading", "answers"} == set(KINDS)


def failing(code: int) -> Callable[[], None]:
    """Return what raises an error of the operating system."""

    def fail() -> None:
        raise OSError(code, os.strerror(code))

    return fail


@pytest.mark.parametrize("kind", KINDS)
def test_a_write_that_fails_ends_the_build_in_a_sentence_and_the_next_run_completes(
    case: Case, tmp_path: Path, kind: str
) -> None:
    points = [Point(kind, operation) for operation in FAULTS]
    points = [point for point in points if point in case.points and point != LEASE_REMOVED]
    assert len(points) >= 2
    for point in points:
        for code in FAULTS[point.operation]:
            out = case.folder(tmp_path / f"{point.operation}{code}")
            with (
                pytest.raises(StorageError) as caught,
                Watch(out, at=case.points.index(point), act=failing(code)).on(),
            ):
                whole_build(case.source, out, **KEYS)
            message = str(caught.value)
            assert "\n" not in message
            assert f" {out}/" in message
            assert f"{os.strerror(code)}; {CURES[code]}" in message
            for name, data in files_of(out).items():
                assert data in case.known(name), (name, message)
            whole_build(case.source, out, **KEYS)
            assert files_of(out) == case.whole, message


def test_a_lease_that_cannot_be_deleted_fails_no_build(case: Case, tmp_path: Path) -> None:
    out = case.folder(tmp_path / "out")
    at = case.points.index(LEASE_REMOVED)
    with Watch(out, at=at, act=failing(errno.EIO)).on():
        whole_build(case.source, out, **KEYS)
    whole_build(case.source, out, **KEYS)
    assert files_of(out) == case.whole


@pytest.mark.parametrize("kind", ["reading", "answers", "layer", "tar", "parquet", "receipt",
                                  "run.yaml", "report", "card"])  # fmt: skip
@pytest.mark.parametrize("what", ["", "shards", "layers", ".lease"])
def test_what_is_deleted_during_a_build_is_noticed_or_made_again(
    case: Case, tmp_path: Path, kind: str, what: str
) -> None:
    out = case.folder(tmp_path / "out")
    numbers = [number for number, point in enumerate(case.points) if point.kind == kind]

    def delete() -> None:
        path = out / what
        path.unlink() if path.is_file() else shutil.rmtree(path)

    try:
        with Watch(out, at=numbers[len(numbers) // 2], act=delete).on():
            whole_build(case.source, out, **KEYS)
        message = ""
        assert current(files_of(out)) == current(case.whole)
    except (RunError, StorageError) as error:
        message = str(error)
    assert not message or "run the same command again" in message
    whole_build(case.source, out, **KEYS)
    assert current(files_of(out)) in [current(case.whole), *([] if what else [current(case.anew)])]
    assert list(verify_dataset(Folder(str(out)))) == []


def current(files: Mapping[str, bytes]) -> dict[str, bytes]:
    """Return the files of the current version; layers may go once they were used."""
    shards = json.loads(files["manifest.json"])["shards"]
    names = tuple(f"shards/{shard['name']}" for shard in shards)
    return {
        name: data
        for name, data in files.items()
        if name.startswith(names) or not name.startswith(("shards/", "versions/", "layers/"))
    }


def test_an_index_that_is_deleted_during_a_build_is_written_again(
    case: Case, tmp_path: Path
) -> None:
    out = case.folder(tmp_path / "out")
    at = case.points.index(Point("tar", "write"))
    with Watch(out, at=at, act=(out / "index.parquet").unlink).on():
        whole_build(case.source, out, **KEYS)
    assert files_of(out) == case.whole

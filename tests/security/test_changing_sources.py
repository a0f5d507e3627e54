"""Source files that change, grow, shrink or go while a build reads them; the next build notices."""

from __future__ import annotations

import io
import os
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from florilegium.engine.execution import worker
from florilegium.engine.storage.folder import Folder
from florilegium.pipelines.verify.verify import verify_dataset
from tests.building import BRIGHT_ENOUGH, DESCRIBED
from tests.security.points import files_of, whole_build

pytestmark = pytest.mark.attack("faults")

KEYS: dict[str, Any] = {
    "specialists": DESCRIBED, "filters": BRIGHT_ENOUGH, "shard_size": 3,
    "max_dead_letter_share": 1,
}  # fmt: skip

Change = Callable[[Path], None]


def fill_folder(album: Path, source: Path) -> None:
    shutil.copytree(album, source)
    for path in list(source.glob("*.jpg")):
        path.with_suffix(".txt").write_text(f"a picture of {path.stem}", encoding="utf-8")


def fill_tars(album: Path, source: Path) -> None:
    source.mkdir()
    images = sorted(album.iterdir())
    for number in range(3):
        with tarfile.open(source / f"{number}.tar", "w") as tar:
            for path in images[4 * number : 4 * number + 4]:
                tar.add(path, arcname=path.name)


def fill_parquet(album: Path, source: Path) -> None:
    source.mkdir()
    images = sorted(album.iterdir())
    for number in range(3):
        write_rows(source / f"{number}.parquet", images[4 * number : 4 * number + 4])


def write_rows(path: Path, images: list[Path]) -> None:
    rows = [{"bytes": one.read_bytes(), "path": one.name} for one in images]
    pq.write_table(pa.table({"image": rows}), path, row_group_size=2)


def some(source: Path) -> list[Path]:
    """Return inputs of the second and third shard; the first one is being read."""
    files = [path for path in sorted(source.iterdir()) if path.suffix != ".txt"]
    return files[1:] if len(files) == 3 else [files[4], files[7]]


def delete(source: Path) -> None:
    for path in some(source):
        path.unlink()


def cut(source: Path) -> None:
    for path in some(source):
        os.truncate(path, path.stat().st_size // 2)


def empty(source: Path) -> None:
    for path in some(source):
        os.truncate(path, 0)


def grow(source: Path) -> None:
    for path in some(source):
        with path.open("ab") as file:
            file.write(bytes(3000))


def replace(source: Path) -> None:
    """Give files the content of others, all at once, as a synchronisation does."""
    first, *_, last = some(source)
    other = next(path for path in sorted(source.iterdir()) if path.suffix == first.suffix)
    shutil.copy(other, source / ".part")
    os.replace(source / ".part", first)
    shutil.copy(other, source / ".part")
    os.replace(source / ".part", last)


def overwrite(source: Path) -> None:
    """Write the content of another file over one, in place."""
    other = next(path for path in sorted(source.iterdir()))
    for path in some(source):
        if path.suffix == other.suffix:
            path.write_bytes(other.read_bytes())
        else:
            path.write_bytes(path.read_bytes()[::-1])


def become_folders(source: Path) -> None:
    for path in some(source):
        path.unlink()
        path.mkdir()


def lock(source: Path) -> None:
    """Become what nothing can be read from, whoever reads."""
    for path in some(source):
        path.unlink()
        os.mkfifo(path)


def vanish(source: Path) -> None:
    shutil.rmtree(source)
    source.mkdir()


CHANGES = [delete, cut, empty, grow, replace, overwrite, become_folders, lock, vanish]


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
@pytest.mark.parametrize("when", ["listed", "reading"])
@pytest.mark.parametrize("fill", [fill_folder, fill_tars, fill_parquet], ids=lambda f: f.__name__)
def test_a_source_that_changes_while_it_is_read_loses_no_input_and_the_next_build_notices(
    album: Path, tmp_path: Path, fill: Any, when: str, change: Change
) -> None:
    source, out = tmp_path / "source", tmp_path / "out"
    fill(album, source)
    read, calls = worker.read_shard, iter(range(100))

    def changed(*args: Any, **options: Any) -> Any:
        """Read a shard; the source changes before the first one, or after it."""
        call = next(calls)
        if call == 0 and when == "listed":
            change(source)
        result = read(*args, **options)
        if call == 0 and when == "reading":
            change(source)
        return result

    with patch.object(worker, "read_shard", changed):
        totals = whole_build(source, out, **KEYS).totals
    assert totals.inputs == totals.samples + totals.dead_letters
    assert totals.inputs >= 10 if fill is fill_folder else totals.inputs >= 3
    assert list(verify_dataset(Folder(str(out)))) == []
    if change is vanish:
        shutil.rmtree(source)
        fill(album, source)
    whole_build(source, out, **KEYS)
    again = files_of(out)
    whole_build(source, tmp_path / "anew", **KEYS)
    anew = files_of(tmp_path / "anew")
    assert shards_of(again) == shards_of(anew)
    assert list(verify_dataset(Folder(str(out)))) == []


def shards_of(files: dict[str, bytes]) -> set[bytes]:
    """Return the members of all tars: what the dataset says of each image."""
    members = set()
    for name, data in files.items():
        if name.endswith(".tar") and name.startswith("shards/"):
            with tarfile.open(fileobj=io.BytesIO(data)) as tar:
                members |= {tar.extractfile(one).read() for one in tar}  # type: ignore[union-attr]
    return members

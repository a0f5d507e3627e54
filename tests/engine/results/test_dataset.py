"""A finished dataset read back: what is selected, what is read for it, and what is refused."""

from __future__ import annotations

import io
import random
import shutil
import tarfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from florilegium import open_dataset
from florilegium.engine.core.annotation import Annotation, from_table, to_columns
from florilegium.engine.core.errors import StorageError, UsageError
from florilegium.engine.core.image.reading import decode
from florilegium.engine.results import shard_files
from florilegium.engine.results.dataset import Dataset
from florilegium.engine.results.dataset_sample import DatasetSample, read_samples
from florilegium.engine.results.selection import Selection
from florilegium.engine.results.shard_files import Wanted, read_files
from florilegium.engine.storage.folder import Folder
from tests.building import BRIGHT_ENOUGH, DESCRIBED, build, shard_file


@pytest.fixture(scope="module")
def finished(album: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two shards with kept and dropped annotations of two specialists. Read only."""
    output = tmp_path_factory.mktemp("finished") / "out"
    build(album, output, shard_size=6, specialists=DESCRIBED, filters=BRIGHT_ENOUGH)
    return output


@pytest.fixture
def copy(finished: Path, tmp_path: Path) -> Path:
    return shutil.copytree(finished, tmp_path / "out")


def rows_of(path: Path) -> list[dict[str, Any]]:
    """Return the rows of all shards, read with pyarrow alone."""
    files = sorted((path / "shards").glob("*.parquet"))
    return [row for file in files for row in pq.read_table(file, partitioning=None).to_pylist()]


def ids(samples: Any) -> list[tuple[str, str]]:
    return [(sample.key, one.id) for sample in samples for one in sample.annotations]


def test_samples_come_with_their_images_and_kept_annotations(finished: Path, album: Path) -> None:
    dataset = open_dataset(str(finished))
    samples = list(dataset)
    assert len(dataset) == len(samples) == 12
    assert len(dataset.shards) == 2
    assert sorted(sample.source for sample in samples) == sorted(p.name for p in album.iterdir())
    for sample in samples:
        pixels = sample.pixels()
        assert pixels.shape == (sample.height, sample.width, 3)
        assert (pixels == decode(sample.image)).all()
        assert (sample.extension, sample.verdicts) == ("jpg", None)
    kept = [(row["key"], row["id"]) for row in rows_of(finished) if row["kept"]]
    assert ids(samples) == kept != []


def test_annotations_are_selected_by_task_and_specialist_and_no_sample_is_lost(
    finished: Path,
) -> None:
    dataset = open_dataset(str(finished))
    for choice, name in (("tasks", "caption"), ("specialists", "describe")):
        column = choice.removesuffix("s")
        found = dataset.select(**{choice: [name]})
        wanted = [row for row in rows_of(finished) if row["kept"] and row[column] == name]
        assert ids(found) == [(row["key"], row["id"]) for row in wanted] != []
        assert len(list(found)) == len(found) == 12
        assert ids(dataset.select(**{choice: name})) == ids(found), "one name is a name, too"
    both = dataset.select(tasks="caption").select(specialists="bright")
    assert ids(both) == [], "a second choice narrows the first"


def test_dropped_annotations_come_with_the_verdicts_that_dropped_them(finished: Path) -> None:
    dataset = open_dataset(str(finished))
    rows = rows_of(finished)
    dropped = dataset.select(verdict="dropped")
    assert ids(dropped) == [(row["key"], row["id"]) for row in rows if not row["kept"]] != []
    reasons = Counter(
        verdict.reason
        for sample in dropped
        for one in sample.annotations
        for verdict in (sample.verdicts or {})[one.id]
        if not verdict.keep
    )
    assert reasons["too_dark"] > 0
    assert set(reasons) == {
        verdict["reason"] for row in rows for verdict in row["verdicts"] if not verdict["keep"]
    }
    everything = list(dataset.select(verdict="all"))
    assert ids(everything) == [(row["key"], row["id"]) for row in rows]
    sample = next(one for one in everything if one.annotations)
    measured = {one.id: one.score for one in sample.annotations if one.task == "object_detection"}
    for name, score in measured.items():
        ((verdict,), measured) = ((sample.verdicts or {})[name], {"brightness": score})
        assert (verdict.filter, verdict.measurement) == ("enough", measured)
    assert dataset.select(verdict="all").select(verdict="kept") == dataset


def annotation(random: random.Random, number: int) -> Annotation:
    return Annotation(
        kind="text",
        task=random.choice(["caption", "tag"]),
        id=str(number),
        specialist=random.choice(["eye", "ear"]),
        confidence=random.choice([None, 0.0, 0.25, 0.5, 1.0]),
    )


@pytest.mark.parametrize("tasks", [None, {"tag"}])
@pytest.mark.parametrize("specialists", [None, {"eye"}, set()])
@pytest.mark.parametrize("least", [None, 0.0, 0.5])
def test_rows_and_annotations_are_selected_alike(
    tasks: Any, specialists: Any, least: float | None
) -> None:
    chance = random.Random(0)
    annotations = [annotation(chance, number) for number in range(200)]
    selection = Selection(tasks=tasks, specialists=specialists, least_confidence=least)
    columns = {**to_columns(annotations), "kept": pa.array([True] * len(annotations))}
    found = selection.of_kept(annotations)
    assert list(found) == from_table(selection.of_rows(pa.table(columns)))
    assert (len(found) == 200) == (tasks is specialists is least is None)
    assert all(least is None or (one.confidence or 0) >= least for one in found)
    assert not any(least is not None and one.confidence is None for one in found)


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ({"tasks": ["captoin"]}, "no annotation of the task 'captoin': did you mean 'caption'"),
        ({"tasks": "ocr"}, "of the task 'ocr': valid: caption, object_detection"),
        ({"specialists": ["brigt"]}, "the specialist 'brigt': did you mean 'bright'"),
        ({"verdict": "keep"}, "verdict='keep': did you mean 'kept'"),
        ({"least_confidence": 50}, r"least_confidence=50: give a number in 0\.\.1"),
        ({"least_confidence": float("nan")}, r"give a number in 0\.\.1"),
    ],
)
def test_a_name_that_the_dataset_has_not_is_refused_with_the_nearest(
    finished: Path, choice: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        open_dataset(str(finished)).select(**choice)


def test_tables_have_the_rows_that_are_selected_and_the_columns_that_are_asked_for(
    finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[list[str]] = []
    whole = shard_files.from_parquet

    def from_parquet(data: Any, *, columns: list[str]) -> pa.Table:
        read.append(columns)
        return whole(data, columns=columns)

    monkeypatch.setattr(shard_files, "from_parquet", from_parquet)
    dataset = open_dataset(str(finished))
    tables = list(dataset.select(verdict="all").tables(["score", "key"]))
    assert read == [["score", "key"]] * 2
    found = [(row["key"], row["score"]) for table in tables for row in table.to_pylist()]
    assert found == [(row["key"], row["score"]) for row in rows_of(finished)]
    read.clear()
    (first, second) = dataset.select(tasks="caption").tables(["key"])
    assert {*map(tuple, read)} == {("key", "task", "kept")}
    assert first.column_names == ["key"]
    captions = [row for row in rows_of(finished) if row["kept"] and row["task"] == "caption"]
    keys = [*first["key"].to_pylist(), *second["key"].to_pylist()]
    assert keys == [row["key"] for row in captions]
    with pytest.raises(UsageError, match="no column 'scor': did you mean 'score'"):
        next(dataset.tables(["scor"]))


def test_tables_open_no_tar_and_kept_samples_no_parquet(copy: Path) -> None:
    dataset = open_dataset(str(copy))
    samples = list(dataset)
    for path in (copy / "shards").glob("*.parquet"):
        path.rename(path.with_suffix(".away"))
    assert list(dataset) == samples
    for path in (copy / "shards").glob("*.away"):
        path.rename(path.with_suffix(".parquet"))
    for path in (copy / "shards").glob("*.tar"):
        path.unlink()
    assert sum(len(table) for table in dataset.tables()) == len(ids(samples))


def test_a_dataset_on_object_storage_reads_like_a_local_one(finished: Path) -> None:
    memory = fsspec.filesystem("memory")
    memory.put(str(finished), "/bucket/mine", recursive=True)
    try:
        there, here = open_dataset("memory://bucket/mine"), open_dataset(str(finished))
        assert list(there.select(verdict="all")) == list(here.select(verdict="all"))
        assert list(there.tables()) == list(here.tables())
    finally:
        memory.rm("/bucket", recursive=True)


class CountingFile(io.BytesIO):
    """A file that counts the bytes that are read of it."""

    count = 0

    def read(self, size: int | None = -1) -> bytes:
        data = super().read(size)
        self.count += len(data)
        return data


def test_files_that_are_not_wanted_are_passed_over(finished: Path) -> None:
    file = CountingFile(shard_file(finished, ".tar").read_bytes())
    (key, files), *others = read_files(file, Wanted(positions={1}, extensions=("json",)))
    assert (list(files), others) == (["json"], [])
    keys = sorted({row["key"] for row in rows_of(finished)})
    assert key in keys
    assert file.count < 0.5 * len(file.getvalue())


def test_samples_are_read_by_key_or_position(finished: Path) -> None:
    dataset = open_dataset(str(finished))
    shard = dataset.shards[1]
    samples = list(dataset.samples(shard))
    assert list(dataset.samples(shard, Wanted(keys={samples[3].key, "no"}))) == [samples[3]]
    found = read_samples(dataset.folder, shard, Wanted(positions={0, 5, 99}))
    assert list(found) == [samples[0], samples[5]]


def test_a_dataset_that_is_not_finished_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="build the dataset first"):
        open_dataset(str(tmp_path))


def rewritten(path: Path, change: Callable[[str, bytes], list[tuple[str, bytes]]]) -> None:
    """Write a tar again with other members."""
    file = io.BytesIO()
    with tarfile.open(path) as old, tarfile.open(fileobj=file, mode="w") as new:
        for member in old:
            content = old.extractfile(member)
            for name, data in change(member.name, content.read() if content else b""):
                info = tarfile.TarInfo(name)
                info.size = len(data)
                new.addfile(info, io.BytesIO(data))
    path.write_bytes(file.getvalue())


def first_key(dataset: Path) -> str:
    return next(iter(open_dataset(str(dataset)))).key


def cut(data: bytes) -> bytes:
    return data[: len(data) // 2]


@pytest.mark.parametrize("suffix", [".tar", ".parquet"])
def test_a_damaged_file_is_an_error_with_its_cure(copy: Path, suffix: str) -> None:
    path = shard_file(copy, suffix)
    path.write_bytes(cut(path.read_bytes()))
    with pytest.raises(StorageError, match=rf"{path.name} cannot be read: .*build --check"):
        list(open_dataset(str(copy)).select(verdict="all"))


@pytest.mark.parametrize("name", ["id", "box_xyxy", "verdicts"])
def test_a_row_without_a_value_is_an_error_where_the_contract_wants_one(
    copy: Path, name: str
) -> None:
    path = shard_file(copy, ".parquet")
    table = pq.read_table(path, partitioning=None)
    index = table.schema.get_field_index(name)
    nothing = pa.nulls(len(table), table.schema.field(name).type)
    pq.write_table(table.set_column(index, table.schema.field(name), nothing), path)
    with pytest.raises(StorageError, match=f"it has rows without {name}"):
        list(open_dataset(str(copy)).select(verdict="all"))


def test_a_tar_that_ends_early_between_two_samples_is_no_shorter_dataset(copy: Path) -> None:
    key = first_key(copy)
    rewritten(
        shard_file(copy, ".tar"),
        lambda name, data: [] if name.startswith(f"{key}.") else [(name, data)],
    )
    with pytest.raises(StorageError, match="it has 5 samples, the manifest says 6"):
        list(open_dataset(str(copy)))


@pytest.mark.parametrize("images", [0, 2])
def test_a_sample_without_one_image_is_an_error(copy: Path, images: int) -> None:
    def change(name: str, data: bytes) -> list[tuple[str, bytes]]:
        if not name.endswith(".jpg"):
            return [(name, data)]
        return [(name, data), (f"{name[:-4]}.png", data)][:images]

    rewritten(shard_file(copy, ".tar"), change)
    with pytest.raises(StorageError, match=f"has {images} images, not one"):
        list(open_dataset(str(copy)))


def test_a_sample_by_hand_needs_no_more_than_its_image_and_annotations() -> None:
    sample = DatasetSample(
        key="a", sha256="0" * 64, width=1, height=1, annotations=(), image=b"secret"
    )
    assert "secret" not in repr(sample)


def test_a_dataset_is_opened_in_a_folder_as_well(finished: Path) -> None:
    assert list(Dataset.of(Folder(str(finished)))) == list(open_dataset(str(finished)))

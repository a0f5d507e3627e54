"""Damage that no digest shows: whoever wrote the files wrote their digests as well."""

from __future__ import annotations

import io
import json
import re
import shutil
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from engine.storage import Folder
from pipelines.shard_contract import SHARD_SCHEMA
from pipelines.verify import verify_dataset
from tests.building import BRIGHT_ENOUGH, DESCRIBED, build, shard_file
from tests.sealing import reseal

Rows = list[dict[str, Any]]


@pytest.fixture(scope="module")
def finished(album: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset with kept and dropped annotations. Read only."""
    output = tmp_path_factory.mktemp("finished") / "out"
    build(album, output, shard_size=6, specialists=DESCRIBED, filters=BRIGHT_ENOUGH)
    return output


@pytest.fixture
def dataset(finished: Path, tmp_path: Path) -> Path:
    return shutil.copytree(finished, tmp_path / "out")


def problems(dataset: Path) -> list[str]:
    return list(verify_dataset(Folder(str(dataset))))


def change_json(path: Path, change: Callable[[Any], None]) -> None:
    document = json.loads(path.read_bytes())
    change(document)
    path.write_text(json.dumps(document), encoding="utf-8")


def write_table(dataset: Path, table: pa.Table) -> None:
    pq.write_table(table, shard_file(dataset, ".parquet"))
    reseal(dataset)


def read_table(dataset: Path) -> pa.Table:
    return pq.read_table(shard_file(dataset, ".parquet"), use_threads=False)


def change_rows(dataset: Path, change: Callable[[Rows], None]) -> None:
    rows = read_table(dataset).to_pylist()
    change(rows)
    write_table(dataset, pa.Table.from_pylist(rows, schema=SHARD_SCHEMA))


def change_samples(dataset: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Rewrite the JSON of every sample of the first tar."""
    path = shard_file(dataset, ".tar")
    rewritten = io.BytesIO()
    with tarfile.open(path) as old, tarfile.open(fileobj=rewritten, mode="w") as new:
        for member in old:
            file = old.extractfile(member)
            content = file.read() if file else b""
            if member.name.endswith(".json"):
                sample = json.loads(content)
                change(sample)
                content = json.dumps(sample).encode()
                member.size = len(content)
            new.addfile(member, io.BytesIO(content))
    path.write_bytes(rewritten.getvalue())
    reseal(dataset)


@pytest.mark.parametrize("extra", [b"\0" * 20_480, b"x" * 20_480, b"\0"])
def test_bytes_behind_the_end_of_a_tar_are_found(dataset: Path, extra: bytes) -> None:
    """A reader of tars stops before them; whoever wrote them may have corrected the sizes."""
    path = shard_file(dataset, ".tar")
    path.write_bytes(path.read_bytes() + extra)
    longer = path.stat().st_size
    change_json(dataset / "manifest.json", lambda m: m["shards"][0]["tar"].update(bytes=longer))
    change_json(shard_file(dataset, "_stats.json"), lambda s: s["tar"].update(bytes=longer))
    assert f"shards/{path.name} has another digest or size than the manifest says" in problems(
        dataset
    )


def test_rewritten_files_that_say_the_same_are_right(dataset: Path) -> None:
    change_samples(dataset, lambda sample: None)
    change_rows(dataset, lambda rows: None)
    assert problems(dataset) == []


def test_a_shard_without_annotations_is_right(album: Path, tmp_path: Path) -> None:
    build(album, tmp_path / "out", specialists={"silent": {"use": "tests.stages:Silent"}})
    assert problems(tmp_path / "out") == []


def forget_verdicts(rows: Rows) -> None:
    next(row for row in rows if not row["kept"])["verdicts"] = []


def say_twice(rows: Rows) -> None:
    first, second = rows[:2]
    second["id"] = first["id"]


def of_box(rows: Rows) -> dict[str, Any]:
    return next(row for row in rows if row["box_xyxy"])


ROWS: dict[str, tuple[Callable[[Rows], None], str]] = {
    "a dropped row without a verdict": (forget_verdicts, "has dropped rows without a verdict"),
    "one id twice on a sample": (say_twice, "has two annotations of one id"),
    "a box of three numbers": (
        lambda rows: of_box(rows)["box_xyxy"].pop(),
        "has a box_xyxy that is not of 0 or 4",
    ),
    "a quad of two": (lambda rows: rows[0].update(quad=[1.0, 2.0]), "a quad that is not of 0 or 8"),
    "a span of one": (lambda rows: rows[0].update(span=[1]), "has a span that is not of 0 or 2"),
    "no text": (lambda rows: rows[0].update(text=None), "has rows without text"),
    "a stranger": (
        lambda rows: next(row for row in rows if not row["kept"]).update(key="nobody"),
        "has rows of samples that the tar has not: 'nobody'",
    ),
    "another width": (
        lambda rows: next(row for row in rows if row["kept"]).update(width=7),
        "width or height is another in the Parquet file",
    ),
}


@pytest.mark.parametrize("name", ROWS)
def test_a_parquet_file_that_breaks_the_contract_is_found(dataset: Path, name: str) -> None:
    change, told = ROWS[name]
    change_rows(dataset, change)
    assert any(told in problem for problem in problems(dataset)), problems(dataset)


def test_columns_of_another_type_name_or_order_are_named(dataset: Path) -> None:
    table = read_table(dataset)
    narrow = table.set_column(
        table.schema.get_field_index("score"), "score", table["score"].cast(pa.float32())
    )
    sorted_names = table.select(sorted(table.column_names))
    for changed, told in (
        (narrow, "score"),
        (table.drop_columns("language"), "language"),
        (table.append_column("extra", table["id"]), "extra"),
        (sorted_names, "another order, or one twice"),
    ):
        write_table(dataset, changed)
        (problem,) = problems(dataset)
        assert problem.endswith(f".parquet has not the columns of the contract: {told}")


def whole_scores(sample: dict[str, Any]) -> None:
    """Write coordinates as integers where they are whole, as another writer of JSON would."""
    for one in sample["annotations"]:
        one["box_xyxy"] = [int(edge) if edge == int(edge) else edge for edge in one["box_xyxy"]]


def say(**changes: Any) -> Callable[[dict[str, Any]], None]:
    def change(sample: dict[str, Any]) -> None:
        for one in sample["annotations"]:
            one.update(changes)

    return change


def forget_language(sample: dict[str, Any]) -> None:
    for one in sample["annotations"]:
        del one["language"]


SAMPLES: dict[str, tuple[Callable[[dict[str, Any]], None], str]] = {
    "a width that is a float": (lambda s: s.update(width=96.0), "width of sample"),
    "a width that is true": (lambda s: s.update(width=True), "width of sample"),
    "a source that is null": (lambda s: s.update(source=None), "source of sample"),
    "annotations that are none": (lambda s: s.update(annotations={}), "annotations of sample"),
    "an annotation that is none": (lambda s: s.update(annotations=[1]), "is no object"),
    "another width": (lambda s: s.update(width=7), "width or height is another"),
    "a sample that is a list": (lambda s: s.clear(), "has not the fields of the contract"),
    "coordinates that are integers": (whole_scores, "differ from the Parquet file in box_xyxy"),
    "a round that is a float": (say(round=0.0), "differ from the Parquet file in round"),
    "a round that is false": (say(round=False), "differ from the Parquet file in round"),
    "another label": (say(label="dog"), "differ from the Parquet file in label"),
    "a field too many": (say(extra=None), "differ from the Parquet file in extra"),
    "a field too few": (forget_language, "differ from the Parquet file in language"),
    "a score that is no number": (say(score=float("nan")), "NaN is no number"),
    "another id": (say(id="0"), "are not the kept rows"),
    "nothing said": (lambda s: s.update(annotations=[]), "are not the kept rows"),
}


@pytest.mark.parametrize("name", SAMPLES)
def test_a_json_that_breaks_the_contract_is_found(dataset: Path, name: str) -> None:
    change, told = SAMPLES[name]
    change_samples(dataset, change)
    assert any(told in problem for problem in problems(dataset)), problems(dataset)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("samples_digest", "0" * 32),
        ("annotations_kept", 0),
        ("dead_letters", [dict.fromkeys(("key", "source", "stage", "reason", "message"), "x")]),
        ("tar", {"bytes": 1, "sha256": "0" * 64}),
    ],
)
def test_statistics_that_the_manifest_contradicts_are_found(
    dataset: Path, field: str, value: Any
) -> None:
    stats = shard_file(dataset, "_stats.json")
    change_json(stats, lambda s: s.update({field: value}))
    assert any(f"_stats.json: {field}" in problem for problem in problems(dataset))


def test_a_shard_of_another_recipe_is_found(dataset: Path) -> None:
    change_json(shard_file(dataset, "_stats.json"), lambda s: s.update(recipe="other"))
    assert any("made by another recipe" in problem for problem in problems(dataset))


def test_a_manifest_whose_shards_are_none_is_no_manifest(dataset: Path) -> None:
    for shards in ({}, [1], [{"name": "000000"}]):
        change_json(dataset / "manifest.json", lambda m, s=shards: m.update(shards=s))
        (problem,) = problems(dataset)
        assert "manifest.json is damaged" in problem


def test_every_tar_and_parquet_is_read_once(dataset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    opened, read = Folder.opened, Folder.read

    @contextmanager
    def note_opened(folder: Folder, name: str) -> Iterator[IO[bytes]]:
        asked.append(name)
        with opened(folder, name) as file:
            yield file

    def note_read(folder: Folder, name: str) -> bytes | None:
        asked.append(name)
        return read(folder, name)

    monkeypatch.setattr(Folder, "opened", note_opened)
    monkeypatch.setattr(Folder, "read", note_read)
    assert problems(dataset) == []
    shards = sorted(name for name in asked if name.startswith("shards/"))
    assert shards == sorted(f"shards/{path.name}" for path in (dataset / "shards").iterdir())


def test_an_image_of_another_frame_than_its_boxes_is_found(dataset: Path) -> None:
    """As a reader sees it that turns nothing: stored pixels of a photograph on its side."""

    def turn(row: dict[str, Any]) -> None:
        row["width"], row["height"] = row["height"], row["width"]

    change_samples(dataset, turn)
    change_rows(dataset, lambda rows: [turn(row) for row in rows])
    told = re.compile(r"its image is (\d+)x(\d+), its json says \2x\1$")
    assert len([one for one in problems(dataset) if told.search(one)]) == 6


def test_an_image_that_does_not_decode_is_found(dataset: Path) -> None:
    path = shard_file(dataset, ".tar")
    rewritten = io.BytesIO()
    with tarfile.open(path) as old, tarfile.open(fileobj=rewritten, mode="w") as new:
        for member in old:
            content = old.extractfile(member).read()  # type: ignore[union-attr]
            if member.name.endswith(".jpg"):
                content = image = content[: len(content) // 2]
                member.size = len(content)
            elif member.name.endswith(".json"):
                sample = json.loads(content)
                sample["image_sha256"] = sha256(image).hexdigest()
                content = json.dumps(sample).encode()
                member.size = len(content)
            new.addfile(member, io.BytesIO(content))
    path.write_bytes(rewritten.getvalue())
    reseal(dataset)
    assert all("its image does not decode" in one for one in problems(dataset))
    assert len(problems(dataset)) == 6

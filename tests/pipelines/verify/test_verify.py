"""Damage that no digest shows: whoever wrote the files wrote their digests as well."""

from __future__ import annotations

import io
import json
import os
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

from florilegium.engine.results.contract import SHARD_SCHEMA
from florilegium.engine.results.manifest import sealed
from florilegium.engine.storage.folder import Folder
from florilegium.pipelines.verify.verify import verify_dataset
from tests.building import BRIGHT_ENOUGH, DESCRIBED, build, shard_file
from tests.sealing import reseal, reseal_files

Rows = list[dict[str, Any]]
Members = list[tuple[tarfile.TarInfo, bytes]]


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
    assert f"shards/{path.name}: its digest or size differs from the manifest" in problems(dataset)


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
        "has rows of samples that the tar lacks: 'nobody'",
    ),
    "another width": (
        lambda rows: next(row for row in rows if row["kept"]).update(width=7),
        "width or height differs from the Parquet file",
    ),
}


@pytest.mark.parametrize("name", ROWS)
def test_a_parquet_file_that_breaks_the_contract_is_found(dataset: Path, name: str) -> None:
    change, message = ROWS[name]
    change_rows(dataset, change)
    assert any(message in problem for problem in problems(dataset)), problems(dataset)


def test_columns_of_another_type_name_or_order_are_named(dataset: Path) -> None:
    table = read_table(dataset)
    narrow = table.set_column(
        table.schema.get_field_index("score"), "score", table["score"].cast(pa.float32())
    )
    sorted_names = table.select(sorted(table.column_names))
    for changed, message in (
        (narrow, "score"),
        (table.drop_columns("language"), "language"),
        (table.append_column("extra", table["id"]), "extra"),
        (sorted_names, "another order, or one twice"),
    ):
        write_table(dataset, changed)
        (problem,) = problems(dataset)
        assert problem.endswith(f".parquet: its columns differ from the contract: {message}")


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
    "another width": (lambda s: s.update(width=7), "width or height differs"),
    "a sample that is a list": (lambda s: s.clear(), "lacks fields of the contract"),
    "coordinates that are integers": (whole_scores, "differ from the Parquet file in box_xyxy"),
    "a round that is a float": (say(round=0.0), "differ from the Parquet file in round"),
    "a round that is false": (say(round=False), "differ from the Parquet file in round"),
    "another label": (say(label="dog"), "differ from the Parquet file in label"),
    "a field too many": (say(extra=None), "differ from the Parquet file in extra"),
    "a field too few": (forget_language, "differ from the Parquet file in language"),
    "a score that is no number": (say(score=float("nan")), "NaN is no number"),
    "another id": (say(id="0"), "are not the kept rows"),
    "no annotations": (lambda s: s.update(annotations=[]), "are not the kept rows"),
}


@pytest.mark.parametrize("name", SAMPLES)
def test_a_json_that_breaks_the_contract_is_found(dataset: Path, name: str) -> None:
    change, message = SAMPLES[name]
    change_samples(dataset, change)
    assert any(message in problem for problem in problems(dataset)), problems(dataset)


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
    assert any("the recipe of the shard differs" in problem for problem in problems(dataset))


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

    def note_read(folder: Folder, name: str, **options: Any) -> bytes | None:
        asked.append(name)
        return read(folder, name, **options)

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
    message = re.compile(r"its image is (\d+)x(\d+), in its json \2x\1$")
    assert len([one for one in problems(dataset) if message.search(one)]) == 6


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


def rewritten_label(dataset: Path) -> None:
    """Write another label into tar and Parquet alike, with digests that fit."""

    def relabel(row: dict[str, Any]) -> None:
        row["label"] = "a dark corner" if row["label"] else ""

    change_samples(dataset, lambda s: [relabel(one) for one in s["annotations"]][:0])
    change_rows(dataset, lambda rows: [relabel(row) for row in rows][:0])


def stranger_s_label(dataset: Path) -> None:
    """Let annotations come from a stage that the manifest does not have."""

    def rename(row: dict[str, Any]) -> None:
        row["stage"] = "0123456789abcdef"

    change_samples(dataset, lambda s: [rename(one) for one in s["annotations"]][:0])
    change_rows(dataset, lambda rows: [rename(row) for row in rows][:0])


def turned_verdict(dataset: Path) -> None:
    """Keep what was dropped, and say so nowhere else."""
    change_rows(dataset, lambda rows: rows[0].update(kept=not rows[0]["kept"]))


def edit_stats(dataset: Path, change: Callable[[Any], None]) -> None:
    change_json(shard_file(dataset, "_stats.json"), change)
    reseal(dataset)


def edit_beside(dataset: Path, name: str, old: str, new: str) -> None:
    text = (dataset / name).read_text("utf-8")
    assert old in text
    (dataset / name).write_text(text.replace(old, new), encoding="utf-8")
    reseal_files(dataset)


def edit_manifest(dataset: Path, change: Callable[[Any], None]) -> None:
    change_json(dataset / "manifest.json", change)
    reseal_files(dataset)


def edit_run(dataset: Path, old: str, new: str) -> None:
    data = (dataset / "run.yaml").read_bytes().replace(old.encode(), new.encode())
    text = data[: data.rfind(b"# sha256")]
    seal = f"# sha256 of all lines before this one: {sha256(text).hexdigest()}\n"
    (dataset / "run.yaml").write_bytes(text + seal.encode())


def stage_of(manifest: Any) -> Any:
    return next(one for one in manifest["stages"].values() if one["name"] == "enough")


SEALED: dict[str, tuple[Callable[[Path], None], str]] = {
    "a label": (rewritten_label, r"differs from the layer of 'bright' in annotations"),
    "specialist": (stranger_s_label, r"annotations by 'bright' .* unknown to the manifest"),
    "what was kept": (turned_verdict, r"against their verdicts"),
    "a count": (
        lambda d: edit_stats(d, lambda s: s["tasks"]["caption"].update(kept=99)),
        r"_stats\.json: tasks\.caption\.kept is 99, the shard has \d",
    ),
    "drops": (
        lambda d: edit_stats(d, lambda s: s["drops"].update({"enough/too_dark": 0})),
        r"_stats\.json: drops\.enough/too_dark is 0, the shard has",
    ),
    "a recipe": (
        lambda d: edit_manifest(d, lambda m: m.update(recipe="0" * 32)),
        r"manifest\.json: the recipe does not match its stages and images",
    ),
    "a threshold": (
        lambda d: edit_manifest(d, lambda m: stage_of(m)["config"].update(minimum=0.1)),
        r"manifest\.json: the recipe does not match its stages and images",
    ),
    "an option": (
        lambda d: edit_manifest(d, lambda m: stage_of(m)["config"].update(log="x")),
        r"the fingerprint of stage 'enough' does not match its options",
    ),
    "a source": (
        lambda d: edit_manifest(d, lambda m: m.update(source=["photos"])),
        r"run\.yaml: its source differs from the manifest",
    ),
    "a total": (
        lambda d: edit_manifest(d, lambda m: m["totals"].update(samples=99)),
        r"samples is 99, the shards add up to 12",
    ),
    "the card": (
        lambda d: edit_beside(d, "README.md", "12 images", "99 images"),
        r"README\.md: its numbers or shards differ from those of the dataset",
    ),
    "statistics": (
        lambda d: edit_beside(d, "statistics.json", '"shards": 2', '"shards": 3'),
        r"statistics\.json: shards is 3, the shards have 2",
    ),
    "an option of the config": (
        lambda d: edit_run(d, "minimum: 0.55", "minimum: 0.9"),
        r"run\.yaml: the options of stage 'enough' differ from the manifest",
    ),
}


def rewrite_tar(dataset: Path, change: Callable[[Members], Members], end: bytes = b"") -> None:
    """Rewrite the first tar from its members and their content, with digests that fit."""
    path = shard_file(dataset, ".tar")
    with tarfile.open(path) as tar:
        members = [(one, tar.extractfile(one).read()) for one in tar]  # type: ignore[union-attr]
    rewritten = io.BytesIO()
    with tarfile.open(fileobj=rewritten, mode="w") as tar:
        for member, content in change(members):
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    path.write_bytes(rewritten.getvalue() + end)
    reseal(dataset)


def reorder(members: Members) -> Members:
    """Put the samples in the reverse order; the files of one stay together."""
    return [one for start in range(len(members) - 3, -1, -3) for one in members[start : start + 3]]


def date(members: Members) -> Members:
    for member, _ in members:
        member.mtime = 1
    return members


def double_width(members: Members) -> Members:
    """Say the width twice, which each reader of JSON understands otherwise."""
    return [
        (one, b'{"width":7,' + data[1:] if one.name.endswith("json") else data)
        for one, data in members
    ]


def reorder_rows(rows: Rows) -> None:
    """Put captions before the boxes that they were made from, sample by sample."""
    rows.sort(key=lambda row: row["key"] + ("0" if row["task"] == "caption" else "1"))


def separate_rows(rows: Rows) -> None:
    rows.sort(key=lambda row: row["kept"])


def edit_metadata(dataset: Path) -> None:
    table = read_table(dataset)
    write_table(dataset, table.replace_schema_metadata({"note": "hidden"}))


def edit_stats_file(dataset: Path) -> None:
    """Add to the statistics what none of their readers looks at."""
    path = shard_file(dataset, "_stats.json")
    change_json(path, lambda stats: stats.update(extra=1))
    data = path.read_bytes()
    file = {"bytes": len(data), "sha256": sha256(data).hexdigest()}
    edit_manifest(dataset, lambda m: m["shards"][0].update(stats=file))


SEALED |= {
    "the order of samples": (
        lambda d: rewrite_tar(d, reorder),
        r"index\.parquet: its inputs, or their order, differ from shard",
    ),
    "the order of files": (
        lambda d: rewrite_tar(d, lambda members: members[2::-1] + members[3:]),
        r"\.tar: its files are not those of its samples in their order",
    ),
    "bytes behind the tar": (
        lambda d: rewrite_tar(d, list, b"hidden" * 5120),
        r"\.tar: its files are not those of its samples",
    ),
    "a date": (lambda d: rewrite_tar(d, date), r"\.tar: its files are not those of its samples"),
    "a name twice": (
        lambda d: rewrite_tar(d, double_width),
        r"the key 'width' is there twice",
    ),
    "an orientation": (
        lambda d: change_samples(d, lambda s: s.update(orientation=9)),
        r"the orientation of its image is 1, in its json 9",
    ),
    "the bytes of the source": (
        lambda d: change_samples(d, lambda s: s.update(sha256="0" * 64)),
        r"has a sha256, metadata or source that its annotations were not made from",
    ),
    "what the source knew": (
        lambda d: change_samples(d, lambda s: s.update(metadata='{"license":"CC0"}')),
        r"has a sha256, metadata or source that its annotations were not made from",
    ),
    "the order of rows": (
        lambda d: change_rows(d, reorder_rows),
        r"the rows of sample '.*' are not in the order of the stages",
    ),
    "rows that are apart": (
        lambda d: change_rows(d, separate_rows),
        r"its rows are not in the order of the samples in the tar",
    ),
    "metadata of columns": (edit_metadata, r"the contract: metadata of the name 'note'"),
    "more in the statistics": (edit_stats_file, r"_stats\.json has more in it than statistics"),
}


@pytest.mark.attack("changes")
@pytest.mark.parametrize("name", SEALED)
def test_an_edit_is_found_although_every_digest_was_made_to_fit(dataset: Path, name: str) -> None:
    edit, message = SEALED[name]
    edit(dataset)
    found = problems(dataset)
    assert not any("digest" in one for one in found), found
    assert any(re.search(message, one) for one in found), found


@pytest.mark.attack("changes")
@pytest.mark.parametrize(
    "name",
    [
        *("manifest (copy).json", "MANIFEST.json", ".hidden", "notes.txt", "shards/x.txt"),
        *("versions/000001.json.bak", "layers/x.txt", "layers/x/y.parquet", ".lease/x.txt"),
    ],
)
def test_a_file_too_many_is_named(dataset: Path, name: str) -> None:
    (dataset / name).parent.mkdir(exist_ok=True)
    (dataset / name).write_bytes(b"{}")
    (problem,) = problems(dataset)
    assert problem.startswith(name.removesuffix("/y.parquet"))
    (dataset / "recipe").write_text("x", encoding="utf-8")  # as if a build were under way
    assert len(problems(dataset)) == 2


@pytest.mark.attack("changes")
def test_a_layer_that_no_shard_needs_any_more_is_read_too(album: Path, tmp_path: Path) -> None:
    build(album, tmp_path, specialists=DESCRIBED)
    build(album, tmp_path)  # without captions
    assert problems(tmp_path) == []
    (layer,) = (tmp_path / "layers").glob("describe-*/*.parquet")
    data = layer.read_bytes()
    layer.write_bytes(data[:-9] + bytes([data[-9] ^ 1]) + data[-8:])
    (problem,) = problems(tmp_path)
    assert re.match(r"layers/describe-\w+/\w+\.parquet is damaged", problem)


@pytest.mark.attack("changes")
@pytest.mark.parametrize("name", ["manifest.json", "README.md", "index.parquet", "shards/*.tar"])
def test_a_pipe_or_a_device_in_the_place_of_a_file_is_not_read(dataset: Path, name: str) -> None:
    path = min(dataset.glob(name))
    path.unlink()
    os.mkfifo(path)
    assert any("no file but a pipe" in one for one in problems(dataset))
    path.unlink()
    path.symlink_to("/dev/zero")
    assert any("no file but a pipe" in one for one in problems(dataset))


@pytest.mark.attack("changes")
def test_a_member_that_a_tar_has_twice_is_found(dataset: Path) -> None:
    path = shard_file(dataset, ".tar")
    with tarfile.open(path) as tar:
        member = tar.getmembers()[0]
        content = tar.extractfile(member).read()  # type: ignore[union-attr]
    rewritten = io.BytesIO()
    with tarfile.open(path) as old, tarfile.open(fileobj=rewritten, mode="w") as new:
        new.addfile(member, io.BytesIO(content))
        for one in old:
            new.addfile(one, old.extractfile(one))
    path.write_bytes(rewritten.getvalue())
    reseal(dataset)
    assert any(f"'{member.name}' is there twice" in one for one in problems(dataset))


def test_what_was_read_is_counted(dataset: Path) -> None:
    checked: set[str] = set()
    assert list(verify_dataset(Folder(str(dataset)), checked=checked)) == []
    there = {
        str(path.relative_to(dataset))
        for path in dataset.rglob("*")
        if path.is_file() and "layers" not in path.parts
    }
    assert checked == there - {"run.log", "state.parquet"}


def test_a_dataset_whose_layers_are_gone_is_right(dataset: Path) -> None:
    shutil.rmtree(dataset / "layers")
    assert problems(dataset) == []


@pytest.mark.parametrize(("version", "message"), [(3, "earlier version"), (99, "format 99")])
def test_a_manifest_of_another_format_is_one_sentence(
    dataset: Path, version: int, message: str
) -> None:
    change_json(dataset / "manifest.json", lambda m: m.update(format=version))
    (problem,) = problems(dataset)
    assert message in problem


def test_earlier_versions_that_are_kept_are_checked(album: Path, tmp_path: Path) -> None:
    build(album, tmp_path, shard_size=6, keep_versions=2)
    earlier = shard_file(tmp_path, ".tar", 1)
    build(album, tmp_path, shard_size=6, keep_versions=2, filters=BRIGHT_ENOUGH)
    assert problems(tmp_path) == []
    earlier.write_bytes(earlier.read_bytes()[:-1])
    assert any(earlier.name in one for one in problems(tmp_path))
    change_json(tmp_path / "versions" / "000001.json", lambda m: m.update(recipe="x"))
    assert any("versions/000001.json was changed" in one for one in problems(tmp_path))


def edit_totals(earlier: Any) -> None:
    earlier["totals"]["samples"] = 99


def edit_stage(earlier: Any) -> None:
    next(one for one in earlier["stages"].values() if one["name"] == "bright")["model"] = "x"


@pytest.mark.attack("changes")
@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (edit_totals, "samples is 99, the shards add up to 12"),
        (edit_stage, "the fingerprint of stage 'bright' does not match its options"),
        (lambda earlier: earlier.update(extra=1), "has not the fields of the contract: extra"),
        (lambda earlier: earlier["shards"][0].update(samples=5), "samples is 6, in the manifest"),
    ],
)
def test_an_edit_of_an_earlier_version_is_found_although_its_digest_fits(
    album: Path, tmp_path: Path, edit: Callable[[Any], None], message: str
) -> None:
    build(album, tmp_path, shard_size=6, keep_versions=2)
    build(album, tmp_path, shard_size=6, keep_versions=2, filters=BRIGHT_ENOUGH)
    path = tmp_path / "versions" / "000001.json"
    earlier = json.loads(path.read_bytes())
    edit(earlier)
    path.write_bytes(sealed(earlier))
    assert any(message in one for one in problems(tmp_path))


@pytest.mark.attack("changes")
def test_a_shard_of_an_earlier_version_that_is_gone_is_missed(album: Path, tmp_path: Path) -> None:
    build(album, tmp_path, keep_versions=2)
    earlier = shard_file(tmp_path, ".tar")
    build(album, tmp_path, keep_versions=2, filters=BRIGHT_ENOUGH)
    earlier.unlink()
    assert f"shards/{earlier.name} is missing" in problems(tmp_path)

"""Names become parts of paths: none leads out of its folder, wherever it comes from."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from florilegium.engine.core.errors import ConfigError, PlanError, StorageError, UsageError
from florilegium.engine.planning.graph import plan
from florilegium.engine.planning.index import SCHEMA, read_index, written
from florilegium.engine.results.contract import SAMPLE_TYPES
from florilegium.engine.results.dataset_sample import sample_of
from florilegium.engine.results.manifest import DEAD_LETTERS, MANIFEST, read_manifest
from florilegium.engine.results.versions import Retention, remove_stale
from florilegium.engine.storage.folder import Folder
from florilegium.engine.untrusted.names import LONGEST
from florilegium.pipelines.dataset.clean import clean
from florilegium.pipelines.dataset.files import LINEAGE
from florilegium.pipelines.dataset.find import find_image
from florilegium.pipelines.dataset.lineage import read_lineage
from florilegium.pipelines.refine.config import RefineOptions
from tests.building import build, configure

NO_NAMES = [
    *(
        "",
        ".",
        "..",
        "...",
        "../x",
        "../../../../x",
        "a/b",
        "/tmp/x",
        "a\\b",
        "..\\x",
        "a b",
        "a:b",
    ),
    *("é", "a\n", "a\0", "\u202ea", "a%2fb", "~", "$HOME", "*", "x" * (LONGEST + 1), "[red]a"),
]


@pytest.mark.attack("configs")
@pytest.mark.parametrize("name", NO_NAMES)
def test_a_name_of_a_stage_or_a_student_is_no_path(name: str, tmp_path: Path) -> None:
    stages = {name: {"use": "tests.stages:Brightest"}}
    for section in ("specialists", "filters"):
        with pytest.raises(ConfigError, match="is no name") as refused:
            configure("album", tmp_path, **{section: stages})
        assert len(str(refused.value)) < 600
    with pytest.raises(ValueError, match="is no name"):
        RefineOptions.model_validate({"students": {name: {}}, "train": {"model": "m"}})


@pytest.mark.parametrize("name", ["a", "my_detector", "yolo-v8.1", "9", ".a", "A" * LONGEST])
def test_letters_digits_and_three_marks_make_a_name(name: str, tmp_path: Path) -> None:
    config = configure("album", tmp_path, specialists={name: {"use": "tests.stages:Brightest"}})
    assert plan(config).specialists[0].name == name


@pytest.mark.attack("configs")
@pytest.mark.parametrize("name", ["source", "source-0123456789abcdef"])
def test_the_names_of_the_source_are_taken(name: str, tmp_path: Path) -> None:
    config = configure("album", tmp_path, specialists={name: {"use": "tests.stages:Brightest"}})
    with pytest.raises(PlanError, match="rename the stage"):
        plan(config)


@pytest.mark.attack("files")
@pytest.mark.parametrize("name", ["../x", "a/../../x", "..", "a\\..\\x", "a\0b"])
def test_no_name_leads_out_of_a_folder(name: str, tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"outside")
    folder = Folder(str(tmp_path / "inside" / "deep"))
    uses: list[Callable[[], Any]] = [
        lambda: folder.read(name),
        lambda: folder.size(name),
        lambda: folder.names(name),
        lambda: folder.publish(name, b""),
        lambda: folder.create(name, b""),
        lambda: folder.remove(name),
        lambda: folder.opened(name).__enter__(),
    ]
    for use in uses:
        with pytest.raises(StorageError, match="is no name of a file"):
            use()
    with (
        pytest.raises(StorageError, match="is no name of a file"),
        folder.draft("shards/a") as draft,
    ):
        draft.publish(name)
    assert (tmp_path / "x").read_bytes() == b"outside"


@pytest.fixture
def dataset(album: Path, tmp_path: Path) -> Path:
    build(album, tmp_path / "out")
    return tmp_path / "out"


@pytest.mark.attack("files")
@pytest.mark.parametrize("name", ["../../x", "/etc/passwd", "000000", "000000-..", 7, None])
def test_a_manifest_names_nothing_but_shards(name: Any, dataset: Path) -> None:
    for kind in ("tar", "parquet"):
        (dataset.parent / f"x.{kind}").write_bytes(b"outside")
    manifest = json.loads((dataset / MANIFEST).read_bytes())
    manifest["shards"][0]["name"] = name
    (dataset / MANIFEST).write_text(json.dumps(manifest))
    folder = Folder(str(dataset))
    for read in (lambda: read_manifest(folder), lambda: clean(folder)):
        with pytest.raises(StorageError, match="is damaged"):
            read()
    remove_stale(folder, Retention())
    assert (dataset.parent / "x.tar").read_bytes() == b"outside"


@pytest.mark.attack("files")
def test_a_dead_letter_a_key_of_the_index_and_a_round_name_no_path(dataset: Path) -> None:
    folder = Folder(str(dataset))
    letters = pq.read_table(dataset / DEAD_LETTERS, partitioning=None)
    row = dict.fromkeys(letters.column_names, "") | {"shard": "../../x", "attempt": 1}
    pq.write_table(type(letters).from_pylist([row], letters.schema), dataset / DEAD_LETTERS)
    with pytest.raises(StorageError, match="is no shard"):
        find_image(folder, "cat")
    row = ["photos#1", 0, "../../x", "a.png", "1", 0, 0]
    written([pa.table([[one] for one in row], schema=SCHEMA)], shard_size=1).publish(folder)
    index = read_index(folder)
    assert index is not None
    with pytest.raises(StorageError, match="is no key of a sample"):
        list(index.entries())
    with pytest.raises(StorageError, match="is no key of a sample"):
        index.rows_of(0)
    one = {"number": "../../x", "parent": -1, "students": [], "audited": []}
    (dataset / LINEAGE).write_text(json.dumps({"rounds": [one]}))
    with pytest.raises(StorageError, match=r"refine\.json is damaged"):
        read_lineage(folder)


@pytest.mark.attack("files")
@pytest.mark.parametrize(
    ("key", "sha256"),
    [
        *(("../../x", "0" * 64), ("a/b", "0" * 64), ("", "0" * 64), ("x" * 999, "0" * 64)),
        *(("a", "../../../x"), ("a", ""), ("a", None), (["a"], "0" * 64)),
    ],
)
def test_a_sample_read_back_has_a_key_and_a_digest(key: Any, sha256: Any) -> None:
    whole = {name: kind(1) if kind is int else kind() for name, kind in SAMPLE_TYPES.items()}
    files = {"json": json.dumps({**whole, "key": "a", "sha256": "0" * 64}).encode(), "jpg": b""}
    assert sample_of(files).key == "a"
    files["json"] = json.dumps({**whole, "key": key, "sha256": sha256}).encode()
    with pytest.raises(ValueError, match=r"no key and digest|lacks (key|sha256)"):
        sample_of(files)


@pytest.mark.attack("files")
def test_cleaning_follows_no_link_and_deletes_no_file_that_is_not_ours(dataset: Path) -> None:
    outside = dataset.parent / "documents"
    outside.mkdir()
    (outside / "thesis.parquet").write_bytes(b"mine")
    os.symlink(outside, dataset / "layers" / "linked")
    (dataset / "shards" / "thesis.tar").write_bytes(b"mine")
    clean(Folder(str(dataset)))
    remove_stale(Folder(str(dataset)), Retention())
    assert (outside / "thesis.parquet").read_bytes() == b"mine"
    assert (dataset / "shards" / "thesis.tar").read_bytes() == b"mine"
    os.rename(dataset / "layers", dataset.parent / "layers")
    os.symlink(dataset.parent / "layers", dataset / "layers")
    with pytest.raises(UsageError, match="which other datasets may share"):
        clean(Folder(str(dataset)))

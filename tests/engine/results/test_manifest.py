from __future__ import annotations

import json
from dataclasses import asdict, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from florilegium.engine.core.errors import StorageError
from florilegium.engine.core.sample import DeadLetter
from florilegium.engine.results import manifest_entries
from florilegium.engine.results.manifest import (
    DEAD_LETTERS,
    MANIFEST,
    Manifest,
    Totals,
    digest_of_document,
    named_shards,
    read_manifest,
    sealed,
)
from florilegium.engine.results.publication import FileStats, ShardStats
from florilegium.engine.results.shard_table import ShardTable
from florilegium.engine.storage.folder import Folder
from tests.building import BRIGHT_ENOUGH, DESCRIBED, build, contents
from tests.engine.by_hand import planned

FILE = FileStats(bytes=1, sha256="0")
LETTER = DeadLetter(
    key="k", source="s \U0001f408", stage="source", reason="empty_file", message="m"
)


def stats(number: int = 0, **changes: Any) -> ShardStats:
    values: dict[str, Any] = {
        "recipe": "r",
        "samples_digest": "d",
        "samples": 3,
        "annotations_kept": 4,
        "annotations_dropped": 1,
        "tasks": {"ocr": {"kept": 4, "dropped": 1}},
        "specialists": {"eye": {"kept": 4, "dropped": 1}},
        "drops": {"nms/duplicate": 1},
        "extensions": {"jpg": 3},
        "dead_letters": (LETTER,),
        "tar": FILE,
        "parquet": FILE,
    }
    return ShardStats(number=number, **(values | changes))


def test_totals_are_the_sums_of_the_shards() -> None:
    other = stats(
        tasks={"ocr": {"kept": 1, "dropped": 0}, "tag": {"kept": 2, "dropped": 3}},
        drops={"nms/duplicate": 2, "lineage/parent_dropped": 1},
        extensions={"png": 2},
        samples=2,
        dead_letters=(replace(LETTER, reason="corrupt_image"), LETTER),
    )
    totals = Totals.of([stats(), other])
    assert totals.tasks == {"ocr": {"dropped": 1, "kept": 5}, "tag": {"dropped": 3, "kept": 2}}
    assert totals.drops == {"lineage/parent_dropped": 1, "nms/duplicate": 3}
    assert totals.extensions == {"jpg": 3, "png": 2}
    assert totals.failures == {"corrupt_image": 1, "empty_file": 2}
    assert (totals.inputs, totals.samples, totals.dead_letters) == (8, 5, 3)


@pytest.mark.attack("text")
def test_of_more_tasks_than_anybody_reads_the_commonest_are_shown() -> None:
    rare = {f"t{number:04}": {"kept": 1, "dropped": 2} for number in range(300)}
    totals = Totals.of([stats(tasks={**rare, "zebra": {"kept": 9, "dropped": 0}})])
    shown = totals.shown_tasks
    assert len(shown) == 51
    assert shown["zebra"] == {"kept": 9, "dropped": 0}
    assert shown["251 other tasks"] == {"kept": 251, "dropped": 502}
    assert sum(sides["kept"] for sides in shown.values()) == 309
    few = Totals.of([stats()])
    assert few.shown_tasks == few.tasks


def test_no_shards_are_totals_of_nothing() -> None:
    totals = asdict(Totals.of([]))
    assert {value for value in totals.values() if isinstance(value, int)} == {0}


def test_a_manifest_is_the_same_bytes_whatever_the_order_of_counting() -> None:
    graph = planned(specialists=DESCRIBED, filters=BRIGHT_ENOUGH)
    turned = {"tag": {"dropped": 0, "kept": 1}, "ocr": {"dropped": 0, "kept": 1}}
    straight = dict(reversed(turned.items()))
    one, other = (
        Manifest.of(graph, ["photos"], [stats(tasks=tasks)]).to_json()
        for tasks in (turned, straight)
    )
    assert one == other


def test_a_manifest_holds_the_configuration_behind_every_fingerprint() -> None:
    graph = planned(specialists=DESCRIBED, filters=BRIGHT_ENOUGH)
    document = json.loads(Manifest.of(graph, ["photos"], [stats()]).to_json())
    assert {node.fingerprint for node in graph.nodes} < set(document["stages"])
    enough = document["stages"][graph.filters[0].fingerprint]
    assert enough["config"]["minimum"] == 0.55
    assert (enough["use"], enough["reads"]) == ("tests.stages:BrightEnough", ["bright"])
    assert "batch_size" not in enough["config"]  # speed is no part of what was made


def test_a_manifest_names_the_live_shards_with_digests_and_counts() -> None:
    shards = [stats(), stats(7)]
    data = Manifest.of(planned(), ["photos"], shards).to_json()
    output = Folder("memory://named")
    output.publish(MANIFEST, data)
    assert named_shards(output) == [shard.name for shard in shards]
    document = json.loads(data)
    assert [shard["number"] for shard in document["shards"]] == [0, 7]
    assert document["shards"][0] == {
        "name": shards[0].name,
        "number": 0,
        "samples": 3,
        "samples_digest": "d",
        "annotations_kept": 4,
        "annotations_dropped": 1,
        "dead_letters": 1,
        "tar": {"bytes": 1, "sha256": "0"},
        "parquet": {"bytes": 1, "sha256": "0"},
        "stats": asdict(shards[0].file),
    }


@pytest.mark.parametrize("together", [1, 2, 100])
def test_the_text_of_a_manifest_is_that_of_its_values(
    together: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(manifest_entries, "_TOGETHER", together)
    odd = [
        stats(number, samples_digest=text) for number, text in enumerate(['"', "\\", "\n\x00é%s"])
    ]
    for shards in ([], [stats()], [stats(7), *odd, stats(dead_letters=())]):
        manifest = Manifest.of(planned(), [], ShardTable.joined(map(one_by_one, shards)))
        assert manifest.to_json() == sealed(manifest.to_document())
        assert manifest.file_sha256 == sha256(manifest.to_json()).hexdigest()
        assert manifest.digest == digest_of_document(manifest.to_document())
        no_files = {**manifest.to_document(), "files": {}}
        assert manifest.content_digest == digest_of_document(no_files)


def one_by_one(shard: ShardStats) -> ShardTable:
    return ShardTable.of([shard])


def test_a_manifest_holds_what_the_sources_remark() -> None:
    lines = ["3 files left alone: 2 .xml, 1 without suffix"]
    manifest = Manifest.of(planned(), ["photos"], [stats()], remarks=lines)
    assert json.loads(manifest.to_json())["remarks"] == lines


def test_two_builds_in_two_places_have_one_manifest(album: Path, tmp_path: Path) -> None:
    """So it holds neither times nor the path of the output."""
    for name in ("one", "two"):
        build(album, tmp_path / name)
    one, two = ((tmp_path / name / MANIFEST).read_bytes() for name in ("one", "two"))
    assert one == two
    assert str(tmp_path).encode() not in one


def test_dead_letters_are_written_with_the_shard_that_lost_them(tmp_path: Path) -> None:
    Folder(str(tmp_path)).publish(
        DEAD_LETTERS, Manifest.of(planned(), [], [stats(3)]).dead_letters_file
    )
    rows = pq.read_table(tmp_path / DEAD_LETTERS).to_pylist()
    assert rows == [{"shard": stats(3).name, **asdict(LETTER)}]


def test_no_dead_letters_are_a_file_with_the_same_columns() -> None:
    schemas = []
    for letters in ((), (LETTER,)):
        manifest = Manifest.of(planned(), [], [stats(dead_letters=letters)])
        schemas.append(pq.read_schema(pa.BufferReader(manifest.dead_letters_file)))
    assert schemas[0] == schemas[1]


def test_a_dataset_that_is_not_finished_has_no_manifest(tmp_path: Path) -> None:
    assert read_manifest(Folder(str(tmp_path))) is None


@pytest.mark.parametrize(
    "content", ["", "{", "[]", "null", '"x"', '{"shards": 3}', '{"shards": [{"name": 5}]}']
)
def test_a_damaged_manifest_is_told_and_the_next_build_writes_it_anew(
    album: Path, tmp_path: Path, content: str
) -> None:
    output = Folder(str(tmp_path))
    build(album, tmp_path, keep_versions=2)
    whole = contents(tmp_path)
    (tmp_path / MANIFEST).write_text(content, encoding="utf-8")
    with pytest.raises(StorageError, match=r"manifest\.json is damaged.*run the same build again"):
        read_manifest(output)
    assert named_shards(output) == []
    build(album, tmp_path, keep_versions=2)
    assert contents(tmp_path) == whole
    assert output.names("versions") == [], "what is damaged is no version to keep"


def test_a_damaged_manifest_does_not_keep_a_filter_from_being_changed(
    album: Path, tmp_path: Path
) -> None:
    build(album, tmp_path / "out")
    (tmp_path / "out" / MANIFEST).write_bytes(b"")
    build(album, tmp_path / "out", specialists=DESCRIBED)
    build(album, tmp_path / "fresh", specialists=DESCRIBED)
    assert contents(tmp_path / "out") == contents(tmp_path / "fresh")


def test_statistics_are_read_back() -> None:
    from florilegium.engine.results.publication import to_json

    assert ShardStats.from_json(to_json(asdict(stats()), indent=1)) == stats()

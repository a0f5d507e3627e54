from __future__ import annotations

import hashlib
import io
import json
import os
import re
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from florilegium.engine.core.annotation import ANNOTATION_FIELDS, MaskRLE
from florilegium.engine.core.errors import SampleError
from florilegium.engine.core.sample import DeadLetter
from florilegium.engine.results.layer import StageError, make_layer
from florilegium.engine.results.publication import (
    SHARDS,
    ShardStats,
    finished_names,
    is_whole,
    publish_shard,
    read_stats,
    to_json,
)
from florilegium.engine.results.shard import ShardBytes
from florilegium.engine.storage.folder import Folder
from tests.building import BRIGHT_ENOUGH, DESCRIBED, build, shard_file
from tests.engine.by_hand import caption, layers_of, planned, region, shard_of

SAMPLE_TYPES: dict[str, type] = {
    "key": str, "sha256": str, "image_sha256": str, "width": int, "height": int,
    "orientation": int, "source": str, "metadata": str, "annotations": list,
}  # fmt: skip
ANNOTATION_TYPES: dict[str, tuple[type, ...]] = {
    "id": (str,), "kind": (str,), "task": (str,), "text": (str,), "label": (str,),
    "language": (str,), "box_xyxy": (list,), "quad": (list,), "mask_rle": (dict, type(None)),
    "score": (float, type(None)), "support": (float, type(None)),
    "confidence": (float, type(None)), "parent_id": (str,), "span": (list,),
    "merged_from": (list,), "specialist": (str,), "model": (str,),
    "revision": (str,), "round": (int,), "stage": (str,),
}  # fmt: skip
GRAPH = planned(specialists=DESCRIBED, images="original")
IMAGES = ShardBytes([b"first", b"second", b"third"])
MASK = MaskRLE((64, 96), "abc")
SAID: dict[str, Any] = {
    "bright": {
        0: [
            region(score=1.0, box_xyxy=(0, 0, 10, 10)),
            region(score=None, box_xyxy=(), quad=(1,) * 8),
        ],
        1: [region(mask_rle=MASK, merged_from=("x",))],
    },
    "describe": {0: [caption("First."), caption("Again.")], 2: [caption("Dritter, \U0001f408.")]},
}


def file_of(folder: Folder, suffix: str) -> bytes:
    """Read a file of the only shard."""
    (name,) = (name for name in folder.names("shards") if name.endswith(suffix))
    return folder.read(f"shards/{name}") or b""


def stats_of(folder: Folder) -> ShardStats:
    """Read the statistics of the only shard."""
    ((name,),) = finished_names(folder.names(SHARDS)).values()
    stats = read_stats(folder, name)
    assert stats is not None
    return stats


def published(where: Path, **changes: Any) -> Folder:
    """Publish a shard of three samples and return its folder."""
    shard = changes.pop("shard", shard_of(3))
    layers = layers_of(GRAPH, shard, changes.pop("said", SAID), changes.pop("failed", None))
    folder = Folder(str(where))
    publish_shard(shard, IMAGES, GRAPH, layers, folder)
    return folder


def members(folder: Folder) -> dict[str, bytes]:
    data = file_of(folder, ".tar")
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        return {one.name: tar.extractfile(one).read() for one in tar}  # type: ignore[union-attr]


def sample(folder: Folder, key: str) -> dict[str, Any]:
    return json.loads(members(folder)[f"{key}.json"])


def test_the_same_answers_are_the_same_bytes(tmp_path: Path) -> None:
    one, two = published(tmp_path / "one"), published(tmp_path / "two")
    name = stats_of(one).name
    assert re.fullmatch("000000-[0-9a-f]{16}", name)
    assert one.names("shards") == [f"{name}.parquet", f"{name}.tar", f"{name}_stats.json"]
    assert two.names("shards") == one.names("shards")
    for name in one.names("shards"):
        assert one.read(f"shards/{name}") == two.read(f"shards/{name}")


def test_the_files_of_a_sample_are_adjacent_and_the_image_is_untouched(tmp_path: Path) -> None:
    found = members(published(tmp_path))
    assert list(found) == [
        f"image_{number}.{suffix}" for number in range(3) for suffix in ("jpg", "json", "txt")
    ]
    assert found["image_1.jpg"] == b"second"


def test_the_files_of_a_sample_are_sorted_by_their_extension(tmp_path: Path) -> None:
    shard = shard_of(3)
    records = tuple(replace(one, extension="png") for one in shard.records)
    found = members(published(tmp_path, shard=replace(shard, records=records)))
    assert list(found)[:3] == ["image_0.json", "image_0.png", "image_0.txt"]


def test_dead_letters_are_in_the_order_of_the_samples(tmp_path: Path) -> None:
    stats = stats_of(published(tmp_path, failed={"bright": 2, "describe": 0}))
    assert [(one.key, one.stage) for one in stats.dead_letters] == [
        ("image_0", "describe"),
        ("image_2", "bright"),
    ]


def test_members_have_neither_times_nor_owners(tmp_path: Path) -> None:
    data = file_of(published(tmp_path), ".tar")
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        assert {(one.mtime, one.uid, one.uname, one.gname) for one in tar} == {(0, 0, "", "")}


def test_the_json_has_every_field_of_the_contract_with_its_type(tmp_path: Path) -> None:
    folder = published(tmp_path)
    count = 0
    for number in range(3):
        found = sample(folder, f"image_{number}")
        assert {name: type(value) for name, value in found.items()} == SAMPLE_TYPES
        for annotation in found["annotations"]:
            count += 1
            assert set(annotation) == set(ANNOTATION_TYPES)
            for name, value in annotation.items():
                assert isinstance(value, ANNOTATION_TYPES[name]), (name, value)
            assert len(annotation["box_xyxy"]) in (0, 4)
            assert len(annotation["quad"]) in (0, 8)
            assert all(
                type(edge) is float for edge in (*annotation["box_xyxy"], *annotation["quad"])
            )
    assert count == 6


def test_the_json_says_of_each_image_what_is_true_of_it(tmp_path: Path) -> None:
    found = sample(published(tmp_path), "image_1")
    annotations = found.pop("annotations")
    assert [one["task"] for one in annotations] == ["object_detection"]
    assert found == {
        "key": "image_1",
        "sha256": f"{1:064x}",
        "image_sha256": hashlib.sha256(b"second").hexdigest(),
        "width": 96,
        "height": 64,
        "orientation": 1,
        "source": "photos/image_1.jpg",
        "metadata": "{}",
    }


def test_statistics_are_those_of_a_shard_with_the_same_samples_and_unread_inputs(
    tmp_path: Path,
) -> None:
    letter = DeadLetter(key="k", source="s", stage="source", reason="empty_file", message="")
    shard = replace(shard_of(3), dead_letters=(letter,))
    stats = stats_of(published(tmp_path, shard=shard, failed={"bright": 1}))
    assert [one.stage for one in stats.dead_letters] == ["source", "bright"]
    assert stats.is_of(shard), "what a stage failed on is no matter of the inputs"
    assert not stats.is_of(shard_of(3))
    assert not stats.is_of(replace(shard, dead_letters=(replace(letter, reason="other"),)))
    assert not stats.is_of(replace(shard, records=shard.records[:2]))


def test_floats_are_written_as_floats(tmp_path: Path) -> None:
    text = members(published(tmp_path))["image_0.json"].decode()
    assert '"box_xyxy":[0.0,0.0,10.0,10.0]' in text
    assert '"score":1.0' in text
    assert '"score":null' in text
    assert '"box_xyxy":[]' in text


def test_a_mask_is_an_object_of_size_and_counts(tmp_path: Path) -> None:
    (found,) = sample(published(tmp_path), "image_1")["annotations"]
    assert found["mask_rle"] == {"size": [64, 96], "counts": "abc"}
    assert found["merged_from"] == ["x"]


def test_keys_are_sorted_and_text_is_not_escaped(tmp_path: Path) -> None:
    data = members(published(tmp_path))["image_2.json"]
    pairs = json.loads(data, object_pairs_hook=lambda pairs: [key for key, _ in pairs])
    assert pairs == sorted(pairs)
    assert "Dritter, \U0001f408.".encode() in data


def test_the_text_is_the_first_brief_caption_or_nothing(tmp_path: Path) -> None:
    found = members(published(tmp_path))
    assert [found[f"image_{n}.txt"].decode() for n in range(3)] == [
        "First.",
        "",
        "Dritter, \U0001f408.",
    ]


def test_the_caption_of_the_source_comes_first(tmp_path: Path) -> None:
    shard = shard_of(3, labels={0: [caption("From the source.", id="s", specialist="source")]})
    assert members(published(tmp_path, shard=shard))["image_0.txt"] == b"From the source."


def test_a_sample_on_which_a_stage_failed_is_a_dead_letter_of_the_first_stage(
    tmp_path: Path,
) -> None:
    folder = published(tmp_path, failed={"bright": 1, "describe": 1})
    assert [name for name in members(folder) if "image_1" in name] == []
    stats = stats_of(folder)
    assert [(one.key, one.stage, one.reason) for one in stats.dead_letters] == [
        ("image_1", "bright", "broken")
    ]
    assert stats.samples == 2
    assert "image_1" not in pq.read_table(shard_file(tmp_path, ".parquet"))["key"].to_pylist()


def test_the_parquet_has_dropped_rows_with_their_verdicts(album: Path, tmp_path: Path) -> None:
    build(album, tmp_path, specialists=DESCRIBED, filters=BRIGHT_ENOUGH)
    table = pq.read_table(shard_file(tmp_path, ".parquet"))
    rows = table.to_pylist()
    dropped = [row for row in rows if not row["kept"] and row["task"] == "object_detection"]
    assert dropped
    for row in dropped:
        (verdict,) = row["verdicts"]
        assert (verdict["filter"], verdict["keep"]) == ("enough", False)
        assert verdict["reason"] == "too_dark"
        assert verdict["measurement"] == [{"name": "brightness", "value": row["score"]}]
    types = {field.name: field.type for field in table.schema}
    assert types.pop("key") == pa.string()
    assert (types.pop("width"), types.pop("height")) == (pa.int32(), pa.int32())
    assert types.pop("kept") == pa.bool_()
    assert str(types.pop("verdicts")).startswith("list<")
    assert types == {field.name: field.type for field in ANNOTATION_FIELDS}


def test_the_tar_has_exactly_the_kept_rows(album: Path, tmp_path: Path) -> None:
    build(album, tmp_path, specialists=DESCRIBED, filters=BRIGHT_ENOUGH)
    kept = pq.read_table(shard_file(tmp_path, ".parquet"), filters=[("kept", "==", True)])
    found = members(Folder(str(tmp_path)))
    in_tar = [
        one["id"]
        for name, data in found.items()
        if name.endswith(".json")
        for one in json.loads(data)["annotations"]
    ]
    assert in_tar == kept["id"].to_pylist()
    assert len(in_tar) > 0


def test_statistics_say_what_is_in_the_shard(tmp_path: Path) -> None:
    letter = DeadLetter(key="k", source="s", stage="source", reason="empty_file", message="")
    base = shard_of(3)
    shard = type(base)(
        number=base.number, records=base.records, labels=base.labels, dead_letters=(letter,)
    )
    folder = published(tmp_path, shard=shard)
    stats = stats_of(folder)
    assert (stats.samples, stats.annotations_kept, stats.annotations_dropped) == (3, 6, 0)
    assert stats.tasks == {
        "caption": {"dropped": 0, "kept": 3},
        "object_detection": {"dropped": 0, "kept": 3},
    }
    assert stats.specialists["bright"] == {"dropped": 0, "kept": 3}
    assert stats.extensions == {"jpg": 3}
    assert stats.dead_letters == (letter,)
    assert (stats.recipe, stats.samples_digest) == (GRAPH.recipe, shard.digest)
    for kind in ("tar", "parquet"):
        data = file_of(folder, f".{kind}")
        counts = getattr(stats, kind)
        assert (counts.bytes, counts.sha256) == (len(data), hashlib.sha256(data).hexdigest())


def test_a_shard_that_cannot_be_written_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise SampleError("stop", "stop")

    monkeypatch.setattr("florilegium.engine.results.publication._write_parquet", fail)
    with pytest.raises(SampleError):
        published(tmp_path)
    assert Folder(str(tmp_path)).names("shards") == []


def test_another_content_is_another_name_and_the_first_version_stays(tmp_path: Path) -> None:
    folder = published(tmp_path)
    before = {name: folder.read(f"shards/{name}") for name in folder.names("shards")}
    published(tmp_path, failed={"bright": 1})
    assert len(finished_names(folder.names(SHARDS))[0]) == 2
    assert len(folder.names("shards")) == 6
    assert {name: folder.read(f"shards/{name}") for name in before} == before


@pytest.mark.parametrize("damage", [b"", b"{}", b"[]", b"null", b"\xff", b'{"samples": 1}'])
def test_damaged_statistics_count_as_absent(tmp_path: Path, damage: bytes) -> None:
    folder = published(tmp_path)
    name = stats_of(folder).name
    folder.publish(f"shards/{name}_stats.json", damage)
    assert read_stats(folder, name) is None


@pytest.mark.parametrize("kind", ["tar", "parquet"])
@pytest.mark.parametrize("change", [lambda data: data[:-1], lambda data: data + b"x", None])
def test_a_shard_is_whole_with_both_files_of_their_sizes(
    tmp_path: Path, kind: str, change: Callable[[bytes], bytes] | None
) -> None:
    folder = published(tmp_path)
    stats = stats_of(folder)
    assert is_whole(folder, stats, folder.entries("shards"))
    path = shard_file(tmp_path, f".{kind}")
    if change:
        data = path.read_bytes()
        path.unlink()
        path.write_bytes(change(data))
    else:
        path.unlink()
    assert not is_whole(folder, stats, folder.entries("shards"))


def test_a_dead_letter_says_how_often_a_stage_was_asked(tmp_path: Path) -> None:
    shard = shard_of(3)
    layers = layers_of(GRAPH, shard, SAID)
    node = GRAPH.specialists[1]
    failed = StageError(sample=2, reason="process_died", message="killed", attempt=2,
                        traceback="there")  # fmt: skip
    layers[node.name] = make_layer(node, {}, [replace(failed, sample=0), failed])
    folder = Folder(str(tmp_path))
    stats = publish_shard(shard, IMAGES, GRAPH, layers, folder)
    assert [letter.key for letter in stats.dead_letters] == ["image_0", "image_2"]
    assert stats.dead_letters[1] == DeadLetter(
        key="image_2", source="photos/image_2.jpg", stage=node.name, reason="process_died",
        message="killed", attempt=2, traceback="there",
    )  # fmt: skip


def test_statistics_that_were_changed_are_not_those_of_a_whole_shard(tmp_path: Path) -> None:
    folder = published(tmp_path)
    name, data = stats_of(folder).name, file_of(folder, "_stats.json")
    for change in (data.replace(b'"samples": 3', b'"samples": 2'), data + b"\n"):
        assert change != data
        folder.publish(f"shards/{name}_stats.json", change)
        assert read_stats(folder, name) is None


@pytest.mark.parametrize("kind", ["tar", "parquet"])
def test_an_edit_of_the_same_size_is_told_by_time_or_by_reading(tmp_path: Path, kind: str) -> None:
    folder = published(tmp_path)
    stats, path = stats_of(folder), shard_file(tmp_path, f".{kind}")

    def is_seen_whole(*, is_read: bool = False) -> bool:
        return is_whole(folder, stats, folder.entries("shards"), is_read=is_read)

    assert is_seen_whole()
    times = path.stat()
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    os.utime(path, (times.st_atime, times.st_mtime + 5))
    assert not is_seen_whole()
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert is_seen_whole(), "neither size nor time tell"
    assert not is_seen_whole(is_read=True)


def test_shards_that_were_copied_are_read_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = published(tmp_path)
    stats = stats_of(folder)
    for path in (tmp_path / "shards").iterdir():
        older = 5 if path.name.endswith(".json") else 0
        os.utime(path, (path.stat().st_atime, path.stat().st_mtime - older))
    assert is_whole(folder, stats, folder.entries("shards"))
    monkeypatch.setattr(Folder, "opened", None)
    assert is_whole(folder, stats, folder.entries("shards"))


def test_finished_shards_are_found_by_number(tmp_path: Path) -> None:
    for number in (10, 2):
        published(tmp_path, shard=shard_of(3, number=number))
    names = finished_names(Folder(str(tmp_path)).names(SHARDS))
    assert sorted(names) == [2, 10]
    assert all(found[0].startswith(f"{number:06d}-") for number, found in names.items())


def test_an_empty_shard_is_a_tar_and_a_parquet_that_readers_open(tmp_path: Path) -> None:
    folder = Folder(str(tmp_path))
    shard = shard_of(0)
    stats = publish_shard(shard, ShardBytes([]), GRAPH, layers_of(GRAPH, shard, {}), folder)
    assert stats.samples == 0
    assert members(folder) == {}
    assert pq.read_table(shard_file(tmp_path, ".parquet")).num_rows == 0


def test_a_number_that_json_does_not_have_is_an_error() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        to_json({"score": float("nan")})

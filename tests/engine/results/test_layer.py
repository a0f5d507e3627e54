from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from florilegium.engine.core.annotation import Annotation, stamp
from florilegium.engine.core.judgement import Statements, Verdicts
from florilegium.engine.core.rows import Measurement
from florilegium.engine.core.stage import Filter, StageConfig
from florilegium.engine.planning.graph import Node
from florilegium.engine.results import layer as layer_file_module
from florilegium.engine.results import layer_store as layer_module
from florilegium.engine.results.layer import (
    Layer,
    StageError,
    join_layers,
    make_layer,
)
from florilegium.engine.results.layer_store import LayerStore
from florilegium.engine.storage.folder import Folder
from florilegium.engine.storage.parquet import footer_size, to_sealed_parquet
from tests.building import BRIGHT_ENOUGH, BRIGHTEST, build, contents, shard_file
from tests.engine.by_hand import caption, planned, region

DIGESTS = ["one", "two", "three", "four"]


@pytest.fixture
def store(tmp_path: Path) -> LayerStore:
    return LayerStore(Folder(str(tmp_path)))


@pytest.fixture(scope="module")
def node() -> Node[Any]:
    return planned(specialists=BRIGHTEST).specialists[0]


@pytest.fixture(scope="module")
def measuring() -> Node[Any]:
    return planned(specialists=BRIGHTEST, filters=BRIGHT_ENOUGH).filters[0]


def said_of(node: Node[Any], number: int, *labels: str) -> list[Annotation]:
    return stamp([region(label) for label in labels], node.provenance, DIGESTS[number])


def layer_of(node: Node[Any]) -> Layer:
    """A layer of four samples: two boxes, nothing, a failure, one box."""
    answers = {0: said_of(node, 0, "a", "b"), 1: [], 3: said_of(node, 3, "c")}
    return make_layer(node, answers, [StageError(sample=2, reason="broken", message="näh")])


@dataclass(frozen=True, kw_only=True)
class Recalled:
    layer: Layer
    missing: tuple[int, ...]
    is_complete: bool


def recalled(store: LayerStore, node: Node[Any], digests: list[str], **changes: Any) -> Recalled:
    """Return what is stored; a look at the end of the files finds the same samples missing."""
    keys: dict[str, Any] = {"previous_digest": "", "again": lambda error: False, **changes}
    missing = store.missing(node, "now", digests, **keys)
    recall = store.recall(node, "now", digests, **keys)
    assert (missing or ()) == recall.missing
    return Recalled(layer=recall.layer, missing=recall.missing, is_complete=missing is None)


def labels(layer: Layer, count: int) -> dict[int, list[str]]:
    annotations = layer.annotations(range(count))
    return {number: [one.label for one in ones] for number, ones in annotations.items() if ones}


def test_a_written_layer_is_read_back_whole(store: LayerStore, node: Node[Any]) -> None:
    layer = layer_of(node)
    store.write(node, "now", layer, DIGESTS)
    read = store.read(node, "now")
    assert read is not None
    assert read[1] == DIGESTS
    assert read[0].errors == layer.errors
    assert read[0].annotations([0, 1, 2, 3]) == layer.annotations([0, 1, 2, 3])
    assert read[0].failed == {2}


@pytest.mark.attack("text")
def test_what_a_stage_says_of_failures_is_ascii_in_the_metadata_of_parquet(
    store: LayerStore, node: Node[Any], tmp_path: Path
) -> None:
    message = "\x1b]0;pwn\x07\x9b31m\u202e\x7f\0\n\U000e0041"
    error = StageError(sample=0, reason="broken", message=message)
    store.write(node, "now", make_layer(node, {}, [error]), DIGESTS[:1])
    (file,) = (path for path in tmp_path.rglob("*") if path.is_file())
    metadata = pq.read_schema(file).metadata
    for text in metadata.values():
        assert text.decode("ascii").replace("\x7f", "").isprintable()
    read = store.read(node, "now")
    assert read is not None
    assert read[0].errors[0].message == message


def test_measurements_are_read_back_with_nothing_where_nothing_was_measured(
    store: LayerStore, measuring: Node[Any]
) -> None:
    answers = {1: [Measurement("x", {"brightness": 0.5}), Measurement("y", {})]}
    store.write(measuring, "now", make_layer(measuring, answers, ()), DIGESTS)
    read = store.read(measuring, "now")
    assert read is not None
    assert read[0].table.to_pylist() == [
        {"sample": 1, "annotation_id": "x", "brightness": 0.5},
        {"sample": 1, "annotation_id": "y", "brightness": None},
    ]


def test_each_number_of_a_measurement_has_a_column_of_its_own() -> None:
    class Two(Filter[StageConfig]):
        measured = ("size", "weight")

        def judge(self, statements: Statements) -> Verdicts:
            raise NotImplementedError

    node = Node[Any](name="two", use="", stage=Two(StageConfig()), fingerprint="f")
    rows = [Measurement("x", {"weight": 2.0, "size": 1.0}), Measurement("y", {"weight": 3.0})]
    assert make_layer(node, {4: rows}, ()).table.to_pylist() == [
        {"sample": 4, "annotation_id": "x", "size": 1.0, "weight": 2.0},
        {"sample": 4, "annotation_id": "y", "size": None, "weight": 3.0},
    ]


def test_the_same_answers_are_the_same_bytes(tmp_path: Path, node: Node[Any]) -> None:
    files = []
    for folder in (tmp_path / "a", tmp_path / "b"):
        LayerStore(Folder(str(folder))).write(node, "now", layer_of(node), DIGESTS)
        (path,) = folder.rglob("*.parquet")
        files.append((path.relative_to(folder), path.read_bytes()))
    assert files[0] == files[1]
    assert str(files[0][0]) == f"bright-{node.fingerprint}/now.parquet"


def test_the_file_of_stages_that_found_nothing_in_the_same_samples_is_made_once(
    store: LayerStore, node: Node[Any], measuring: Node[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[pa.Table] = []
    monkeypatch.setattr(
        layer_file_module, "to_sealed_parquet", lambda t: made.append(t) or to_sealed_parquet(t)
    )
    samples, others = ["of", "this", "test"], ["other", "samples"]
    empty, nothing = make_layer(node, {}, ()), make_layer(measuring, {}, ())
    failed = make_layer(node, {}, [StageError(sample=2, reason="broken", message="")])
    twin = replace(node, name="twin")
    for one, layer in ((node, empty), (twin, empty), (measuring, nothing)):
        store.write(one, "new", layer, samples)
    assert len(made) == 2, "one for each kind of columns"
    assert store.read(node, "new") == store.read(twin, "new") == (empty, samples)
    assert store.read(measuring, "new") == (nothing, samples)
    store.write(node, "new", empty, others)
    store.write(twin, "new", failed, samples)
    assert store.read(node, "new") == (empty, others)
    assert store.read(twin, "new") == (failed, samples)


def test_parts_are_joined_in_the_order_of_samples(node: Node[Any]) -> None:
    late = make_layer(
        node, {3: said_of(node, 3, "d")}, [StageError(sample=2, reason="r", message="")]
    )
    early = make_layer(node, {0: said_of(node, 0, "a", "b"), 1: []}, ())
    joined = join_layers(node, [late, early])
    assert joined.table.column("sample").to_pylist() == [0, 0, 3]
    assert labels(joined, 4) == {0: ["a", "b"], 3: ["d"]}
    assert joined.failed == {2}


def test_no_parts_are_an_empty_layer(node: Node[Any], measuring: Node[Any]) -> None:
    for one in (node, measuring):
        assert join_layers(one, []).table.num_rows == 0


def test_an_absent_layer_leaves_everything_to_say(store: LayerStore, node: Node[Any]) -> None:
    recall = recalled(store, node, DIGESTS)
    assert (recall.missing, recall.is_complete) == ((0, 1, 2, 3), False)
    assert recall.layer.table.num_rows == 0


def test_a_present_layer_leaves_nothing_to_say_failures_included(
    store: LayerStore, node: Node[Any]
) -> None:
    store.write(node, "now", layer_of(node), DIGESTS)
    recall = recalled(store, node, DIGESTS)
    assert (recall.missing, recall.is_complete) == ((), True)
    assert recall.layer.failed == {2}


def test_a_retry_asks_again_only_about_what_failed(store: LayerStore, node: Node[Any]) -> None:
    store.write(node, "now", layer_of(node), DIGESTS)
    recall = recalled(store, node, DIGESTS, again=lambda error: True)
    assert (recall.missing, recall.is_complete) == ((2,), False)
    assert recall.layer.errors == ()
    assert labels(recall.layer, 4) == {0: ["a", "b"], 3: ["c"]}


def test_only_the_errors_that_are_to_be_asked_again_are_missing(
    store: LayerStore, node: Node[Any]
) -> None:
    errors = [
        StageError(sample=number, reason=reason, message="")
        for number, reason in ((1, "unpaid"), (2, "broken"))
    ]
    store.write(node, "now", make_layer(node, {0: said_of(node, 0, "a"), 3: []}, errors), DIGESTS)
    recall = recalled(store, node, DIGESTS, again=lambda error: error.reason == "unpaid")
    assert (recall.missing, recall.is_complete) == ((1,), False)
    assert recall.layer.failed == {2}
    assert labels(recall.layer, 4) == {0: ["a"]}


def test_a_retry_of_a_layer_without_failures_has_nothing_to_do(
    store: LayerStore, node: Node[Any]
) -> None:
    store.write(node, "now", make_layer(node, {number: [] for number in range(4)}, ()), DIGESTS)
    assert recalled(store, node, DIGESTS, again=lambda error: True).is_complete


def test_rows_of_unchanged_samples_come_from_the_earlier_shard(
    store: LayerStore, node: Node[Any]
) -> None:
    store.write(node, "before", layer_of(node), DIGESTS)
    recall = recalled(store, node, ["new", "four", "one", "three"], previous_digest="before")
    assert recall.missing == (0, 3)  # the new one, and the one that failed
    assert labels(recall.layer, 4) == {1: ["c"], 2: ["a", "b"]}
    assert not recall.is_complete


def test_rows_that_moved_join_new_ones_in_order(store: LayerStore, node: Node[Any]) -> None:
    store.write(node, "before", layer_of(node), DIGESTS)
    recall = recalled(store, node, ["new", "four", "one"], previous_digest="before")
    joined = join_layers(node, [recall.layer, make_layer(node, {0: [region("n")]}, ())])
    assert joined.table.column("sample").to_pylist() == [0, 1, 2, 2]


def test_a_layer_of_some_samples_leaves_the_others_to_say(
    store: LayerStore, node: Node[Any]
) -> None:
    """As a build leaves it that is killed: also what failed is not asked again."""
    store.write_some(node, "now", layer_of(node), DIGESTS, [0, 2, 3])
    recall = recalled(store, node, DIGESTS, previous_digest="before")
    assert recall.missing == (1,)
    assert not recall.is_complete
    assert labels(recall.layer, 4) == {0: ["a", "b"], 3: ["c"]}
    assert [error.sample for error in recall.layer.errors] == [2]
    again = recalled(store, node, DIGESTS, again=lambda error: True)
    assert again.missing == (1, 2)
    assert again.layer.errors == ()
    store.write(node, "now", layer_of(node), DIGESTS)
    assert recalled(store, node, DIGESTS).is_complete


def test_the_number_of_a_sample_without_rows_is_its_own_in_a_layer_of_some(
    store: LayerStore, node: Node[Any]
) -> None:
    store.write_some(node, "now", layer_of(node), DIGESTS, [1, 3])
    recall = recalled(store, node, DIGESTS)
    assert recall.missing == (0, 2)
    assert labels(recall.layer, 4) == {3: ["c"]}


@pytest.mark.parametrize("retry", [True, False])
@pytest.mark.parametrize("digest", ["now", "before"])
def test_the_end_of_a_large_layer_shows_what_is_missing(
    tmp_path: Path,
    store: LayerStore,
    node: Node[Any],
    monkeypatch: pytest.MonkeyPatch,
    digest: str,
    retry: bool,
) -> None:
    monkeypatch.setattr(layer_module, "TAIL_BYTES", 16)
    store.write(node, digest, layer_of(node), DIGESTS)
    changes: dict[str, Any] = {"previous_digest": "before", "again": lambda error: retry}
    recall = recalled(store, node, DIGESTS, **changes)
    assert recall.missing == ((2,) if retry or digest == "before" else ())
    (path,) = tmp_path.rglob("*.parquet")
    data = path.read_bytes()
    start = len(data) - footer_size(data)
    path.write_bytes(bytes(start) + data[start:])  # no rows
    missing = store.missing(node, "now", DIGESTS, **changes)
    assert (missing or ()) == recall.missing


@pytest.mark.parametrize("damage", ["empty", "cut", "noise", "page", "metadata", "columns"])
def test_a_damaged_layer_counts_as_absent(
    tmp_path: Path, store: LayerStore, node: Node[Any], damage: str
) -> None:
    store.write(node, "now", layer_of(node), DIGESTS)
    (path,) = tmp_path.rglob("*.parquet")
    data, table = bytearray(path.read_bytes()), pq.read_table(path)
    match damage:
        case "empty":
            path.write_bytes(b"")
        case "cut":
            path.write_bytes(data[: len(data) // 2])
        case "noise":
            path.write_bytes(data[:4] + np.random.default_rng(0).bytes(len(data) - 12) + data[-8:])
        case "page":
            path.write_bytes(data[:4] + bytes(200) + data[204:])
        case "metadata":
            pq.write_table(table.replace_schema_metadata({b"florilegium": b'{"samples":[]}'}), path)
        case "columns":
            pq.write_table(table.drop_columns(["box_xyxy"]), path)
    recall = recalled(store, node, DIGESTS)
    assert (recall.missing, recall.is_complete) == ((0, 1, 2, 3), False)


def test_a_flipped_byte_is_noticed_or_harms_nothing(
    tmp_path: Path, store: LayerStore, node: Node[Any]
) -> None:
    store.write(node, "now", layer_of(node), DIGESTS)
    (path,) = tmp_path.rglob("*.parquet")
    whole, table = path.read_bytes(), layer_of(node).table
    for place in np.random.default_rng(7).choice(len(whole), 200, replace=False).tolist():
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :])
        read = store.read(node, "now")
        assert read is None or read[0].table.equals(table)


def test_a_build_makes_a_damaged_layer_again(album: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    build(album, out, shard_size=6)
    before = contents(out)
    shard_file(out, "_stats.json").unlink()
    for path in (out / "layers").glob("bright-*/*.parquet"):
        path.write_bytes(path.read_bytes()[:-40])
    build(album, out, shard_size=6)
    assert contents(out) == before


def test_layers_of_another_fingerprint_are_not_recalled(
    store: LayerStore, node: Node[Any], tmp_path: Path
) -> None:
    store.write(node, "now", layer_of(node), DIGESTS)
    other = planned(specialists={"bright": {"use": "tests.stages:Trouble", "key": "x"}})
    assert recalled(store, other.specialists[0], DIGESTS).missing == (0, 1, 2, 3)


def test_a_caption_has_no_box_after_a_round_trip(store: LayerStore, node: Node[Any]) -> None:
    store.write(node, "now", make_layer(node, {0: [caption("Ein Kätzchen.")]}, ()), DIGESTS)
    read = store.read(node, "now")
    assert read is not None
    assert read[0].annotations([0]) == {0: [caption("Ein Kätzchen.")]}

"""Two rounds compared, shard by shard."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from florilegium.engine.core.errors import StorageError, UsageError
from florilegium.engine.results.dataset import manifest_of
from florilegium.engine.results.publication import to_json
from florilegium.engine.storage.folder import Folder
from florilegium.pipelines.dataset.lineage import round_folder
from florilegium.pipelines.diff.difference import LabelCounts, diff_rounds
from florilegium.pipelines.diff.table import diff_lines, diff_table
from tests.building import shard_file
from tests.pipelines.refine.rounds import Labels, box, refined, text

SQUARE, DISC = box("square", 6, 8, 26, 28), box("disc", 34, 30, 58, 54)
BEFORE: Labels = {
    "a": [SQUARE, DISC, text("A square.")],
    "b": [SQUARE, box("star", 0, 0, 9, 9)],
    "c": [SQUARE],
}
AFTER: Labels = {
    "a": [SQUARE, box("circle", 34, 30, 58, 54), text("A square and a circle.")],
    "b": [SQUARE, DISC, text("A square.")],
    "c": [SQUARE],
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    """A run of two rounds that no test changes."""
    return refined(tmp_path_factory.mktemp("run"), BEFORE, AFTER)


def rewrite_manifest(folder: Folder, **shard: str) -> None:
    """Change the entry of the first shard."""
    manifest = manifest_of(folder)
    manifest["shards"][0].update(shard)
    folder.publish("manifest.json", to_json(manifest))


def test_every_change_is_counted_by_task(run: Folder) -> None:
    diff = diff_rounds(run, 0, 1)
    assert diff.tasks == {
        "caption": LabelCounts(added=1, changed=1),
        "object_detection": LabelCounts(same=3, added=1, changed=1, dropped=1),
    }
    assert diff.total == LabelCounts(same=3, added=2, changed=2, dropped=1)
    assert (diff.total.before, diff.total.after) == (6, 7)
    assert diff.samples_changed == 2


def test_samples_that_changed_most_come_first(run: Folder) -> None:
    assert [(one.key, one.weight) for one in diff_rounds(run, 0, 1).samples] == [
        ("b", 3),
        ("a", 2),
    ]
    (one,) = diff_rounds(run, 0, 1, examples=1).samples
    assert (one.key, one.round) == ("b", 1)
    assert one.shard == manifest_of(round_folder(run, 1))["shards"][0]["name"]


def test_rounds_are_compared_either_way_and_with_themselves(run: Folder) -> None:
    forth, back = diff_rounds(run, 0, 1).total, diff_rounds(run, 1, 0).total
    assert (forth.added, forth.dropped) == (back.dropped, back.added)
    same = diff_rounds(run, 1, 1)
    assert (same.total, same.samples) == (LabelCounts(same=7), ())


def test_dropped_annotations_are_no_labels(tmp_path: Path) -> None:
    weak = {"a": [box("bright", 0, 0, 9, 9, score=0.1)], "b": [box("bright", 0, 0, 9, 9, score=1)]}
    enough = {"enough": {"use": "tests.stages:BrightEnough", "minimum": 0.5}}
    diff = diff_rounds(refined(tmp_path, {}, weak, filters=enough), 0, 1)
    assert diff.total == LabelCounts(added=1)


def test_a_sample_whose_labels_are_all_gone_lies_in_the_earlier_round(tmp_path: Path) -> None:
    (one,) = diff_rounds(refined(tmp_path, {"a": [SQUARE]}, {}), 0, 1).samples
    assert (one.key, one.round) == ("a", 0)
    assert [change.how for change in one.found.changes] == ["dropped"]


def test_samples_that_moved_to_another_shard_are_matched(tmp_path: Path) -> None:
    here = refined(tmp_path / "here", BEFORE, shard_size=3)
    there = refined(tmp_path / "there", BEFORE, AFTER, shard_size=2)
    expected = diff_rounds(there, 0, 1)
    Path(round_folder(there, 0).url).rename(tmp_path / "old")
    Path(round_folder(here, 0).url).rename(tmp_path / "there" / "run" / "rounds" / "0")
    diff = diff_rounds(there, 0, 1)
    assert diff.shards == 2
    assert diff.tasks == expected.tasks
    assert {one.key: one.weight for one in diff.samples} == {"a": 2, "b": 3}


def test_some_of_the_shards_can_be_read(tmp_path: Path) -> None:
    output = refined(tmp_path, BEFORE, AFTER, shard_size=1)
    diff = diff_rounds(output, 0, 1, max_shards=2)
    assert (diff.compared, diff.shards) == (2, 3)
    assert [one.key for one in diff.samples] == ["a"]
    rewrite_manifest(round_folder(output, 0), samples_digest="other images")
    assert [one.key for one in diff_rounds(output, 0, 1, max_shards=2).samples] == ["b"]


def test_unknown_and_unfinished_rounds_are_refused(tmp_path: Path) -> None:
    output = refined(tmp_path, BEFORE, AFTER)
    with pytest.raises(UsageError, match=r"no round 7: it has rounds 0 to 1"):
        diff_rounds(output, 0, 7)
    with pytest.raises(UsageError, match="never refined"):
        diff_rounds(Folder(str(tmp_path)), 0, 1)
    round_folder(output, 0).remove("manifest.json")
    with pytest.raises(UsageError, match=r"rounds/0 has no manifest\.json"):
        diff_rounds(output, 0, 1)


def test_a_damaged_shard_is_named(tmp_path: Path) -> None:
    output = refined(tmp_path, BEFORE, AFTER)
    damaged = shard_file(Path(round_folder(output, 1).path("")), ".parquet")
    damaged.write_bytes(b"no table")
    with pytest.raises(StorageError, match=rf"rounds/1/shards/{damaged.name}"):
        diff_rounds(output, 0, 1)


def test_a_diff_is_json(run: Folder) -> None:
    found = json.loads(to_json(diff_rounds(run, 0, 1).to_json()))
    assert found["tasks"]["caption"] == {
        "before": 1,
        "after": 2,
        "same": 0,
        "added": 1,
        "changed": 1,
        "dropped": 0,
    }
    changes = found["samples"][1]["changes"]
    assert [change["how"] for change in changes] == ["changed", "changed"]
    assert changes[1]["before"]["label"] == "disc"
    assert changes[1]["after"]["label"] == "circle"
    assert changes[1]["overlap"] == 1


def test_a_diff_is_told_on_a_terminal_that_obeys_no_label(tmp_path: Path) -> None:
    nasty = {"a": [box("\x1b[2J[red]square", 6, 8, 26, 28)]}
    diff = diff_rounds(refined(tmp_path, {}, nasty), 0, 1)
    console = Console(width=100, record=True, file=io.StringIO())
    console.print(diff_table(diff))
    for line in diff_lines(diff):
        console.print(line)
    printed = console.export_text()
    assert "object_detection │      0 │     1 │    0 │     1 │       0 │       0" in printed
    assert r"added   object_detection  '\x1b[2J[red]square'" in printed
    assert "\x1b" not in printed

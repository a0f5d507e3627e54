"""What differs between two versions, found from the shards that differ."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from florilegium.engine.results.dataset import open_dataset
from florilegium.pipelines.dataset.refreshed import ImageCounts, TaskCounts
from florilegium.pipelines.refresh.changes import Changes, compare_versions
from tests.building import BRIGHT_ENOUGH, build
from tests.pipelines.refresh.pictures import config_of, put


def versions(tmp_path: Path, **keys: Any) -> tuple[Path, Path]:
    """Return the source and the output of a first version."""
    put(tmp_path / "source", *range(6))
    build_once(tmp_path / "source", tmp_path / "before", **keys)
    return tmp_path / "source", tmp_path / "before"


def build_once(source: Path, output: Path, **keys: Any) -> None:
    specialists = config_of(source, output).specialists
    build(source, output, **{"specialists": specialists, "shard_size": 3, **keys})


def changes(before: Path, after: Path) -> Changes:
    """Compare two outputs as two versions of one: the shards lie together."""
    old, new = open_dataset(str(before)), open_dataset(str(after))
    for path in (before / "shards").iterdir():
        if not (after / "shards" / path.name).exists():
            (after / "shards" / path.name).write_bytes(path.read_bytes())
    return compare_versions(new.__class__(folder=new.folder, manifest=old.manifest), new)


def test_equal_versions_read_nothing(tmp_path: Path) -> None:
    source, before = versions(tmp_path)
    build_once(source, tmp_path / "after")
    found = changes(before, tmp_path / "after")
    assert (found.old, found.new, found.annotations) == ((), (), {})


def test_samples_in_other_shards_are_the_same_samples(tmp_path: Path) -> None:
    source, before = versions(tmp_path)
    build_once(source, tmp_path / "after", shard_size=4)
    found = changes(before, tmp_path / "after")
    assert (len(found.old), len(found.new)) == (2, 2)
    assert found.images(6, 6, ()) == ImageCounts(before=6, after=6)
    assert (found.annotations, dict(found.touched)) == ({}, {})


def test_a_renamed_image_keeps_its_annotations(tmp_path: Path) -> None:
    source, before = versions(tmp_path)
    (source / "004.png").rename(source / "900.png")
    build_once(source, tmp_path / "after")
    found = changes(before, tmp_path / "after")
    assert found.renamed == [("004", "900")]
    assert (found.added, found.dropped, found.annotations) == ([], [], {})
    assert list(found.touched.values()) == [{"900"}]


def test_of_equal_images_each_is_renamed_once(tmp_path: Path) -> None:
    source = tmp_path / "source"
    put(source, *range(4))
    for name in ("a", "b"):
        (source / f"{name}.png").write_bytes((source / "000.png").read_bytes())
    build_once(source, tmp_path / "before")
    for name in ("a", "b"):
        (source / f"{name}.png").unlink()
    (source / "c.png").write_bytes((source / "000.png").read_bytes())
    build_once(source, tmp_path / "after")
    found = changes(tmp_path / "before", tmp_path / "after")
    assert (found.renamed, found.dropped, found.added) == ([("a", "c")], ["b"], [])


def test_annotations_that_a_filter_drops_now_are_dropped_and_no_image_changes(
    tmp_path: Path,
) -> None:
    source, before = versions(tmp_path)
    build_once(source, tmp_path / "after", filters=BRIGHT_ENOUGH)
    old, new = open_dataset(str(before)), open_dataset(str(tmp_path / "after"))
    found = changes(before, tmp_path / "after")
    tasks = found.tasks(old.manifest["totals"]["tasks"], new.manifest["totals"]["tasks"])
    kept = new.manifest["totals"]["tasks"]["object_detection"]["kept"]
    assert 6 - kept > 0
    assert tasks["object_detection"] == TaskCounts(before=6, after=kept, dropped=6 - kept)
    assert found.images(6, 6, ()) == ImageCounts(before=6, after=6)


@pytest.mark.parametrize("how", ["added", "dropped"])
def test_annotations_of_images_that_come_or_go_are_counted_by_task(
    tmp_path: Path, how: str
) -> None:
    source, few = versions(tmp_path)
    put(source, 20, 21)
    build_once(source, tmp_path / "many")
    found = changes(*((few, tmp_path / "many") if how == "added" else (tmp_path / "many", few)))
    assert found.annotations == {(task, how): 2 for task in ("caption", "object_detection")}
    assert found.examples() == {how: ["020", "021"]}

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest

from florilegium.engine.core.errors import ConfigError, StorageError
from florilegium.engine.execution.preparation import prepare
from florilegium.engine.execution.progress import Progress
from florilegium.engine.execution.run import execute
from florilegium.engine.results.dataset import open_dataset
from florilegium.engine.results.manifest import MANIFEST, RECIPE, named_shards
from florilegium.engine.results.versions import VERSIONS, Retention, live_shards, remove_stale
from florilegium.engine.storage.folder import Folder
from florilegium.pipelines.build import put_in_place
from florilegium.pipelines.verify.verify import verify_dataset
from tests.building import BRIGHT_ENOUGH, BRIGHTEST, DESCRIBED, build, configure, contents


def tars(output: Path) -> set[str]:
    return {path.stem for path in (output / "shards").glob("*.tar")}


def named(output: Path) -> set[str]:
    return set(named_shards(Folder(str(output))))


def verified(output: Path) -> list[str]:
    return list(verify_dataset(Folder(str(output))))


def interrupt(album: Path, output: Path, after: int, **keys: Any) -> None:
    """Run a build until so many shards are finished."""

    class Stopping(Progress):
        def finish(self, *, samples: int, dead_letters: int) -> None:
            super().finish(samples=samples, dead_letters=dead_letters)
            if self.shards_done == after:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        execute(prepare(configure(album, output, **keys)), Stopping())


def test_the_version_before_stays_whole_while_the_next_is_built(
    album: Path, tmp_path: Path
) -> None:
    build(album, tmp_path, shard_size=5)
    before, samples = named(tmp_path), [one.key for one in open_dataset(str(tmp_path))]
    interrupt(album, tmp_path, 2, shard_size=5, specialists=DESCRIBED)
    assert named(tmp_path) == before
    assert before < tars(tmp_path), "two shards of the next version lie beside them"
    assert verified(tmp_path) == []
    assert [one.key for one in open_dataset(str(tmp_path))] == samples


def test_a_finished_build_leaves_one_version_and_nothing_else(album: Path, tmp_path: Path) -> None:
    build(album, tmp_path / "out", shard_size=5)
    interrupt(album, tmp_path / "out", 1, shard_size=5, specialists=DESCRIBED)
    build(album, tmp_path / "out", shard_size=5, filters=BRIGHT_ENOUGH)
    assert tars(tmp_path / "out") == named(tmp_path / "out")
    build(album, tmp_path / "fresh", shard_size=5, filters=BRIGHT_ENOUGH)
    assert contents(tmp_path / "out") == contents(tmp_path / "fresh")
    assert not (tmp_path / "out" / RECIPE).exists()


def test_shards_of_an_interrupted_build_are_not_made_again(
    album: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupt(album, tmp_path, 2, shard_size=5)
    made = {path: path.stat().st_mtime_ns for path in (tmp_path / "shards").iterdir()}
    build(album, tmp_path, shard_size=5)
    assert {path: path.stat().st_mtime_ns for path in made} == made


def test_earlier_versions_are_kept_by_count(album: Path, tmp_path: Path) -> None:
    versions: list[set[str]] = []
    for minimum in (0.5, 0.6, 0.7, 0.8):
        enough = {"enough": {"use": "tests.stages:BrightEnough", "minimum": minimum}}
        build(album, tmp_path, shard_size=5, filters=enough, keep_versions=3)
        versions.append(named(tmp_path))
    assert live_shards(Folder(str(tmp_path))) == set().union(*versions[1:])
    assert tars(tmp_path) == set().union(*versions[1:])
    assert len(list((tmp_path / VERSIONS).iterdir())) == 2
    assert verified(tmp_path) == []
    build(album, tmp_path, shard_size=5, filters=enough)
    assert tars(tmp_path) == versions[-1]
    assert not list((tmp_path / VERSIONS).iterdir())


def test_no_version_goes_before_there_are_as_many_as_are_kept(album: Path, tmp_path: Path) -> None:
    versions: list[set[str]] = []
    for minimum in (0.5, 0.6, 0.7, 0.8):
        enough = {"enough": {"use": "tests.stages:BrightEnough", "minimum": minimum}}
        build(album, tmp_path, shard_size=5, filters=enough, keep_versions=5)
        versions.append(named(tmp_path))
        assert live_shards(Folder(str(tmp_path))) == set().union(*versions)


def test_a_version_that_comes_back_is_not_made_again(album: Path, tmp_path: Path) -> None:
    build(album, tmp_path, shard_size=5, keep_versions=2)
    made = {path: path.stat().st_mtime_ns for path in (tmp_path / "shards").iterdir()}
    build(album, tmp_path, shard_size=5, keep_versions=2, specialists=DESCRIBED)
    build(album, tmp_path, shard_size=5, keep_versions=2)
    assert {path: path.stat().st_mtime_ns for path in made} == made
    assert named(tmp_path) == {path.stem for path in made if path.suffix == ".tar"}


def test_another_source_needs_to_be_asked_for(album: Path, tmp_path: Path) -> None:
    output, other = tmp_path / "out", tmp_path / "other"
    other.mkdir()
    (other / "one.jpg").write_bytes((album / "cat.jpg").read_bytes())
    build(album, output, shard_size=5)
    before = contents(output)
    with pytest.raises(ConfigError, match=rf"made from {album}, .* would be deleted.*--replace"):
        build(other, output, shard_size=5)
    assert contents(output) == before
    build(other, output, shard_size=5, replace=True)
    assert [one.key for one in open_dataset(str(output))] == ["one"]


def test_another_source_is_refused_with_another_shard_size_too(album: Path, tmp_path: Path) -> None:
    build(album, tmp_path / "out", shard_size=5)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "one.jpg").write_bytes((album / "cat.jpg").read_bytes())
    with pytest.raises(ConfigError, match="--replace"):
        build(tmp_path / "other", tmp_path / "out", shard_size=7)


def test_a_source_that_is_added_replaces_nothing(album: Path, tmp_path: Path) -> None:
    output, other = tmp_path / "out", tmp_path / "other"
    other.mkdir()
    (other / "one.jpg").write_bytes((album / "cat.jpg").read_bytes())
    count = build(album, output, shard_size=5).totals.samples
    assert build([str(album), str(other)], output, shard_size=5).totals.samples == count + 1
    with pytest.raises(ConfigError, match="--replace"):
        build(album, output, shard_size=5)


def test_a_link_to_the_source_is_the_same_source(album: Path, tmp_path: Path) -> None:
    build(album, tmp_path / "out", shard_size=5)
    (tmp_path / "link").symlink_to(album)
    before = named(tmp_path / "out")
    build(f"{album}/", tmp_path / "out", shard_size=5)
    build(os.path.relpath(album), tmp_path / "out", shard_size=5)
    build(tmp_path / "link", tmp_path / "out", shard_size=5)
    assert named(tmp_path / "out") == before


@pytest.mark.parametrize("at", ["run.yaml", "report.html", "README.md", MANIFEST])
def test_a_build_that_dies_before_the_switch_leaves_the_version_before(
    album: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: str
) -> None:
    build(album, tmp_path / "out", shard_size=5)
    before = named(tmp_path / "out")
    run = prepare(configure(album, tmp_path / "out", shard_size=5, specialists=DESCRIBED))
    manifest = execute(run, Progress())
    replace = os.replace

    def die(source: str, target: str) -> None:
        if target.endswith(at):
            raise KeyboardInterrupt
        replace(source, target)

    with monkeypatch.context() as patch:
        patch.setattr("os.replace", die)
        with pytest.raises(KeyboardInterrupt):
            put_in_place(run, manifest)
    assert named(tmp_path / "out") == before <= tars(tmp_path / "out")
    build(album, tmp_path / "out", shard_size=5, specialists=DESCRIBED)
    build(album, tmp_path / "fresh", shard_size=5, specialists=DESCRIBED)
    assert contents(tmp_path / "out") == contents(tmp_path / "fresh")
    assert verified(tmp_path / "out") == []


def test_the_card_names_the_tars_of_this_version_only(album: Path, tmp_path: Path) -> None:
    build(album, tmp_path, shard_size=5, keep_versions=2, specialists=BRIGHTEST)
    build(album, tmp_path, shard_size=5, keep_versions=2, specialists=DESCRIBED)
    card = (tmp_path / "README.md").read_text(encoding="utf-8")
    assert {name for name in tars(tmp_path) if f"shards/{name}.tar" in card} == named(tmp_path)
    assert len(tars(tmp_path)) == 2 * len(named(tmp_path))


@pytest.mark.attack("faults")
def test_a_switch_that_was_interrupted_keeps_the_version_before_once(
    album: Path, tmp_path: Path
) -> None:
    keys: dict[str, Any] = {"shard_size": 12, "keep_versions": 3, "filters": BRIGHT_ENOUGH}
    manifests = []
    for specialists in (BRIGHTEST, DESCRIBED):
        build(album, tmp_path, **keys, specialists=specialists)
        manifests.append((tmp_path / MANIFEST).read_bytes())
    (tmp_path / VERSIONS / "000002.json").write_bytes(manifests[1])  # and then it was killed
    build(album, tmp_path, **{**keys, "filters": {}}, specialists=DESCRIBED)
    kept = [path.read_bytes() for path in sorted((tmp_path / VERSIONS).iterdir())]
    assert kept == manifests


@pytest.mark.attack("faults")
def test_what_killed_writers_left_goes_from_every_folder_of_the_output(
    album: Path, tmp_path: Path
) -> None:
    build(album, tmp_path, shard_size=5, keep_versions=2)
    build(album, tmp_path, shard_size=5, keep_versions=2, specialists=DESCRIBED)
    folders = {path.parent for path in tmp_path.rglob("*") if path.is_file()}
    for folder in folders:
        (folder / ".0123456789abcdef.tmp").write_bytes(b"half")
    build(album, tmp_path, shard_size=5, keep_versions=2, specialists=DESCRIBED)
    assert len(folders) > 5
    assert not list(tmp_path.rglob(".*.tmp"))


@pytest.mark.attack("faults")
def test_a_manifest_that_cannot_be_read_just_now_costs_no_shard(
    album: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build(album, tmp_path, shard_size=5)
    before, read = tars(tmp_path), Folder.read

    def fail(folder: Folder, name: str, **options: Any) -> bytes | None:
        if name == MANIFEST:
            raise StorageError("cannot read it: the storage was busy")
        return read(folder, name, **options)

    monkeypatch.setattr(Folder, "read", fail)
    with pytest.raises(StorageError, match="the storage was busy"):
        remove_stale(Folder(str(tmp_path)), Retention())
    assert tars(tmp_path) == before


def test_versions_are_kept_by_age_by_the_clock_of_the_storage(album: Path, tmp_path: Path) -> None:
    for minimum in (0.5, 0.6, 0.7):
        enough = {"enough": {"use": "tests.stages:BrightEnough", "minimum": minimum}}
        build(album, tmp_path, shard_size=5, filters=enough, keep_days=2)
    versions = sorted((tmp_path / VERSIONS).iterdir())
    assert [path.name for path in versions] == ["000001.json", "000002.json"]
    for path, days in zip(versions, (2.1, 1.9), strict=True):
        replaced = time.time() - days * 86_400
        os.utime(path, (replaced, replaced))
    build(album, tmp_path, shard_size=5, filters=enough, keep_days=2)
    assert [path.name for path in (tmp_path / VERSIONS).iterdir()] == ["000002.json"]
    assert tars(tmp_path) == live_shards(Folder(str(tmp_path)))
    assert verified(tmp_path) == []


def test_a_version_is_kept_by_count_however_old_it_is(album: Path, tmp_path: Path) -> None:
    for minimum in (0.5, 0.6):
        enough = {"enough": {"use": "tests.stages:BrightEnough", "minimum": minimum}}
        build(album, tmp_path, shard_size=5, filters=enough, keep_versions=2, keep_days=1)
    (version,) = (tmp_path / VERSIONS).iterdir()
    os.utime(version, (1000, 1000))
    build(album, tmp_path, shard_size=5, filters=enough, keep_versions=2, keep_days=1)
    assert version.exists()


def test_a_version_whose_age_is_not_known_is_kept(album: Path, tmp_path: Path) -> None:
    for minimum in (0.5, 0.6):
        enough = {"enough": {"use": "tests.stages:BrightEnough", "minimum": minimum}}
        build(album, tmp_path, shard_size=5, filters=enough, keep_days=1)
    (version,) = (tmp_path / VERSIONS).iterdir()
    os.utime(version, (0, 0))
    remove_stale(Folder(str(tmp_path)), Retention(days=1))
    assert version.exists()

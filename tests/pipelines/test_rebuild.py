"""A build over a dataset that was damaged or edited since: it comes out as it was."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from florilegium.engine.core.errors import RunError, StorageError
from florilegium.engine.core.sample import digest_of
from florilegium.engine.execution.preparation import prepare
from florilegium.engine.execution.progress import Progress
from florilegium.engine.execution.run import execute
from florilegium.engine.results import layer_store
from florilegium.engine.results.layer import layer_bytes, parse_layer
from florilegium.engine.storage.folder import Folder
from florilegium.pipelines.build import draw_again, put_in_place
from florilegium.pipelines.verify.verify import verify_dataset
from tests.building import BRIGHT_ENOUGH, DESCRIBED, build, configure, contents, shard_file

BESIDE = ("README.md", "report.html", "statistics.json", "run.yaml", "dead_letters.parquet")


@pytest.fixture(scope="module")
def finished(album: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished dataset of two shards. Read only."""
    output = tmp_path_factory.mktemp("finished") / "out"
    build(album, output, shard_size=6, filters=BRIGHT_ENOUGH)
    return output


@pytest.fixture
def dataset(finished: Path, tmp_path: Path) -> Path:
    return shutil.copytree(finished, tmp_path / "out")


def rebuild(album: Path, dataset: Path, *, check: bool = False) -> None:
    run = prepare(configure(album, dataset, shard_size=6, filters=BRIGHT_ENOUGH))
    put_in_place(run, execute(run, Progress(), check=check))


def problems(dataset: Path) -> list[str]:
    return list(verify_dataset(Folder(str(dataset))))


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def flip_unseen(path: Path) -> None:
    """Flip a bit as a disk does: the time stays."""
    times = path.stat()
    flip(path)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def append(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"\0" * 512)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-10])


def lead_away(path: Path) -> None:
    """Leave a link to the same bytes."""
    elsewhere = path.parents[2] / path.name
    path.rename(elsewhere)
    path.symlink_to(elsewhere)


@pytest.mark.attack("changes")
@pytest.mark.parametrize("suffix", [".tar", ".parquet", "_stats.json"])
@pytest.mark.parametrize("damage", [flip, append, cut, Path.unlink, lead_away])
def test_a_shard_that_was_changed_is_made_again(
    album: Path, finished: Path, dataset: Path, suffix: str, damage: Callable[[Path], None]
) -> None:
    rebuild(album, dataset)  # the copy is known by its times now
    damage(shard_file(dataset, suffix, 1))
    assert problems(dataset)
    rebuild(album, dataset)
    assert contents(dataset) == contents(finished)
    assert problems(dataset) == []


@pytest.mark.attack("changes")
@pytest.mark.parametrize("suffix", [".tar", ".parquet"])
def test_a_bit_that_a_disk_flipped_is_found_by_reading(
    album: Path, finished: Path, dataset: Path, suffix: str
) -> None:
    rebuild(album, dataset)
    flip_unseen(shard_file(dataset, suffix))
    rebuild(album, dataset)
    assert problems(dataset), "neither size nor time tell"
    rebuild(album, dataset, check=True)
    assert contents(dataset) == contents(finished)
    assert problems(dataset) == []


@pytest.mark.attack("changes")
@pytest.mark.parametrize("name", BESIDE)
@pytest.mark.parametrize("damage", [flip, append, Path.unlink])
def test_a_file_beside_the_shards_is_written_again(
    album: Path, finished: Path, dataset: Path, name: str, damage: Callable[[Path], None]
) -> None:
    rebuild(album, dataset)
    before = (dataset / name).read_bytes()
    damage(dataset / name)
    rebuild(album, dataset)
    assert (dataset / name).read_bytes() == before
    assert problems(dataset) == []


@pytest.mark.attack("changes")
def test_a_damaged_layer_is_asked_again_and_becomes_no_label(album: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    stages = {"seen": {"use": "tests.stages:Counting", "log": str(log)}}
    build(album, tmp_path / "out", specialists=stages)
    build(album, tmp_path / "whole", specialists=stages)
    asked = len(log.read_text("utf-8").splitlines()) // 2
    (path,) = (tmp_path / "out" / "layers").glob("seen-*/*.parquet")
    flip(path)
    assert any("layers/seen-" in problem for problem in problems(tmp_path / "out"))
    shard_file(tmp_path / "out", ".tar").unlink()
    build(album, tmp_path / "out", specialists=stages)
    assert len(log.read_text("utf-8").splitlines()) == 3 * asked
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


@pytest.mark.attack("changes")
def test_damage_to_the_rows_of_large_layers_is_found_before_they_become_labels(
    album: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(layer_store, "TAIL_BYTES", 16)  # the footer is looked at, and no rows
    stages = {"specialists": DESCRIBED, "filters": BRIGHT_ENOUGH}
    build(album, tmp_path / "out", **stages)
    before = contents(tmp_path / "out")
    layers = sorted((tmp_path / "out" / "layers").glob("[!s]*/*.parquet"))
    whole = [path.read_bytes() for path in layers]
    for path, data in zip(layers, whole, strict=True):
        path.write_bytes(data[:30] + bytes([data[30] ^ 1]) + data[31:])
    shard_file(tmp_path / "out", ".tar").unlink()
    build(album, tmp_path / "out", **stages)
    assert contents(tmp_path / "out") == before
    assert len(whole) == 3
    assert [path.read_bytes() for path in layers] == whole
    log = (tmp_path / "out" / "run.log").read_text("utf-8")
    assert log.count("is damaged and is made again: it was changed after it was written") == 3


@pytest.mark.attack("changes")
def test_a_damaged_index_is_an_error_with_its_cure(
    album: Path, finished: Path, dataset: Path
) -> None:
    flip(dataset / "index.parquet")
    with pytest.raises(StorageError, match=r"index\.parquet is damaged: .*; delete it"):
        rebuild(album, dataset)
    (dataset / "index.parquet").unlink()
    rebuild(album, dataset)
    assert contents(dataset) == contents(finished)


def test_nothing_is_written_where_nothing_was_changed(album: Path, dataset: Path) -> None:
    rebuild(album, dataset)
    files = [path for path in dataset.rglob("*") if path.is_file()]
    times = {path: path.stat().st_mtime_ns for path in files}
    rebuild(album, dataset, check=True)
    assert {path: path.stat().st_mtime_ns for path in files} == times


def test_a_report_that_is_drawn_again_is_the_one_that_the_manifest_names(dataset: Path) -> None:
    before = (dataset / "manifest.json").read_bytes()
    for name in ("report.html", "README.md", "statistics.json"):
        append(dataset / name)
    draw_again(Folder(str(dataset)))
    assert problems(dataset) == []
    assert (dataset / "manifest.json").read_bytes() == before


def test_a_build_that_ends_before_its_first_shard_leaves_the_version_before_right(
    album: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = shutil.copytree(album, tmp_path / "source")
    build(source, tmp_path / "more", shard_size=6)
    (source / "new.jpg").write_bytes((album / "cat.jpg").read_bytes())

    def fail(*_: object) -> None:
        raise RunError("no worker can be started")

    with monkeypatch.context() as patch:
        patch.setattr("florilegium.engine.execution.run._runner", fail)
        with pytest.raises(RunError):
            build(source, tmp_path / "more", shard_size=6)
    assert problems(tmp_path / "more") == []
    build(source, tmp_path / "more", shard_size=6)
    assert problems(tmp_path / "more") == []


def test_answers_of_a_retry_that_was_killed_before_it_wrote_the_shard_are_published(
    album: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    allowed = tmp_path / "allowed"
    moody = {"use": "tests.stages:Moody", "key": "cat", "allowed": str(allowed)}
    options = {"specialists": {"moody": moody}}
    assert build(album, tmp_path / "out", **options).totals.failures == {"not_now": 1}
    allowed.touch()
    with monkeypatch.context() as patch:
        patch.setattr("florilegium.engine.execution.worker.publish_shard", killed)
        with pytest.raises(KeyboardInterrupt):
            build(album, tmp_path / "out", retry=True, **options)
    assert build(album, tmp_path / "out", retry=True, **options).totals.failures == {}
    assert problems(tmp_path / "out") == []


def killed(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


def test_a_layer_that_a_killed_build_left_under_way_is_no_damage(
    album: Path, dataset: Path
) -> None:
    path = min((dataset / "layers").glob("bright-*/*.parquet"))
    layer, samples = parse_layer(path.read_bytes())
    some, others = samples[:2], ["0" * 32, *samples]
    left = path.with_name(f"{digest_of(others)}.parquet")
    left.write_bytes(layer_bytes(layer.renumbered({0: 0, 1: 1}), some, of=others))
    assert problems(dataset) == []
    left.write_bytes(layer_bytes(layer.renumbered({0: 0, 1: 1}), some, of=others[1:]))
    assert [problem.partition(" is damaged: ")[2] for problem in problems(dataset)] == [
        "it is of other samples; the next build of the shard asks the stage again"
    ]
    left.unlink()
    path.write_bytes(layer_bytes(layer.renumbered({0: 0, 1: 1}), some, of=samples))
    assert any("it is of other samples" in problem for problem in problems(dataset))

"""A refresh as a whole: what it builds, compares, publishes and holds back."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from florilegium.engine.core.errors import OutputInUse, StorageError, UsageError
from florilegium.engine.execution.preparation import prepare
from florilegium.engine.results import versions
from florilegium.engine.results.dataset import open_dataset
from florilegium.engine.results.manifest import MANIFEST, read_manifest
from florilegium.engine.storage.folder import Folder
from florilegium.engine.storage.lease import writing
from florilegium.pipelines.dataset.clean import clean
from florilegium.pipelines.dataset.files import HELD_BACK, HELD_BACK_PAGE, REFRESH, REFRESH_PAGE
from florilegium.pipelines.dataset.refreshed import (
    ImageCounts,
    TaskCounts,
    read_refreshed,
    version_of,
)
from florilegium.pipelines.dataset.status import read_status
from florilegium.pipelines.dataset.watching import watch
from florilegium.pipelines.refresh.refresh import refresh_dataset
from florilegium.pipelines.terminal.console import ERR
from florilegium.pipelines.verify.verify import verify_dataset
from tests.building import build, contents
from tests.pipelines.refresh.pictures import config_of, files, picture, put, refresh

FEW_GONE = {"limits": {"max_dropped_share": 0.2}}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    put(tmp_path / "source", *range(10))
    return tmp_path / "source"


@pytest.fixture
def output(tmp_path: Path) -> Path:
    return tmp_path / "out"


def keys_of(output: Path) -> list[str]:
    return [sample.key for sample in open_dataset(str(output))]


def problems(output: Path) -> list[str]:
    return list(verify_dataset(Folder(str(output))))


def test_the_first_refresh_publishes_whatever_the_limits(source: Path, output: Path) -> None:
    record = refresh(source, output, refresh={"limits": {"min_images": 1000}})
    assert (record.outcome, record.before) == ("published", "")
    assert record.images == ImageCounts(before=0, after=10, added=10)
    assert record.annotations["caption"] == TaskCounts(before=0, after=10, added=10)
    assert len(keys_of(output)) == 10
    assert problems(output) == []


def test_a_refresh_with_nothing_new_writes_nothing(source: Path, output: Path) -> None:
    refresh(source, output)
    before = files(output)
    record = refresh(source, output)
    assert record.outcome == "nothing"
    assert record.images == ImageCounts(before=10, after=10)
    assert files(output) == before


def test_new_changed_dropped_and_renamed_images_are_counted(source: Path, output: Path) -> None:
    refresh(source, output)
    put(source, 20, 21, 22)
    put(source, 1, seed=7)
    (source / "002.png").unlink()
    (source / "003.png").rename(source / "moved.png")
    record = refresh(source, output)
    assert record.images == ImageCounts(
        before=10, after=12, added=3, changed=1, dropped=1, renamed=1
    )
    assert record.examples == {
        "added": ["020", "021", "022"],
        "changed": ["001"],
        "dropped": ["002"],
        "renamed": ["003 -> moved"],
    }
    captions = record.annotations["caption"]
    assert (captions.before, captions.after) == (10, 12)
    assert captions.added - captions.dropped == 2
    assert problems(output) == []


def test_the_record_is_beside_the_manifest_of_which_it_speaks(source: Path, output: Path) -> None:
    record = refresh(source, output)
    folder = Folder(str(output))
    document = read_manifest(folder)
    assert document
    assert read_refreshed(folder, REFRESH) == record
    assert record.version == version_of(document)
    assert REFRESH not in document["files"]
    assert "Published" in (output / REFRESH_PAGE).read_text("utf-8")


def test_the_bytes_are_those_of_a_build(source: Path, output: Path, tmp_path: Path) -> None:
    refresh(source, output)
    put(source, 20, 21)
    (source / "004.png").unlink()
    refresh(source, output)
    again = tmp_path / "again"
    again.mkdir()
    shutil.copy(output / "index.parquet", again)
    config = config_of(source, again)
    build(source, again, specialists=config.specialists, shard_size=4)
    assert contents(output) == contents(again)


def test_an_exceeded_limit_holds_the_version_back_and_the_current_one_stays(
    source: Path, output: Path
) -> None:
    refresh(source, output, refresh=FEW_GONE)
    before = contents(output)
    keys = keys_of(output)
    for number in range(3):
        (source / f"{number:03d}.png").unlink()
    record = refresh(source, output, refresh=FEW_GONE)
    assert record.outcome == "held_back"
    assert [one.line for one in record.exceeded] == ["max_dropped_share: 0.3, the limit is 0.2"]
    assert {name: contents(output)[name] for name in before} == before
    assert keys_of(output) == keys
    assert read_refreshed(Folder(str(output)), HELD_BACK) == record
    assert "Held back" in (output / HELD_BACK_PAGE).read_text("utf-8")
    assert problems(output) == []


def held_back(source: Path, output: Path, **keys: Any) -> None:
    """Leave a version that is held back."""
    refresh(source, output, refresh=FEW_GONE, **keys)
    for number in range(3):
        (source / f"{number:03d}.png").unlink()
    assert refresh(source, output, refresh=FEW_GONE, **keys).outcome == "held_back"


def test_while_a_version_is_held_back_the_current_one_is_finished(
    source: Path, output: Path
) -> None:
    held_back(source, output)
    folder = Folder(str(output))
    status = read_status(folder)
    assert (status.is_finished, status.shards, status.shards_done) == (True, 3, 3)
    assert status.samples == 10
    assert status.held_back == ("max_dropped_share: 0.3, the limit is 0.2",)
    assert watch(folder, ERR) == status
    assert problems(output) == []
    assert refresh(source, output, accept=True, refresh=FEW_GONE).outcome == "published"
    status = read_status(folder)
    assert (status.is_finished, status.samples, status.held_back) == (True, 7, ())


def test_a_refresh_that_is_killed_while_a_version_is_held_back_is_not_finished(
    source: Path, output: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held_back(source, output)
    put(source, 20)
    with monkeypatch.context() as patch:
        patch.setattr("tests.stages.Describe.predict", killed)
        with pytest.raises(KeyboardInterrupt):
            refresh(source, output, refresh=FEW_GONE)
    assert not read_status(Folder(str(output))).is_finished
    with pytest.raises(UsageError, match="was interrupted"):
        clean(Folder(str(output)))


def test_cleaning_keeps_what_a_version_that_is_held_back_was_made_from(
    source: Path, output: Path
) -> None:
    log = output.parent / "asked"
    refresh(source, output, specialists={"old": {"use": "tests.stages:Brightest"}})
    stage = {"tags": {"use": "tests.stages:Counting", "log": str(log)}}
    held_back(source, output, specialists=stage)
    kept = {name for name in files(output) if name.startswith("layers/")}
    left = {name for name in kept if not name.startswith("layers/old")}
    asked = log.read_text("utf-8")
    clean(Folder(str(output)))
    assert left <= files(output).keys()
    assert kept - files(output).keys()
    for path in (output / "shards").glob("*_stats.json"):  # made again, from their layers
        if path.name.removesuffix("_stats.json") not in versions.live_shards(Folder(str(output))):
            path.unlink()
    record = refresh(source, output, accept=True, refresh=FEW_GONE, specialists=stage)
    assert (record.outcome, log.read_text("utf-8")) == ("published", asked)


def killed(*arguments: Any, **options: Any) -> None:
    raise KeyboardInterrupt


def test_what_was_held_back_is_published_without_work(source: Path, output: Path) -> None:
    log = output.parent / "asked"
    stage = {"tags": {"use": "tests.stages:Counting", "log": str(log)}}
    held_back(source, output, specialists=stage)
    asked = log.read_text("utf-8")
    shards = {name: data for name, data in files(output).items() if name.startswith("shards")}
    record = refresh(source, output, accept=True, refresh=FEW_GONE, specialists=stage)
    assert (record.outcome, record.is_accepted) == ("published", True)
    assert [one.limit for one in record.exceeded] == ["max_dropped_share"]
    assert log.read_text("utf-8") == asked
    assert {name: data for name, data in files(output).items() if name in shards}.items() <= (
        shards.items()
    )
    assert len(keys_of(output)) == 7
    assert not (output / HELD_BACK).exists()
    assert not (output / HELD_BACK_PAGE).exists()
    assert problems(output) == []


def test_what_a_version_cost_is_counted_from_all_refreshes_that_held_it_back(
    source: Path, output: Path
) -> None:
    few_changed = {"limits": {"max_changed_share": 0.2}}
    assert refresh(source, output).spent.asked == {"bright": 10, "describe": 10}
    put(source, 1, 2, 3, seed=5)
    record = refresh(source, output, refresh=few_changed)
    assert record.outcome == "held_back"
    assert record.spent.asked == {"bright": 3, "describe": 3}
    put(source, 1, 2, 3, 4, seed=5)
    assert refresh(source, output, refresh=few_changed).spent.asked["bright"] == 4
    record = refresh(source, output, refresh=few_changed, accept=True)
    assert (record.outcome, record.spent.asked["bright"]) == ("published", 4)


def test_only_the_version_that_was_looked_at_is_accepted(source: Path, output: Path) -> None:
    held_back(source, output)
    (source / "003.png").unlink()
    record = refresh(source, output, accept=True, refresh=FEW_GONE)
    assert record.outcome == "held_back"
    assert record.images.dropped == 4
    assert len(keys_of(output)) == 10


def test_images_that_come_back_after_a_version_was_held_back_are_where_they_were(
    source: Path, output: Path
) -> None:
    log = output.parent / "asked"
    stage = {"tags": {"use": "tests.stages:Counting", "log": str(log)}}
    held_back(source, output, specialists=stage)
    asked = log.read_text("utf-8")
    before = contents(output)
    put(source, 0, 1, 2)
    record = refresh(source, output, refresh=FEW_GONE, specialists=stage)
    assert record.outcome == "nothing"
    assert log.read_text("utf-8") == asked
    assert contents(output).items() <= before.items()
    assert not (output / HELD_BACK).exists()
    assert problems(output) == []


def test_what_was_held_back_is_deleted_when_the_source_is_again_as_it_was(
    source: Path, output: Path, tmp_path: Path
) -> None:
    kept = shutil.copytree(source, tmp_path / "kept")
    held_back(source, output)
    for number in range(3):
        shutil.copy2(kept / f"{number:03d}.png", source)
    assert refresh(source, output, refresh=FEW_GONE).outcome == "nothing"
    assert versions.live_shards(Folder(str(output))) == {
        path.stem for path in (output / "shards").glob("*.tar")
    }


def test_an_image_that_comes_back_when_another_has_its_key_gets_a_key_of_its_own(
    source: Path, output: Path
) -> None:
    refresh(source, output)
    (source / "000.png").rename(output.parent / "kept.png")
    (source / "000.bmp").write_bytes(picture(77))
    limits = {"limits": {"max_changed_share": 0.05}}
    assert refresh(source, output, refresh=limits).outcome == "held_back"
    (output.parent / "kept.png").rename(source / "000.png")
    refresh(source, output, refresh=FEW_GONE)
    keys = keys_of(output)
    assert (len(keys), len(set(keys))) == (11, 11)
    assert problems(output) == []


def test_images_that_come_back_after_a_refresh_was_killed_are_where_they_were(
    source: Path, output: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = output.parent / "asked"
    stage = {"tags": {"use": "tests.stages:Counting", "log": str(log)}}
    refresh(source, output, specialists=stage)
    asked = log.read_text("utf-8")
    (source / "000.png").rename(output.parent / "kept.png")
    with monkeypatch.context() as patch:
        patch.setattr("florilegium.engine.execution.run.survey", interrupted)
        with pytest.raises(KeyboardInterrupt):
            refresh(source, output, specialists=stage)
    (output.parent / "kept.png").rename(source / "000.png")
    assert refresh(source, output, specialists=stage).outcome == "nothing"
    assert log.read_text("utf-8") == asked


def interrupted(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


def test_a_build_that_publishes_leaves_nothing_of_the_version_that_was_held_back(
    source: Path, output: Path
) -> None:
    held_back(source, output)
    build(source, output, specialists=config_of(source, output).specialists, shard_size=4)
    assert len(keys_of(output)) == 7
    assert not (output / HELD_BACK).exists()
    assert not (output / HELD_BACK_PAGE).exists()
    assert problems(output) == []


def test_too_many_dead_letters_hold_a_version_back(source: Path, output: Path) -> None:
    refresh(source, output)
    for number in range(20, 25):
        (source / f"{number:03d}.png").write_bytes(b"no picture")
    record = refresh(source, output)
    assert record.outcome == "held_back"
    assert [one.limit for one in record.exceeded] == ["max_dead_letter_share"]
    assert record.dead_letters == {"before": {}, "after": {"not_an_image": 5}}
    assert len(keys_of(output)) == 10


def test_an_image_that_becomes_a_dead_letter_is_dropped_and_lost(
    source: Path, output: Path
) -> None:
    refresh(source, output)
    (source / "001.png").write_bytes(b"no picture")
    record = refresh(source, output)
    assert record.images == ImageCounts(before=10, after=9, dropped=1, lost=1)


def test_only_shards_that_differ_are_read(
    source: Path, output: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refresh(source, output)
    put(source, 20)
    read: list[str] = []
    original = Folder.opened

    def opened(self: Folder, name: str) -> Any:
        read.append(name)
        return original(self, name)

    monkeypatch.setattr(Folder, "opened", opened)
    monkeypatch.setattr("florilegium.pipelines.report.page.write_report", lambda output, shards: {})
    record = refresh(source, output)
    assert record.shards_read == 1
    assert {name.partition("/")[2][:6] for name in read if "shards/" in name} == {"000003"}


def test_a_kill_before_the_switch_leaves_the_version_before_and_the_next_refresh_goes_on(
    source: Path, output: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refresh(source, output)
    keys = keys_of(output)
    put(source, 20, 21)

    with monkeypatch.context() as patch:
        patch.setattr("florilegium.pipelines.build.switch", killed)
        with pytest.raises(KeyboardInterrupt):
            refresh(source, output)
    assert keys_of(output) == keys
    record = refresh(source, output)
    assert (record.outcome, record.images.added) == ("published", 2)
    assert problems(output) == []
    assert versions.live_shards(Folder(str(output))) == {
        path.stem for path in (output / "shards").glob("*.tar")
    }


def test_a_version_that_a_build_made_is_compared_too(source: Path, output: Path) -> None:
    config = config_of(source, output)
    build(source, output, specialists=config.specialists, shard_size=4)
    put(source, 20)
    record = refresh(source, output)
    assert record.images == ImageCounts(before=10, after=11, added=1)
    assert record.drift["scores/bright"].before == 10
    fresh = refresh(source, output.parent / "fresh")
    assert record.distributions == fresh.distributions


def test_a_record_that_was_changed_is_named(source: Path, output: Path) -> None:
    refresh(source, output)
    document = json.loads((output / REFRESH).read_bytes())
    document["images"]["added"] = 3
    (output / REFRESH).write_text(json.dumps(document), "utf-8")
    (problem,) = problems(output)
    assert "its digest differs" in problem
    put(source, 20)
    with pytest.raises(StorageError, match="delete it, and the next refresh compares without it"):
        refresh(source, output)


def test_an_output_that_is_being_written_is_refused(source: Path, output: Path) -> None:
    config = config_of(source, output)
    run = prepare(config.run)
    with writing(run.output), pytest.raises(OutputInUse):
        refresh_dataset(run, config.refresh)
    assert not (output / MANIFEST).exists()


def test_a_picture_is_seeded() -> None:
    assert picture(3) == picture(3) != picture(4)


def test_images_that_are_taken_down_are_counted_and_never_held_back_for_it(
    source: Path, output: Path, tmp_path: Path
) -> None:
    refresh(source, output, refresh=FEW_GONE)
    listed = tmp_path / "takedown.txt"
    listed.write_text("".join(f"key:{number:03d}\n" for number in range(5)), "utf-8")
    limits = {"max_dropped_share": 0.2, "max_dead_letter_share_increase": 0.1}
    record = refresh(source, output, takedown=str(listed), refresh={"limits": limits})
    assert record.outcome == "published"
    assert record.images == ImageCounts(before=10, after=5, dropped=5, lost=5, taken_down=5)
    assert record.dead_letters["after"] == {"taken_down": 5}
    assert len(keys_of(output)) == 5
    assert problems(output) == []


def test_a_dataset_on_object_storage_is_refreshed(source: Path, bucket: str) -> None:
    output, keys = f"{bucket}/out", {"refresh": FEW_GONE, "keep_days": 1, "shard_size": 10}
    assert refresh(source, output, **keys).outcome == "published"
    assert refresh(source, output, **keys).outcome == "nothing"
    for number in range(3):
        (source / f"{number:03d}.png").unlink()
    assert refresh(source, output, **keys).outcome == "held_back"
    assert len(open_dataset(output)) == 10
    record = refresh(source, output, accept=True, **keys)
    assert (record.outcome, record.images.dropped) == ("published", 3)
    assert len(open_dataset(output)) == 7
    assert versions.version_files(Folder(output)) == ["versions/000001.json"]
    assert list(verify_dataset(Folder(output))) == []

"""What a run asks for again: only what is new, changed, or to be retried.

Local workers are asked here; `make chaos` asks those of Ray.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from florilegium.engine.results.manifest import Manifest
from tests.building import BRIGHT_ENOUGH, DESCRIBED, build, contents
from tests.contract.test_runners import IMAGES, Runner, asked, counting


@pytest.fixture
def runner() -> Runner:
    return {"kind": "local"}


def test_new_images_run_alone_and_old_shards_do_not_change(
    album: Path, tmp_path: Path, runner: Runner
) -> None:
    folder, log = tmp_path / "photos", tmp_path / "log"
    shutil.copytree(album, folder)
    keys: dict[str, Any] = {
        "runner": runner, "shard_size": 8, "specialists": {"counting": counting(log)},
    }  # fmt: skip
    build(folder, tmp_path / "out", **keys)
    before = contents(tmp_path / "out")
    shutil.copy(album / "cat.jpg", folder / "a_new_cat.jpg")
    manifest = build(folder, tmp_path / "out", **keys)
    after = contents(tmp_path / "out")
    assert asked(log)[IMAGES:] == ["a_new_cat"]
    assert [shard.samples for shard in manifest.shards] == [8, 4, 1]
    assert all(after[name] == data for name, data in before.items() if name.startswith("shards/"))


def test_a_changed_image_runs_alone(album: Path, tmp_path: Path, runner: Runner) -> None:
    folder, log = tmp_path / "photos", tmp_path / "log"
    shutil.copytree(album, folder)
    keys: dict[str, Any] = {"runner": runner, "specialists": {"counting": counting(log)}}
    build(folder, tmp_path / "out", **keys)
    shutil.copy(album / "cat.jpg", folder / "cup.jpg")
    build(folder, tmp_path / "out", **keys)
    assert asked(log)[IMAGES:] == ["cup"]
    build(folder, tmp_path / "fresh", **keys)
    assert contents(tmp_path / "out") == contents(tmp_path / "fresh")


def test_a_removed_image_leaves_without_any_stage_running(
    album: Path, tmp_path: Path, runner: Runner
) -> None:
    folder, log = tmp_path / "photos", tmp_path / "log"
    shutil.copytree(album, folder)
    keys: dict[str, Any] = {
        "runner": runner, "shard_size": 4, "specialists": {"counting": counting(log)},
    }  # fmt: skip
    build(folder, tmp_path / "out", **keys)
    removed = sorted(folder.iterdir())[:5]
    for path in removed:
        path.unlink()
    manifest = build(folder, tmp_path / "out", **keys)
    assert len(asked(log)) == IMAGES
    assert manifest.totals.inputs == IMAGES - 5
    assert [shard.number for shard in manifest.shards] == [1, 2]
    assert not list((tmp_path / "out" / "shards").glob("000000-*.tar"))


def test_a_new_threshold_changes_verdicts_without_any_stage_running(
    album: Path, tmp_path: Path, runner: Runner
) -> None:
    measured, predicted = tmp_path / "measured", tmp_path / "predicted"

    def once(minimum: float) -> Manifest:
        enough = {**BRIGHT_ENOUGH["enough"], "minimum": minimum, "log": str(measured)}
        stages = {**DESCRIBED, "counting": counting(predicted)}
        return build(
            album, tmp_path / "out", runner=runner, specialists=stages, filters={"enough": enough}
        )

    strict, lax = once(0.999), once(0.1)
    assert len(asked(measured)) == len(asked(predicted)) == IMAGES
    assert strict.totals.tasks["object_detection"]["kept"] == 0
    assert strict.totals.drops == {"enough/too_dark": IMAGES, "lineage/parent_dropped": IMAGES}
    assert lax.totals.tasks["object_detection"]["kept"] == IMAGES


def test_a_changed_stage_runs_again_with_its_readers_only(
    album: Path, tmp_path: Path, runner: Runner
) -> None:
    changed, kept = tmp_path / "changed", tmp_path / "kept"

    def once(saying: str) -> None:
        stages = {**DESCRIBED, "changed": counting(changed, saying), "kept": counting(kept)}
        build(album, tmp_path / "out", runner=runner, specialists=stages)

    once("first")
    once("second")
    assert len(asked(changed)) == 2 * IMAGES
    assert len(asked(kept)) == IMAGES


def test_failed_images_are_tried_again_only_when_asked(
    album: Path, tmp_path: Path, runner: Runner
) -> None:
    allowed = tmp_path / "allowed"
    stages = {
        "moody": {"use": "tests.stages:Moody", "key": "cup", "allowed": str(allowed)},
        "describe": DESCRIBED["describe"],
    }
    keys: dict[str, Any] = {"runner": runner, "specialists": stages}
    assert build(album, tmp_path / "out", **keys).totals.dead_letters == 1
    allowed.touch()
    assert build(album, tmp_path / "out", **keys).totals.dead_letters == 1
    mended = build(album, tmp_path / "out", retry=True, **keys)
    assert mended.totals.dead_letters == 0
    assert mended.totals.tasks["caption"]["kept"] == IMAGES


def test_a_new_threshold_loads_no_model(album: Path, tmp_path: Path, runner: Runner) -> None:
    stages = {"fragile": {"use": "tests.stages:LoadsOnce", "mark": str(tmp_path / "mark")}}

    def once(minimum: float) -> Manifest:
        enough = {"use": "tests.stages:BrightEnough", "minimum": minimum}
        return build(
            album, tmp_path / "out", runner=runner, specialists=stages, filters={"enough": enough}
        )

    strict, lax = once(0.999), once(0.0)
    assert strict.totals.annotations_kept < lax.totals.annotations_kept

"""One contract for both runners: same bytes, nothing lost, only the guilty image fails."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from florilegium.engine.core.errors import ConfigError, FlorilegiumError, RunError
from florilegium.engine.execution.preparation import prepare
from florilegium.engine.execution.progress import Progress
from florilegium.engine.execution.run import execute
from florilegium.engine.results.manifest import Manifest
from tests.building import BRIGHT_ENOUGH, DESCRIBED, build, configure, contents

Runner = dict[str, Any]
IMAGES = 12


def letters(manifest: Manifest) -> dict[str, tuple[str, str]]:
    return {letter.key: (letter.stage, letter.reason) for _, letter in manifest.dead_letters}


def asked(log: Path) -> list[str]:
    return log.read_text(encoding="utf-8").split() if log.exists() else []


def counting(log: Path, saying: str = "seen") -> dict[str, Any]:
    return {"use": "tests.stages:Counting", "log": str(log), "saying": saying}


def test_a_dataset_has_the_same_bytes_from_either_runner(
    album: Path, tmp_path: Path, runner: Runner
) -> None:
    """Also where answers are stored while others are asked for."""
    small = {name: {**stage, "batch_size": 1} for name, stage in DESCRIBED.items()}
    keys: dict[str, Any] = {"specialists": small, "filters": BRIGHT_ENOUGH, "shard_size": 5}
    both = {**runner, "workers": 2, "keep_s": 0}
    build(album, tmp_path / "here", runner=both, **keys)
    build(album, tmp_path / "reference", **keys)
    assert contents(tmp_path / "here") == contents(tmp_path / "reference")


def test_sample_filters_drop_the_same_from_either_runner(
    album: Path, tmp_path: Path, runner: Runner
) -> None:
    """Also where one compares the run, one reads captions, and only some samples are left."""

    def curated(where: Runner, folder: Path, bright: float) -> Manifest:
        def stage(use: str, **options: Any) -> dict[str, Any]:
            return {"use": f"tests.curating:{use}", "log": str(folder / use), **options}

        folder.mkdir(exist_ok=True)
        return build(
            album,
            folder / "out",
            runner=where,
            shard_size=5,
            sample_filters={
                "bright": stage("Brightness", minimum=bright, batch_size=2),
                "repeated": stage("Repeated", within=2),
                "wordy": stage("OfCaptions", minimum=7),
            },
            specialists={"captions": stage("Captions"), "tags": stage("Tags", batch_size=3)},
        )

    here, reference = tmp_path / "here", tmp_path / "reference"
    curated(runner, here, 150)
    first = asked(here / "Tags")
    totals = curated(runner, here, 100).totals
    assert totals == curated({"kind": "in_process"}, reference, 100).totals
    assert contents(here / "out") == contents(reference / "out")
    drops = ("bright/too_dark", "repeated/repeated", "wordy/few_words")
    assert tuple(totals.sample_drops) == drops
    keys = [key for key in asked(here / "Tags") if key != "loaded"]
    assert sorted(keys) == sorted(key for key in asked(reference / "Tags") if key != "loaded")
    assert len(keys) == totals.samples
    assert 0 < len([key for key in first if key != "loaded"]) < len(keys)


def test_every_input_is_a_sample_or_a_dead_letter(
    album: Path, tmp_path: Path, runner: Runner
) -> None:
    folder = tmp_path / "photos"
    shutil.copytree(album, folder)
    (folder / "empty.jpg").write_bytes(b"")
    (folder / "not an image.png").write_text("hello", encoding="utf-8")
    (folder / "cut.jpg").write_bytes((album / "cat.jpg").read_bytes()[:900])
    manifest = build(folder, tmp_path / "out", runner=runner)
    totals = manifest.totals
    assert (totals.inputs, totals.samples, totals.dead_letters) == (IMAGES + 3, IMAGES, 3)
    assert letters(manifest) == {
        "empty": ("source", "empty_file"),
        "not_an_image": ("source", "not_an_image"),
        "cut": ("source", "corrupt_image"),
    }
    rows = pq.read_table(tmp_path / "out" / "dead_letters.parquet").to_pylist()
    assert sorted(row["key"] for row in rows) == ["cut", "empty", "not_an_image"]


FAILURES = {
    "astronaut": ("raise", "stage_failed"),
    "cat": ("refuse", "too_ugly"),
    "cup": ("nan", "invalid_output"),
    "flower": ("outside", "invalid_output"),
    "motorcycle": ("score", "invalid_output"),
    "pagoda": ("count", "invalid_output"),
}
"""How a stage fails about an image, and the reason of the dead letter."""


def test_a_stage_that_fails_costs_only_the_guilty_image(
    album: Path, tmp_path: Path, runner: Runner
) -> None:
    failing = {
        how: {"use": "tests.stages:Trouble", "key": key, "how": how}
        for key, (how, _) in FAILURES.items()
    }
    stages = {**failing, "describe": DESCRIBED["describe"]}
    manifest = build(album, tmp_path / "out", runner=runner, specialists=stages)
    assert letters(manifest) == FAILURES
    described = len(failing) * (IMAGES - len(FAILURES))
    assert manifest.totals.tasks["caption"] == {"kept": described, "dropped": 0}


def test_a_worker_without_a_gpu_of_its_own_sees_none(
    album: Path, tmp_path: Path, ray_cluster: None
) -> None:
    logs = {"blind": tmp_path / "blind", "sighted": tmp_path / "sighted"}
    stages = {
        name: {"use": "tests.stages:Sighted", "log": str(log), "num_gpus": int(name == "sighted")}
        for name, log in logs.items()
    }
    build(
        album, tmp_path / "out", runner={"kind": "ray", "workers": 1}, specialists=stages
    )  # fmt: skip
    seen = {name: set(asked(log)) for name, log in logs.items()}
    assert seen == {"blind": {"''"}, "sighted": {"'0'"}}


def test_stages_in_pools_of_their_own_say_the_same(
    album: Path, tmp_path: Path, ray_cluster: None
) -> None:
    on_gpu = {**DESCRIBED, "bright": {**DESCRIBED["bright"], "num_gpus": 0.5, "workers": 2}}
    keys: dict[str, Any] = {"filters": BRIGHT_ENOUGH, "shard_size": 5}
    ray = {"kind": "ray", "workers": 1}
    build(album, tmp_path / "pools", runner=ray, specialists=on_gpu, **keys)
    build(album, tmp_path / "reference", specialists=on_gpu, **keys)
    assert contents(tmp_path / "pools") == contents(tmp_path / "reference")


def test_a_gpu_worker_takes_two_calls_at_once_where_its_stage_allows(
    album: Path, tmp_path: Path, ray_cluster: None
) -> None:
    meeting = {"use": "tests.stages:Meeting", "num_gpus": 1, "batch_size": 3}
    manifest = build(
        album, tmp_path / "out", runner={"kind": "ray", "workers": 1},
        specialists={"meeting": meeting}, shard_size=12,
    )  # fmt: skip
    assert manifest.totals.samples == IMAGES


def test_a_stage_that_waits_for_a_service_has_one_worker_of_its_own(
    album: Path, tmp_path: Path, ray_cluster: None
) -> None:
    log = tmp_path / "log"
    stages = {**DESCRIBED, "remote": {"use": "tests.stages:Remote", "log": str(log)}}
    build(
        album, tmp_path / "out", runner={"kind": "ray", "workers": 2},
        specialists=stages, shard_size=3,
    )  # fmt: skip
    assert len(asked(log)) > 1
    assert len(set(asked(log))) == 1


def test_a_cluster_that_is_too_small_is_an_error_before_anything_runs(
    album: Path, tmp_path: Path, ray_cluster: None
) -> None:
    greedy = {"bright": {**DESCRIBED["bright"], "num_gpus": 2}}
    with pytest.raises(RunError, match=r"bright 2 GPU are wanted, .* and the cluster has 1"):
        build(album, tmp_path / "out", runner={"kind": "ray", "workers": 1}, specialists=greedy)


def test_a_cluster_with_room_for_fewer_workers_is_used_and_noted(
    album: Path, tmp_path: Path, ray_cluster: None
) -> None:
    stages = {"bright": {**DESCRIBED["bright"], "num_gpus": 1, "workers": 3}}
    run = prepare(
        configure(album, tmp_path / "out", runner={"kind": "ray", "workers": 9}, specialists=stages)
    )
    progress = Progress()
    assert execute(run, progress).totals.samples == IMAGES
    assert [note.partition(":")[0] for note in progress.notes] == [
        "pool 'cpu' starts with 2 workers of 9",
        "pool 'bright' starts with 1 worker of 3",
    ]


def test_a_model_that_cannot_be_loaded_ends_the_run_with_its_reason(
    album: Path, tmp_path: Path, runner: Runner
) -> None:
    broken = {"broken": {"use": "tests.stages:Unloadable"}}
    with pytest.raises(FlorilegiumError, match="the weights are not there"):
        build(album, tmp_path / "out", runner=runner, specialists=broken)


def test_finished_work_is_not_repeated(album: Path, tmp_path: Path, runner: Runner) -> None:
    log = tmp_path / "log"
    keys: dict[str, Any] = {"runner": runner, "specialists": {"counting": counting(log)}}
    build(album, tmp_path / "out", **keys)
    before = contents(tmp_path / "out")
    assert len(asked(log)) == IMAGES
    build(album, tmp_path / "out", **keys)
    assert len(asked(log)) == IMAGES
    assert contents(tmp_path / "out") == before


def test_a_removed_dead_letter_is_forgotten(album: Path, tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    shutil.copytree(album, folder)
    (folder / "bad.jpg").write_bytes(b"not an image")
    assert build(folder, tmp_path / "out").totals.dead_letters == 1
    (folder / "bad.jpg").unlink()
    mended = build(folder, tmp_path / "out").totals
    assert (mended.inputs, mended.samples, mended.dead_letters) == (IMAGES, IMAGES, 0)


def test_too_many_failures_are_refused_again_and_again(tmp_path: Path) -> None:
    folder = tmp_path / "garbage"
    folder.mkdir()
    for number in range(150):
        (folder / f"{number:03d}.jpg").write_bytes(b"garbage")
    for _ in range(3):
        with pytest.raises(RunError, match=r"images failed \(not_an_image \d+\), more than"):
            build(folder, tmp_path / "out", shard_size=50)
    assert not (tmp_path / "out" / "manifest.json").exists()


def test_an_output_inside_the_source_is_refused(album: Path, tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    shutil.copytree(album, folder)
    with pytest.raises(ConfigError, match="lies inside the source"):
        build(folder, folder / "out")


def test_the_spelling_of_a_url_changes_nothing(album: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    keys: dict[str, Any] = {"specialists": {"counting": counting(log)}}
    build(f"{album}", tmp_path / "out", **keys)
    before = contents(tmp_path / "out")
    build(f"{album}/", tmp_path / "out", **keys)
    after = contents(tmp_path / "out")
    assert len(asked(log)) == IMAGES
    assert all(after[name] == data for name, data in before.items() if name.startswith("shards/"))

"""Which runner a build takes, and when it does without a Ray."""

from __future__ import annotations

import json
import shutil
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest

from florilegium.engine.core.errors import WorkerDied
from florilegium.engine.execution import ray_runner
from florilegium.engine.execution.answer import PROCESS_DIED
from florilegium.engine.execution.finished import divide, survey
from florilegium.engine.execution.local_runner import LocalRunner
from florilegium.engine.execution.preparation import Run, prepare
from florilegium.engine.execution.progress import Progress
from florilegium.engine.execution.run import execute
from florilegium.engine.execution.runner import Opened
from florilegium.engine.execution.runner_choice import SMALL, may_be_answered, one_process
from florilegium.engine.execution.scheduler import Job
from florilegium.engine.planning.partition import ShardSpec
from florilegium.pipelines.build import put_in_place
from tests.building import BRIGHT_ENOUGH, DESCRIBED, build, configure, contents, shard_file

STRICTER = {"enough": {**BRIGHT_ENOUGH["enough"], "minimum": 0.7}}
FEW: dict[str, Any] = {"specialists": DESCRIBED, "filters": BRIGHT_ENOUGH, "shard_size": 5}


class InPlaceOfRay(LocalRunner):
    """Does the work of Ray, and writes down the shards that it is given."""

    opened: list[str]

    async def open(self, spec: ShardSpec, *, previous_digest: str, retry: bool) -> Opened:
        self.opened.append(spec.name)
        return await super().open(spec, previous_digest=previous_digest, retry=retry)


@pytest.fixture
def by_ray(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The shards that Ray is given, which no process has started before."""
    opened: list[str] = []
    monkeypatch.setattr(InPlaceOfRay, "opened", opened, raising=False)
    monkeypatch.setattr(ray_runner, "RayRunner", InPlaceOfRay)
    if "ray" in sys.modules:
        monkeypatch.setattr(sys.modules["ray"], "is_initialized", lambda: False)
    return opened


def built(album: Path, output: Path, **keys: Any) -> list[str]:
    """Build, and return the notes."""
    run, progress = prepare(configure(album, output, **{**FEW, **keys})), Progress()
    put_in_place(run, execute(run, progress))
    return progress.notes


def jobs_of(run: Run) -> list[Job]:
    return [*survey(run, divide(run, replace=False)).jobs]


def test_few_images_are_asked_about_in_one_process_and_a_note_says_so(
    album: Path, tmp_path: Path, by_ray: list[str]
) -> None:
    notes = built(album, tmp_path / "auto", runner="auto")
    built(album, tmp_path / "reference")
    assert notes == ["runner: one process, which is done with 12 images before Ray is"]
    assert by_ray == []
    assert contents(tmp_path / "auto") == contents(tmp_path / "reference")


ON_GPU = {**DESCRIBED, "bright": {**DESCRIBED["bright"], "num_gpus": 0.5}}
REMOTE = {**DESCRIBED, "remote": {"use": "tests.stages:Remote", "log": "/dev/null"}}


@pytest.mark.parametrize(
    "keys",
    [
        {"runner": "ray"},
        {"runner": {"address": "auto"}},
        {"runner": {"workers": 1}},
        {"runner": {"share": 0.5}},
        {"runner": {"max_gpus": 1}},
        {"runner": {"label_selector": {"spot": "no"}}},
        {"runner": {"wait_for_nodes_s": 1}},
        {"runner": {"object_store_mb": 80}},
        {"specialists": ON_GPU},
        {"specialists": REMOTE},
    ],
)
def test_what_only_ray_does_is_done_by_ray(
    album: Path, tmp_path: Path, by_ray: list[str], keys: dict[str, Any]
) -> None:
    run = prepare(configure(album, tmp_path / "out", **{**FEW, "runner": "auto", **keys}))
    assert one_process(run, jobs_of(run)) == ""


def test_many_images_are_for_ray(album: Path, tmp_path: Path, by_ray: list[str]) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(SMALL + 1):
        shutil.copyfile(album / "cat.jpg", folder / f"{number:02d}.jpg")
    run = prepare(configure(folder, tmp_path / "out", **FEW, runner="auto"))
    jobs = jobs_of(run)
    assert one_process(run, jobs) == ""
    assert one_process(run, jobs[1:])  # those of a part of the shards are few enough


def test_images_in_archives_are_not_counted(album: Path, tmp_path: Path, by_ray: list[str]) -> None:
    with tarfile.open(tmp_path / "photos.tar", "w") as archive:
        archive.add(album / "cat.jpg", "cat.jpg")
    run = prepare(configure(tmp_path / "photos.tar", tmp_path / "out", **FEW, runner="auto"))
    assert one_process(run, jobs_of(run)) == ""


@pytest.mark.parametrize("kind", ["auto", "ray"])
def test_a_build_that_has_nothing_to_ask_starts_no_ray(
    album: Path, tmp_path: Path, by_ray: list[str], kind: str
) -> None:
    build(album, tmp_path / "out", **FEW)
    notes = built(album, tmp_path / "out", filters=STRICTER, runner=kind)
    build(album, tmp_path / "reference", **{**FEW, "filters": STRICTER})
    assert (by_ray, notes) == ([], [])
    assert contents(tmp_path / "out") == contents(tmp_path / "reference")


def build_lacking_an_answer(album: Path, output: Path) -> None:
    """Build shards, and delete a layer of the second one."""
    build(album, output, **FEW)
    digest = json.loads(shard_file(output, "_stats.json", 1).read_text())["samples_digest"]
    (lacking,) = (output / "layers").glob(f"describe-*/{digest}.parquet")
    lacking.unlink()


def test_shards_that_lack_an_answer_are_for_ray_and_those_before_them_are_not(
    album: Path, tmp_path: Path, by_ray: list[str]
) -> None:
    build_lacking_an_answer(album, tmp_path / "out")
    built(album, tmp_path / "out", filters=STRICTER, runner="ray")
    build(album, tmp_path / "reference", **{**FEW, "filters": STRICTER})
    assert by_ray == ["000001", "000002"]
    assert contents(tmp_path / "out") == contents(tmp_path / "reference")


def test_no_process_looks_for_answers_of_a_stage_that_was_never_asked(
    album: Path, tmp_path: Path, by_ray: list[str]
) -> None:
    build(album, tmp_path / "out", **FEW)
    same = prepare(configure(album, tmp_path / "out", **{**FEW, "filters": STRICTER}, runner="ray"))
    assert may_be_answered(same, jobs_of(same))
    more = {**DESCRIBED, "second": {"use": "tests.stages:Second"}}
    other = prepare(
        configure(album, tmp_path / "out", **{**FEW, "specialists": more}, runner="ray")
    )
    assert not may_be_answered(other, jobs_of(other))


def test_a_shard_that_lacks_an_answer_is_for_ray_when_its_reader_died_first(
    album: Path, tmp_path: Path, by_ray: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def died(self: LocalRunner, spec: ShardSpec, **options: object) -> Opened:
        raise WorkerDied("it was ended by SIGKILL", reason=PROCESS_DIED)

    build_lacking_an_answer(album, tmp_path / "out")
    monkeypatch.setattr(LocalRunner, "open", died)
    built(album, tmp_path / "out", filters=STRICTER, runner="ray")
    assert by_ray == ["000001", "000002"]

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from florilegium.engine.execution.preparation import prepare
from florilegium.engine.execution.progress import Progress
from florilegium.engine.execution.run import execute
from florilegium.engine.storage.folder import Folder
from florilegium.pipelines.build import put_in_place
from florilegium.pipelines.dataset.lineage import Round, Student, write_lineage
from florilegium.pipelines.merge.calibration import Calibration
from florilegium.pipelines.training.files import digest_of_file
from florilegium.pipelines.verify.verify import verify_dataset
from tests.building import build, configure

FIRST = Round(
    number=0, parent=-1, recipe="r", measured_by="audit", quality={}, is_promoted=True, reason="x"
)
WEIGHTS = "rounds/1/students/fold_0/model.safetensors"


@pytest.fixture(scope="module")
def refined(album: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset with two rounds, a student, and a calibration of a merge. Read only."""
    output = tmp_path_factory.mktemp("refined") / "out"
    calibration = Calibration(voters=("bright",), tasks={})
    stages = {
        "bright": {"use": "tests.stages:Brightest"},
        "boxes": {"use": "merge", "tasks": ["object_detection"], "reads": ["bright"]},
    }
    calibration.save(Folder(str(output)), "rounds/1/calibration/boxes.json")
    file = output / "rounds/1/calibration/boxes.json"
    calibrated = {**stages, "boxes": {**stages["boxes"], "calibration": str(file)}}
    build(album, output / "rounds/0", specialists=stages)
    build(album, output / "rounds/0/candidates/0")
    build(album, output / "rounds/1", specialists=calibrated)
    weights = output / WEIGHTS
    weights.parent.mkdir(parents=True)
    weights.write_bytes(b"weights" * 99)
    student = Student(fold=0, digest=digest_of_file(weights), steps=1, losses={"caption": 0.5})
    rounds = [FIRST, replace(FIRST, number=1, parent=0, students=(student,))]
    for one in rounds:
        (output / f"rounds/{one.number}/round.json").write_bytes(one.to_json())
    run = prepare(configure(album, output, specialists=calibrated))
    manifest = execute(run, Progress())
    write_lineage(Folder(str(output)), rounds)
    put_in_place(run, manifest)
    return output


@pytest.fixture
def dataset(refined: Path, tmp_path: Path) -> Path:
    return shutil.copytree(refined, tmp_path / "out")


def problems(dataset: Path) -> list[str]:
    return list(verify_dataset(Folder(str(dataset))))


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def append(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"\n")


def test_every_dataset_of_a_refinement_is_read(dataset: Path) -> None:
    checked: set[str] = set()
    assert list(verify_dataset(Folder(str(dataset)), checked=checked)) == []
    assert {
        *("refine.json", "rounds/0/round.json", "rounds/1/manifest.json", WEIGHTS),
        *("rounds/1/calibration/boxes.json", "rounds/0/candidates/0/manifest.json"),
    } <= checked


@pytest.mark.attack("changes")
@pytest.mark.parametrize(
    "name",
    [
        *("refine.json", "rounds/0/round.json", "rounds/1/manifest.json", WEIGHTS),
        *("rounds/1/calibration/boxes.json", "rounds/0/candidates/0/statistics.json"),
    ],
)
@pytest.mark.parametrize("damage", [flip, append, Path.unlink])
def test_a_file_of_a_round_that_was_changed_is_named(
    dataset: Path, name: str, damage: Callable[[Path], None]
) -> None:
    damage(dataset / name)
    assert any(Path(name).name in one or name in one for one in problems(dataset))


@pytest.mark.attack("changes")
def test_a_round_that_the_lineage_has_not_is_named(dataset: Path) -> None:
    shutil.copytree(dataset / "rounds/0", dataset / "rounds/2")
    assert "rounds/2 is no round of refine.json" in problems(dataset)

"""Workers and drivers that are killed under Ray, by the system for their memory or by a person."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from florilegium.engine.storage.folder import Folder
from florilegium.pipelines.verify.verify import verify_dataset
from tests.building import BRIGHT_ENOUGH, DESCRIBED
from tests.security.points import files_of, whole_build

pytestmark = [pytest.mark.attack("faults"), pytest.mark.usefixtures("ray_cluster")]

RAY = {"kind": "ray", "workers": 1}


@pytest.mark.parametrize(
    "stages",
    [
        {"specialists": {"bright": {"use": "tests.stages:Killed"}}},
        {"filters": {"enough": {"use": "tests.stages:KilledJudge", "minimum": 0.5}}},
    ],
    ids=["in the middle of a call", "while it publishes"],
)
def test_a_worker_that_is_killed_is_replaced_and_no_image_is_blamed(
    album: Path, tmp_path: Path, stages: dict[str, dict[str, Any]]
) -> None:
    mark = tmp_path / "mark"
    keys: dict[str, Any] = {
        "specialists": DESCRIBED, "filters": BRIGHT_ENOUGH, "shard_size": 3, **stages,
    }  # fmt: skip
    for section in stages.values():
        for stage in section.values():
            stage["mark"] = str(mark)
    out = tmp_path / "out"
    totals = whole_build(album, out, runner=RAY, **keys).totals
    assert mark.exists()
    assert (totals.samples, totals.dead_letters) == (12, 0)
    whole_build(album, tmp_path / "undisturbed", **keys)
    assert without_runner(files_of(out)) == without_runner(files_of(tmp_path / "undisturbed"))
    assert list(verify_dataset(Folder(str(out)))) == []


def without_runner(files: dict[str, bytes]) -> dict[str, bytes]:
    """Leave out the config, which names the runner."""
    return {name: data for name, data in files.items() if name != "run.yaml"}

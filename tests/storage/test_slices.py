"""Slices that start at once on object storage, one of them killed."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from florilegium.engine.core.errors import RunError
from florilegium.engine.storage.folder import Folder
from florilegium.engine.storage.lease import LEASES, PARTS
from florilegium.pipelines.verify.verify import verify_dataset
from tests.building import finished, one_slice, slice_run
from tests.pipelines.test_slices import files, photos, reference
from tests.processes import wait_for

__all__ = ["photos", "reference"]


def test_slices_on_object_storage_that_start_at_once_and_are_killed_are_completed(
    photos: Path,
    bucket: str,
    tmp_path: Path,
    reference: dict[str, bytes],
    started: Callable[..., subprocess.Popen[str]],
) -> None:
    url, config = f"{bucket}/out", tmp_path / "run.yaml"
    document = slice_run(photos, url).config.model_dump(mode="json", exclude_unset=True)
    config.write_text(yaml.safe_dump(document), encoding="utf-8")
    slices = [started("build", config, "--slice", f"{number}/3") for number in (1, 2, 3)]
    killed = slices.pop()
    assert wait_for(lambda: Folder(url).exists(f"{PARTS}/3/{LEASES}/000001.json"), seconds=60)
    killed.kill()
    killed.wait()  # else its process is still there
    for one in slices:
        one.wait(60)
    assert [one.returncode for one in slices] == [0, 0], slices[0].stderr
    with pytest.raises(RunError, match=r"of 6 shards are missing[^$]*--slice 3/3"):
        finished(photos, url)
    assert one_slice(photos, url, "3/3")
    assert finished(photos, url)
    assert files(url) == reference
    assert Folder(url).names(PARTS) == []
    assert list(verify_dataset(Folder(url))) == []

"""An image of which workers on Ray die, beside stages that have others to answer."""

from __future__ import annotations

from pathlib import Path

from tests.building import DESCRIBED, build
from tests.contract.test_runners import IMAGES, counting, letters


def test_an_image_that_kills_the_process_is_found_and_the_others_are_kept(
    album: Path, tmp_path: Path, ray_cluster: None
) -> None:
    stages = {
        "poisoned": {"use": "tests.stages:Trouble", "key": "flower", "how": "die"},
        "describe": DESCRIBED["describe"],
        "counting": counting(tmp_path / "log"),
    }
    manifest = build(
        album, tmp_path / "out", runner={"kind": "ray", "workers": 2}, specialists=stages
    )
    assert letters(manifest) == {"flower": ("poisoned", "process_died")}
    assert manifest.totals.samples == IMAGES - 1
    assert manifest.totals.tasks["caption"]["kept"] == IMAGES - 1
    assert manifest.totals.tasks["tag"]["kept"] == IMAGES - 1


def test_an_image_that_kills_the_process_does_not_take_the_call_beside_it_along(
    album: Path, tmp_path: Path, ray_cluster: None
) -> None:
    taking = {
        "use": "tests.stages:Taking", "key": "astronaut", "how": "die",
        "num_gpus": 1, "batch_size": 3,
    }  # fmt: skip
    manifest = build(
        album, tmp_path / "out", runner={"kind": "ray", "workers": 1},
        specialists={"taking": taking}, shard_size=12,
    )  # fmt: skip
    assert letters(manifest) == {"astronaut": ("taking", "process_died")}
    assert manifest.totals.samples == IMAGES - 1

"""How far a build is: what counts as done."""

from __future__ import annotations

from pathlib import Path

from engine.storage.folder import Folder
from pipelines.dataset.status import RECIPE, read_status
from tests.building import BRIGHT_ENOUGH, DESCRIBED, build
from tests.pipelines.report.dataset import Photo, plain, publish


def test_shards_of_an_earlier_recipe_are_not_done(album: Path, tmp_path: Path) -> None:
    manifest = build(album, tmp_path, shard_size=6, specialists=DESCRIBED, filters=BRIGHT_ENOUGH)
    output = Folder(str(tmp_path))
    output.publish(RECIPE, manifest.recipe.encode())
    assert read_status(output).shards_done == 2
    output.publish(RECIPE, b"another")
    status = read_status(output)
    assert (status.shards, status.shards_done, status.samples) == (2, 0, 0)
    assert (status.annotations_kept, status.annotations_dropped) == (0, 0)


def test_shards_whose_inputs_are_gone_are_not_done(album: Path, tmp_path: Path) -> None:
    build(album, tmp_path / "out", shard_size=6)
    photos = [Photo(key="old", data=plain())]
    elsewhere = Folder(str(tmp_path / "elsewhere"))
    publish(elsewhere, [], [], photos)
    for path in (tmp_path / "elsewhere" / "shards").glob("000002*"):
        path.rename(tmp_path / "out" / "shards" / path.name)
    (tmp_path / "out" / RECIPE).unlink(missing_ok=True)
    status = read_status(Folder(str(tmp_path / "out")))
    assert (status.shards, status.shards_done, status.samples) == (2, 2, 12)

"""How far a build is: what counts as done."""

from __future__ import annotations

from pathlib import Path

from florilegium.engine.storage.folder import Folder
from florilegium.pipelines.dataset.status import RECIPE, read_status
from tests.building import BRIGHT_ENOUGH, DESCRIBED, build, finished, one_slice
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


def test_a_build_in_slices_shows_how_far_each_one_is(album: Path, tmp_path: Path) -> None:
    output = Folder(str(tmp_path / "out"))
    one_slice(album, output.url, "2/4")
    status = read_status(output)
    assert not status.is_finished
    assert (status.shards, status.shards_done, status.samples) == (6, 2, 4)
    slices = [(one.slice, one.shards_done, one.shards) for one in status.slices]
    assert slices == [("1/4", 0, 2), ("2/4", 2, 2), ("3/4", 0, 1), ("4/4", 0, 1)]
    for text in ("1/4", "3/4", "4/4"):
        one_slice(album, output.url, text)
    assert {one.shards - one.shards_done for one in read_status(output).slices} == {0}
    finished(album, output.url)
    assert (read_status(output).is_finished, read_status(output).slices) == (True, ())

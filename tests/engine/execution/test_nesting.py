"""An output is inside its source by what the folders are, however they are spelt."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import fsspec
import pytest

from florilegium.engine.core.errors import ConfigError
from florilegium.engine.execution.preparation import prepare
from florilegium.engine.execution.progress import Progress
from florilegium.engine.execution.run import execute
from tests.building import build, configure

REFUSAL = "lies inside the source"
IMAGES = [{"url": "photos", "kind": "folder"}]


@pytest.fixture
def photos(tmp_path: Path, photographs: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder `photos`, and links to it and into it; the home folder is beside it."""
    folder = tmp_path / "photos"
    (folder / "sub").mkdir(parents=True)
    for name in ("a.jpg", "sub/b.jpg"):
        (folder / name).write_bytes(photographs["rocket"].read_bytes())
    (folder / "a.tar").write_bytes(b"")
    (folder / "b.tar").write_bytes(b"")
    (tmp_path / "link").symlink_to(folder)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return folder


@pytest.mark.parametrize("output", ["photos/out", "photos/sub/out/", "link/out", "photos"])
@pytest.mark.parametrize(
    "source",
    ["photos", "photos/", "photos/**/*.jpg", "photos/*", "link", "link/**", "~/photos",
     "x/../photos", "file://{}/photos", "./photos//"],
)  # fmt: skip
def test_an_output_inside_a_source_is_refused_however_they_are_spelt(
    photos: Path, source: str, output: str
) -> None:
    (photos.parent / "x").mkdir()
    with pytest.raises(ConfigError, match=REFUSAL):
        prepare(configure(source.format(photos.parent), Path(output)))


@pytest.mark.parametrize(
    ("source", "output", "layers"),
    [
        ("photos/*.tar", "photos/out", "layers"),
        ("photos/{sub,none}/*.jpg", "photos/sub/out", "layers"),
        ("ph*/*.jpg", "photos/out", "layers"),
        ("p[h]*/*/*.jpg", "photos/out", "layers"),
        ("ph*/s*/*.jpg", "photos/Sub-out", "layers"),
        ("photos", "x/../photos/out", "layers"),
        ("photos", "~/photos/out", "layers"),
        ("photos", "file://{}/photos/out", "layers"),
        ("photos", "out", "link/sub/layers"),
        ("photos/**/*.jpg", "out", "~/photos/layers"),
    ],
)
def test_layers_and_every_spelling_of_an_output_count(
    photos: Path, source: str, output: str, layers: str
) -> None:
    (photos.parent / "x").mkdir()
    keys: dict[str, Any] = {"layers": layers}
    config = configure(source, Path("elsewhere"), **keys)
    config = config.model_copy(update={"output": output.format(photos.parent)})
    with pytest.raises(ConfigError, match=REFUSAL):
        prepare(config)


@pytest.mark.parametrize(
    ("source", "output"),
    [
        ("photos/a.tar", "photos/out"),
        ("photos/{a,b}.tar", "photos/out"),
        ("photos/{sub,none}/*.jpg", "photos/out"),
        ("photos/sub", "photos"),
        ("photos", "photos-out"),
        ("photos/**/*.jpg", "out"),
        ("ph*/**/*.jpg", "out"),
        ("photos/s*/*.jpg", "photos/out"),
    ],
)
def test_an_output_that_no_listing_finds_is_welcome(photos: Path, source: str, output: str) -> None:
    prepare(configure(source, Path(output)))


def test_a_source_inside_what_the_run_writes_is_refused(photos: Path, tmp_path: Path) -> None:
    build("photos/*.jpg", Path("out"))
    (tar,) = Path("out/shards").glob("*.tar")
    for source in ("out/shards", f"out/shards/{tar.name}", "out/shards/*.tar", "out"):
        with pytest.raises(ConfigError, match=REFUSAL):
            prepare(configure(source, Path("out")))
    (tmp_path / "seen").symlink_to("out/shards")
    (tmp_path / "seen.tar").symlink_to(f"out/shards/{tar.name}")
    for source in ("seen", "seen.tar"):
        with pytest.raises(ConfigError, match=REFUSAL):
            prepare(configure(source, Path("out")))


def test_a_link_in_the_source_that_leads_to_the_output_is_refused(
    photos: Path, tmp_path: Path, photographs: dict[str, Path]
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "c.jpg").write_bytes(photographs["rocket"].read_bytes())
    (photos / "more").symlink_to(other)
    run = prepare(configure([{**IMAGES[0], "follow_links": True}], other / "out"))
    with pytest.raises(ConfigError, match=REFUSAL):
        execute(run, Progress())
    assert not (other / "out").exists()


def test_links_that_lead_elsewhere_are_no_hindrance(
    photos: Path, tmp_path: Path, photographs: dict[str, Path]
) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "c.jpg").write_bytes(photographs["rocket"].read_bytes())
    (photos / "more").symlink_to(tmp_path / "other")
    followed = [{**IMAGES[0], "follow_links": True}]
    assert build(followed, Path("out")).totals.samples == 3


def test_object_storage_is_compared_by_its_paths(jpeg_in_memory: str) -> None:
    config = configure(jpeg_in_memory, Path("out"))
    config = config.model_copy(update={"output": f"{jpeg_in_memory}/out/"})
    with pytest.raises(ConfigError, match=REFUSAL):
        prepare(config)
    # The same path on another file system is another folder.
    prepare(configure(jpeg_in_memory, Path("/nested-album/out")))


@pytest.fixture
def jpeg_in_memory(photographs: dict[str, Path]) -> Any:
    memory = fsspec.filesystem("memory")
    memory.pipe("/nested-album/a.jpg", photographs["rocket"].read_bytes())
    yield "memory://nested-album"
    memory.rm("/nested-album", recursive=True)

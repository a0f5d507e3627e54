"""Finding an image: by key, path or digest, and never another one."""

from __future__ import annotations

import tarfile
from hashlib import sha256
from pathlib import Path
from typing import Any
from unicodedata import normalize

import pytest
from PIL import Image

from florilegium.engine.core.errors import ConfigError
from florilegium.engine.storage.folder import Folder
from florilegium.pipelines.dataset.find import find_image
from tests.building import build

NAMES = ("cat.jpg", "dogs/rex.png", "dogs/old/rex.png", "wolves/rex.png", "café.jpg", "one two.jpg")


def paint(path: Path, number: int) -> bytes:
    """Write an image unlike all others; return its bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (24, 16), (10 * number, 200, 90)).save(path)
    return path.read_bytes()


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder `photos` of images, one of them empty, and beside it `out`, the dataset of it."""
    folder = tmp_path_factory.mktemp("find")
    for number, name in enumerate(NAMES):
        paint(folder / "photos" / name, number)
    (folder / "photos" / "empty.jpg").write_bytes(b"")
    build(folder / "photos", folder / "out", shard_size=2)
    return folder / "photos"


@pytest.fixture
def output(photos: Path) -> Folder:
    return Folder(str(photos.parent / "out"))


@pytest.mark.parametrize(
    ("wanted", "source"),
    [
        ("cat", "cat.jpg"),
        ("dogs_rex", "dogs/rex.png"),
        ("cat.jpg", "cat.jpg"),
        ("./cat.jpg", "cat.jpg"),
        ("photos/cat.jpg", "cat.jpg"),
        ("dogs/rex.png", "dogs/rex.png"),
        ("old/rex.png", "dogs/old/rex.png"),
        ("photos/wolves/rex.png", "wolves/rex.png"),
        (r"wolves\rex.png", "wolves/rex.png"),
        ("one two.jpg", "one two.jpg"),
        (normalize("NFD", "café.jpg"), "café.jpg"),
        ("empty.jpg", "empty.jpg"),
        ("empty", "empty.jpg"),
    ],
)
def test_an_image_is_found_by_its_key_and_its_path(
    output: Folder, wanted: str, source: str
) -> None:
    assert find_image(output, wanted).source == source


def test_an_image_is_found_by_its_path_from_the_root_or_from_here(
    output: Folder, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert find_image(output, str(photos / "dogs/rex.png")).source == "dogs/rex.png"
    monkeypatch.chdir(photos / "wolves")
    assert find_image(output, "../dogs/rex.png").source == "dogs/rex.png"


def test_an_image_is_found_by_its_digest_or_the_begin_of_it(output: Folder, photos: Path) -> None:
    digest = sha256((photos / "dogs/old/rex.png").read_bytes()).hexdigest()
    for wanted in (digest, digest.upper(), digest[:6]):
        found = find_image(output, wanted)
        assert (found.source, found.digests[0]) == ("dogs/old/rex.png", digest)
    member = found.digests[1]  # of the image as the tar holds it
    assert member != digest
    assert find_image(output, member[:8]) == found
    with pytest.raises(ConfigError, match="no image has"):
        find_image(output, digest[:5])


@pytest.mark.parametrize("wanted", ["rex.png", "photos/rex.png", "ogs/rex.png", "at.jpg", "cat.jp",
                                    "cats/cat.jpg", "empt", "", "/cat.jpg", "000000"])  # fmt: skip
def test_another_image_is_never_meant(output: Folder, wanted: str) -> None:
    with pytest.raises(ConfigError):
        find_image(output, wanted)


def test_of_several_all_are_named_and_none_is_taken(output: Folder) -> None:
    with pytest.raises(ConfigError) as caught:
        find_image(output, "rex.png")
    lines = str(caught.value).splitlines()
    assert lines[0] == "'rex.png' may mean 3 images; name one by its path or digest:"
    assert sorted(line.split("  ")[2] for line in lines[1:]) == [
        "dogs/old/rex.png",
        "dogs/rex.png",
        "wolves/rex.png",
    ]


def test_near_names_are_told(output: Folder) -> None:
    with pytest.raises(ConfigError, match=r"did you mean 'wolves/rex\.png'"):
        find_image(output, "wolfes/rex.png")
    with pytest.raises(ConfigError, match=r"; the keys are caf.*, cat, .*, wolves_rex"):
        find_image(output, "zzzzzzzzzzzz")


def test_two_sources_do_not_lend_each_other_their_folders(tmp_path: Path) -> None:
    for number, name in enumerate(("a/cat.jpg", "b/dog.jpg", "b/cow.jpg", "c/cow.jpg")):
        paint(tmp_path / name, number)
    build([str(tmp_path / one) for one in "abc"], tmp_path / "out")
    output = Folder(str(tmp_path / "out"))
    assert find_image(output, "b/dog.jpg").source == "dog.jpg"
    assert find_image(output, "c/cow.jpg").key != find_image(output, "b/cow.jpg").key
    with pytest.raises(ConfigError, match="no image has"):
        find_image(output, "a/dog.jpg")
    with pytest.raises(ConfigError, match=r"'cow\.jpg' may mean 2 images"):
        find_image(output, "cow.jpg")


def test_the_same_bytes_twice_are_two_images(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        data = paint(tmp_path / "photos" / name, 0)
    build(tmp_path / "photos", tmp_path / "out")
    with pytest.raises(ConfigError, match="may mean 2 images"):
        find_image(Folder(str(tmp_path / "out")), sha256(data).hexdigest())


def test_members_of_tars_are_found_by_the_path_of_the_tar_and_their_own(tmp_path: Path) -> None:
    paint(tmp_path / "cat.jpg", 1)
    (tmp_path / "tars").mkdir()
    for name in ("t0.tar", "t1.tar"):
        with tarfile.open(tmp_path / "tars" / name, "w") as tar:
            tar.add(tmp_path / "cat.jpg", "in/cat.jpg")
            tar.add(tmp_path / "cat.jpg", f"{name}.jpg")
    for url in (tmp_path / "tars", tmp_path / "tars" / "t{0..1}.tar", tmp_path / "tars" / "t1.tar"):
        build(url, tmp_path / f"out {url.name}")
        output = Folder(str(tmp_path / f"out {url.name}"))
        found = find_image(output, "tars/t1.tar/in/cat.jpg")
        assert found.source == "t1.tar/in/cat.jpg"
        assert find_image(output, str(tmp_path / "tars/t1.tar/in/cat.jpg")) == found


def test_an_unfinished_dataset_is_searched_as_far_as_it_goes(tmp_path: Path) -> None:
    for number, name in enumerate(("a.png", "b.png", "c.png")):
        paint(tmp_path / "photos" / name, number)
    (tmp_path / "photos" / "d.png").write_bytes(b"")
    build(tmp_path / "photos", tmp_path / "out", shard_size=4)
    output: Any = Folder(str(tmp_path / "out"))
    for name in ("manifest.json", "dead_letters.parquet"):
        output.remove(name)
    assert find_image(output, "b.png").key == "b"
    assert find_image(output, "d").letter["reason"] == "empty_file"


def test_where_nothing_was_built_the_cure_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="holds no finished shard: build the dataset first"):
        find_image(Folder(str(tmp_path)), "cat")

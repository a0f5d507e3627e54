"""From a URL to the right source, or to an error that helps."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest
from PIL import Image

from florilegium.engine.core.errors import ConfigError, MissingPackage
from florilegium.engine.execution.preparation import prepare
from florilegium.engine.planning.config import RunConfig, SourceEntry
from florilegium.engine.planning.source_opening import config_of
from florilegium.engine.sources.place import original, printable
from florilegium.engine.sources.source import Item, Reading, Source, SourceConfig
from florilegium.engine.sources.url import package_folder
from tests.building import configure
from tests.engine.sources.conftest import source_at

KINDS = {
    ("a.jpg", "b/c.png"): "folder",
    ("a.jpg", "metadata.parquet"): "folder",
    ("a.jpg", "b.jpg", "backup.tar"): "folder",
    ("noext/readme.md", "photos/a.webp"): "folder",
    ("a.tar", "notes.txt"): "webdataset",
    ("a.tar.gz",): "webdataset",
    ("x/y/a.TAR", "z/b.jpg"): "webdataset",
    ("00000.tar", "00000_stats.json"): "img2dataset",
    ("00000.tar", "00000.parquet"): "img2dataset",
    ("a.parquet",): "parquet",
    ("README.md", "data/train-0.parquet", "data/train-1.parquet"): "parquet",
}


@pytest.mark.parametrize("names", KINDS)
def test_the_kind_follows_from_the_names(tmp_path: Path, names: tuple[str, ...]) -> None:
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    source = source_at(tmp_path)
    assert source.config.kind == KINDS[names]
    assert source_at(tmp_path, kind=KINDS[names]).config == source.config


@pytest.mark.parametrize(
    ("url", "kind"),
    [("a.jpg", "folder"), ("*.jpg", "folder"), ("{a,b}.jpg", "folder"), ("t.tar", "webdataset"),
     ("*.tar", "webdataset"), ("p.parquet", "parquet"), ("**/*.parquet", "parquet")],
)  # fmt: skip
def test_files_and_patterns_have_a_kind_too(tmp_path: Path, url: str, kind: str) -> None:
    for name in ("a.jpg", "b.jpg", "t.tar", "p.parquet"):
        (tmp_path / name).write_bytes(b"")
    source = source_at(f"{tmp_path}/{url}")
    assert source.config.kind == kind


def test_what_is_selected_decides_not_what_lies_beside_it(tmp_path: Path) -> None:
    for name in ("a.jpg", "b.jpg", "t.tar"):
        (tmp_path / name).write_bytes(b"")
    assert source_at(tmp_path, include=("*.tar",)).config.kind == "webdataset"


def test_a_folder_whose_name_looks_like_a_pattern_is_a_folder(tmp_path: Path) -> None:
    folder = tmp_path / "photos [2020] {a,b} *"
    folder.mkdir()
    (folder / "a.jpg").write_bytes(b"")
    assert [item.location for item in source_at(folder).items()] == ["a.jpg"]
    assert [item.location for item in source_at(folder / "a.jpg").items()] == ["a.jpg"]


def test_a_single_image_brings_its_caption(tmp_path: Path, jpeg: bytes) -> None:
    (tmp_path / "a.jpg").write_bytes(jpeg)
    (tmp_path / "a.txt").write_text("A rocket.")
    (tmp_path / "b.jpg").write_bytes(jpeg)
    source = source_at(tmp_path / "a.jpg")
    (item,) = source.items()
    (reading,) = source.read(item)
    assert reading.annotations[0].text == "A rocket."


def test_paths_may_be_relative_or_file_urls(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.jpg").write_bytes(b"")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for url in ("in", "./in/", f"file://{tmp_path}/in", "~/in"):
        assert [item.location for item in source_at(url).items()] == ["a.jpg"]


def test_a_folder_of_an_installed_package_is_a_source(photographs: dict[str, Path]) -> None:
    source = source_at("package://sklearn/datasets/images")
    assert [item.location for item in source.items()] == ["china.jpg", "flower.jpg"]
    assert source.config.url == "package://sklearn/datasets/images"
    dotted = source_at("package://sklearn.datasets/images")
    assert list(dotted.items()) == list(source.items())


def test_a_package_is_found_without_running_it() -> None:
    code = (
        "import sys\n"
        "from florilegium.engine.planning.source_opening import open_source\n"
        "from florilegium.engine.planning.config import SourceEntry\n"
        "config = SourceEntry(url='package://sklearn.datasets/images')\n"
        "assert list(open_source(config, shard_size=1).items())\n"
        "assert 'sklearn' not in sys.modules and 'cv2' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[3], check=True)


WRONG = {
    "package://no_such_package_here/x": "no package 'no_such_package_here' is installed",
    "package://sklearn/datasets/image": "has no 'datasets/image'; .*did you mean 'images'",
    "package://": "no package ''",
    "package://__main__": "package '__main__'",
    "/tmp/{0..99999999999}.tar": "means more than 1,000,000 files",
    "/tmp/{-5..9999999..1}.tar": "means more than 1,000,000 files",
    f"/tmp/{{1..{'9' * 5000}}}": "a range is written",
    "/tmp/" + "{a," * 9000 + "}" * 9000: "means more than 1,000,000 files",
    "nosuchscheme://bucket/x": "nosuchscheme.*fsspec URL",
    "photos/2021": "photos/2021 does not exist; .*did you mean '2020'",
    "photo": "photo does not exist; .*did you mean 'photos'",
    "photo/deep/er": "does not exist; .*did you mean 'photos'",
    "phatos/*.jpg": "the folder '.*phatos' does not exist; .*did you mean 'photos'",
    "photos/*.jpg": "no images, tars or Parquet files among its names",
    "photos": "no images, tars or Parquet files .*kind",
    "photos/notes.md": "no images, tars or Parquet files",
}


@pytest.mark.parametrize("url", WRONG)
def test_a_wrong_url_is_told_with_its_cure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    (tmp_path / "photos" / "2020").mkdir(parents=True)
    (tmp_path / "photos" / "notes.md").write_text("")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=WRONG[url]):
        source_at(url)


def test_a_storage_package_that_is_missing_is_named() -> None:
    protocols = [("s3://b/x", "s3fs"), ("gs://b/x", "gcsfs"), ("sftp://h/x", "paramiko")]
    missing = [url for url, package in protocols if not _is_installed(package)]
    if not missing:
        pytest.skip("every storage package is installed here")
    for url in missing:
        with pytest.raises(MissingPackage, match="pip install"):
            source_at(url)


def _is_installed(package: str) -> bool:
    code = f"import {package}"
    return subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 0


def test_a_remote_url_that_does_not_exist_is_told_too() -> None:
    memory = fsspec.filesystem("memory")
    memory.pipe("/remote-open/photos/a.jpg", b"")
    with pytest.raises(ConfigError, match=r"does not exist; .*did you mean 'photos'"):
        source_at("memory://remote-open/fotos")
    memory.rm("/remote-open", recursive=True)


HARD_NAMES = [
    "plain.jpg", "a\\b", "\\x5c", "\\x5cxff", "\\xff", "\udcff", "\\\udcff", "\\x\udcff",
    "\\x5\udcc3", "a\nb", "\\x0a", "\x7f", "é🦊", "\udcc3\udca9x", "\\", "\\\\x00",
]  # fmt: skip


@pytest.mark.parametrize("name", HARD_NAMES)
def test_any_file_name_survives_its_printable_spelling(name: str) -> None:
    spelled = printable(name)
    assert original(spelled) == os.fsdecode(os.fsencode(name))
    assert spelled.encode().decode() == spelled
    assert spelled.isprintable()


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package with a folder of images, links out of it, and a folder that is not its own."""
    folder = tmp_path / "site" / "acme_photos"
    (folder / "images").mkdir(parents=True)
    (folder / "%2e%2e").mkdir()
    (tmp_path / "site" / "secret").mkdir()
    for one in (folder / "images", tmp_path / "site" / "secret"):
        Image.new("RGB", (8, 8)).save(one / "a.png")
    os.symlink(tmp_path / "site" / "secret", folder / "linked")
    os.symlink("..", folder / "up")
    os.symlink("images", folder / "within")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    return folder


@pytest.mark.attack("configs")
@pytest.mark.parametrize(
    "path",
    [
        *("/..", "/../secret", "/images/../../secret", "/../../../../../../etc", "//etc", "//"),
        *("/linked", "/linked/", "/up/secret", "/up", "/images/../images", "/..\\secret", "/a\0b"),
        *(".images/../../secret", "..secret", ".~/x", "./etc", ".images\\..\\..", "/%2e%2e/%2e%2e"),
        *("/%2e%2e/secret", "/%2e%2e%2fsecret", "/*/../../secret", "/{images,..}/x", "/x" * 3000),
    ],
)
def test_no_path_leads_out_of_a_package(package: Path, path: str) -> None:
    with pytest.raises(ConfigError) as refused:
        source_at(f"package://acme_photos{path}")
    assert len(str(refused.value)) < 1000


def test_paths_within_a_package_are_found(package: Path) -> None:
    for path in ("", "/", "/images", "/images/", "/images/a.png", "/within", ".images", ".images/"):
        assert package_folder(f"package://acme_photos{path}").startswith(str(package))


def test_what_florilegium_ships_is_found_in_its_own_package() -> None:
    found = package_folder("package://florilegium/specialists/tiny_florence2")
    assert Path(found, "model.safetensors").is_file()
    with pytest.raises(ConfigError, match="leads out of its package"):
        package_folder("package://florilegium/specialists/../../pyproject.toml")
    with pytest.raises(ConfigError, match="has no 'tests'"):
        package_folder("package://florilegium/tests")


class NumbersConfig(SourceConfig):
    """Options of a source without files."""

    url: str = "numbers://"
    first: int = 0
    """The number to begin with."""
    names: tuple[str, ...] = ()
    """What the images are called."""


class Numbers(Source[NumbersConfig]):
    """A source of another package, with options of its own."""

    Config = NumbersConfig

    def items(self) -> Iterator[Item]:
        for number, name in enumerate(self.config.names, self.config.first):
            yield Item(location=f"{name}-{number}", signature="1")

    def read(self, item: Item) -> Iterator[Reading]:
        yield Reading(name=item.location, location=item.location, data=b"")


NUMBERS = f"{__name__}:Numbers"


def test_a_source_of_another_package_has_options_of_its_own(tmp_path: Path) -> None:
    options = {"kind": NUMBERS, "first": 7, "names": ["a", "b"]}
    run = prepare(configure([options], tmp_path / "out"))
    assert [item.location for item in run.sources[0].items()] == ["a-7", "b-8"]
    (entry,) = run.config.source
    assert entry.model_dump(mode="json") == {"url": "numbers://", "provides": [], **options}
    copied = RunConfig.model_validate(run.config.model_dump(mode="json"))
    assert config_of(copied.source[0]) == run.sources[0].config, "a worker opens the same"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": NUMBERS, "frist": 7}, "unknown key 'frist', did you mean 'first'"),
        ({"kind": NUMBERS, "first": "x"}, "first = 'x': give a whole number"),
        ({"kind": NUMBERS, "include": ["*.jpg"]}, "unknown key 'include', did you mean"),
        ({"url": "photos", "kynd": "folder"}, "unknown key 'kynd', did you mean 'kind'"),
        ({"url": "photos", "caption_colum": "x"}, "did you mean 'caption_column'"),
        ({"url": "photos", "image_column": "x"}, "unknown key 'image_column'"),
        ({"url": "photos", "follow_links": "perhaps"}, "follow_links = 'perhaps': give true or"),
        ({"url": "photos", "encoding": "latin-99"}, "unknown encoding: latin-99"),
        ({"kind": "folder"}, "the key 'url' is missing"),
    ],
)
def test_wrong_options_of_a_source_are_named_with_the_nearest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any], message: str
) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").write_bytes(b"")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=f"^source .*{re.escape(message)}"):
        config_of(SourceEntry(**options))

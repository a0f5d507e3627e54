"""The contract of sources and exporters: ours keep it, of broken ones the fault is named."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from florilegium import open_dataset
from florilegium.engine.planning.registry import find_source, installed_names, source_names
from florilegium.pipelines.export.exporter import EXPORTERS, find_exporter
from florilegium.testing import (
    ContractBroken,
    check_exporter,
    check_source,
    photo,
    small_dataset,
)
from tests.testing import broken_plugins
from tests.testing.broken_plugins import Keys, ListOfFiles, Photos

SOURCES = {
    "Empty": "it lists nothing",
    "NamesOnly": "`items` yields str",
    "Twice": "it lists '0.png' twice",
    "NoSignature": "'0.png' has no signature",
    "Unstable": "listed again it gives other items",
    "OtherTables": "`item_tables` lists other items than `items`",
    "OtherColumns": "`item_tables` yields the columns ['location', 'signature', 'start', 'stop']",
    "OrderOfASet": "another process lists other items",
    "Several": "an item gives several inputs",
    "Nothing": "nothing comes of item '0.png'",
    "AllLost": "no input can be read: no right to read it",
    "UnsortedMetadata": "the keys of its metadata are not sorted",
    "BadLabel": "a label is refused: an object_detection needs `box_xyxy`",
    "NeedsListing": "another instance reads '2.png' otherwise",
    "RaisesWhenGone": "of a file that is gone, it raises FileNotFoundError",
    "SilentWhenGone": "of a file that is gone it makes no dead letter",
    "NoImages": "no image of it can be used: not_an_image",
    "OneRemark": "`remarks` gives 'two files are left alone'",
}
FORMATS = {
    "WritesNothing": "it writes no file",
    "ReturnsNothing": "`write` returns NoneType",
    "OtherBytes": "run.txt differs when it is written again",
    "OrderOfATable": "letters.txt differs when another process writes it",
    "WritesBeside": "it changes files of the dataset",
    "CannotWrite": "it cannot write a finished dataset: there is nothing to write",
    "NoSummary": "its summary is empty",
    "LooseOptions": "the option LooseConfig.limit is not documented",
}


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with three drawn photographs."""
    folder = tmp_path_factory.mktemp("photos")
    for number in range(3):
        Image.fromarray(photo(seed=number)).save(folder / f"{number}.png")
    return folder


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The finished dataset of the kit."""
    return small_dataset(tmp_path_factory.mktemp("dataset"))


@pytest.fixture(scope="module")
def urls(photos: Path, dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Something to read for each kind of source."""
    folder = tmp_path_factory.mktemp("sources")
    table = pa.table({"image": [path.read_bytes() for path in sorted(photos.iterdir())]})
    pq.write_table(table, folder / "images.parquet")
    downloaded = folder / "downloaded"
    downloaded.mkdir()
    for number, tar in enumerate(sorted((dataset / "shards").glob("*.tar"))):
        (downloaded / f"{number:05d}.tar").write_bytes(tar.read_bytes())
        pq.write_table(pa.table({"key": ["0"]}), downloaded / f"{number:05d}.parquet")
    shutil.copytree(photos, folder / "site")
    page = "".join(f'<img src="{path.name}">' for path in photos.iterdir())
    (folder / "site" / "page.html").write_text(page, encoding="utf-8")
    return {
        "folder": str(photos),
        "webdataset": str(dataset / "shards"),
        "img2dataset": str(downloaded),
        "parquet": str(folder / "images.parquet"),
        "pages": str(folder / "site"),
        "shape_world": "shape_world://3",
    }


@pytest.mark.parametrize("kind", source_names())
def test_our_sources_keep_their_contract(kind: str, urls: dict[str, str]) -> None:
    source_class = find_source(kind)
    report = check_source(source_class, source_class.Config(url=urls[kind], kind=kind))
    assert report.images >= 3
    assert report.dead_letters == 0


@pytest.mark.parametrize("name", installed_names(EXPORTERS))
def test_our_exporters_keep_their_contract(name: str, dataset: Path, tmp_path: Path) -> None:
    ids = [one.id for sample in open_dataset(str(dataset)) for one in sample.annotations]
    rows = [json.dumps({"id": one, "right": True}) for one in ids]
    (tmp_path / "audit.jsonl").write_text("\n".join(rows), "utf-8")
    options = {"audit": str(tmp_path / "audit.jsonl")} if name == "few_shot" else {}
    assert check_exporter(find_exporter(name), options).files


def test_what_a_source_and_an_exporter_give_is_counted(photos: Path) -> None:
    report = check_source(Photos, Photos.Config(url=str(photos)))
    assert (report.items, report.images, report.labels, report.dead_letters) == (3, 3, 0, 0)
    exported = check_exporter(Keys)
    assert (exported.files, exported.summary) == (("keys.txt",), ("4 samples",))


def only_fault(check: Callable[[], Any]) -> str:
    """Return the one fault that is found."""
    with pytest.raises(ContractBroken) as raised:
        check()
    assert len(raised.value.faults) == 1, str(raised.value)
    return raised.value.faults[0]


@pytest.mark.parametrize("name", SOURCES)
def test_a_broken_source_is_told_what_is_wrong_and_nothing_else(name: str, photos: Path) -> None:
    config = Photos.Config(url=str(photos))
    fault = only_fault(lambda: check_source(getattr(broken_plugins, name), config))
    assert fault.startswith(SOURCES[name])


@pytest.mark.parametrize("name", FORMATS)
def test_a_broken_exporter_is_told_what_is_wrong_and_nothing_else(name: str) -> None:
    fault = only_fault(lambda: check_exporter(getattr(broken_plugins, name)))
    assert fault.startswith(FORMATS[name])


def test_of_the_folder_around_a_file_only_what_is_listed_is_copied(
    photos: Path, tmp_path: Path
) -> None:
    names = sorted(path.name for path in photos.iterdir())
    for name in names:
        shutil.copy(photos / name, tmp_path)
    listing = tmp_path / "list.txt"
    listing.write_text("\n".join(names), "utf-8")
    os.mkfifo(tmp_path / "pipe")  # which cannot be copied
    assert check_source(ListOfFiles, ListOfFiles.Config(url=str(listing))).images == 3


def test_what_is_of_another_kind_is_refused(photos: Path) -> None:
    fault = only_fault(lambda: check_source(Keys, Photos.Config(url="")))  # type: ignore[arg-type]
    assert "derive a class from Source" in fault
    fault = only_fault(lambda: check_exporter(Photos))  # type: ignore[arg-type]
    assert "derive a class from Exporter" in fault

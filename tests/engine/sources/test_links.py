"""Links in a source: followed within its root only, unless the config asks for more."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from florilegium.engine.core.sample import DeadLetter
from florilegium.engine.sources.source import Reading
from tests.engine.sources.conftest import WriteTar, captions_of, read_all, source_at

pytestmark = pytest.mark.attack("files")
SECRET = "a private key"


@pytest.fixture
def root(tmp_path: Path, jpeg: bytes) -> Path:
    """A source of one image and a hidden file; beside it, files that are nobody's business."""
    root = tmp_path / "root"
    (root / "inside").mkdir(parents=True)
    (root / ".hidden").mkdir()
    (tmp_path / "outside").mkdir()
    for folder in (root / "inside", root / ".hidden", tmp_path / "outside"):
        (folder / "x.jpg").write_bytes(jpeg)
        (folder / "x.txt").write_text(SECRET)
    return root


def results(root: Path, **options: object) -> tuple[dict[str, Reading], dict[str, DeadLetter]]:
    readings, letters = read_all(source_at(root, **options))
    return {one.location: one for one in readings}, {one.source: one for one in letters}


def to_outside(root: Path) -> None:
    (root / "link").symlink_to(root.parent / "outside" / "x.jpg")


def relative(root: Path) -> None:
    (root / "link").symlink_to("../outside/x.jpg")


def chain(root: Path) -> None:
    (root / "inside" / "step").symlink_to(root.parent / "outside" / "x.jpg")
    (root / "link").symlink_to("inside/step")


def through_a_folder(root: Path) -> None:
    (root / "inside" / "up").symlink_to(root.parent)
    (root / "link").symlink_to("inside/up/outside/x.jpg")


def to_a_hidden_place(root: Path) -> None:
    (root / "link").symlink_to(".hidden/x.jpg")


def to_nothing_outside(root: Path) -> None:
    (root / "link").symlink_to("/nowhere/x.jpg")


def to_a_folder(root: Path) -> None:
    (root / "link").symlink_to(root.parent / "outside")


def to_a_hidden_folder(root: Path) -> None:
    (root / "link").symlink_to(".hidden")


@pytest.mark.parametrize(
    "link",
    [to_outside, relative, chain, through_a_folder, to_a_hidden_place, to_nothing_outside,
     to_a_folder, to_a_hidden_folder],
)  # fmt: skip
def test_a_link_out_of_the_root_is_a_dead_letter_with_the_cure(
    root: Path, link: Callable[[Path], None]
) -> None:
    link(root)
    readings, letters = results(root)
    assert sorted(readings) == ["inside/x.jpg"]
    letter = letters["link" if "link" in letters else "link/"]
    assert letter.reason == "link_not_followed"
    assert "`follow_links: true`" in letter.message
    assert "outside" not in letter.message.replace("out of", "")
    if link is not to_nothing_outside:
        readings, _ = results(root, follow_links=True)
        assert any(location.startswith("link") for location in readings)


def test_a_link_that_stays_within_the_root_is_followed(root: Path, jpeg: bytes) -> None:
    (root / "a.jpg").symlink_to("inside/x.jpg")
    (root / "b.jpg").symlink_to(root / "a.jpg")
    (root / "c.jpg").symlink_to("inside/../inside/x.jpg")
    readings, letters = results(root)
    assert {name: one.data for name, one in readings.items()} == dict.fromkeys(
        ["a.jpg", "b.jpg", "c.jpg", "inside/x.jpg"], jpeg
    )
    assert not letters


def test_a_link_beside_the_root_whose_name_begins_alike_is_outside(root: Path, jpeg: bytes) -> None:
    (root.parent / "root-of-others").mkdir()
    (root.parent / "root-of-others" / "y.jpg").write_bytes(jpeg)
    (root / "link.jpg").symlink_to(root.parent / "root-of-others" / "y.jpg")
    assert results(root)[1]["link.jpg"].reason == "link_not_followed"


def test_the_root_itself_and_a_file_that_the_url_names_may_be_links(root: Path) -> None:
    (root.parent / "elsewhere").symlink_to(root)
    assert sorted(results(root.parent / "elsewhere")[0]) == ["inside/x.jpg"]
    to_outside(root)
    readings, letters = results(root / "link", kind="folder")
    assert (sorted(readings), letters) == (["link"], {})
    # Those that a pattern or a range finds were not chosen one by one.
    for pattern in ("lin*", "{link,inside/x.jpg}"):
        assert results(root / pattern, kind="folder")[1]["link"].reason == "link_not_followed"


def test_a_caption_behind_a_link_is_a_problem_of_the_label(root: Path) -> None:
    (root / "inside" / "x.txt").unlink()
    (root / "inside" / "x.txt").symlink_to(root.parent / "outside" / "x.txt")
    readings, letters = results(root)
    (one,) = readings.values()
    assert (captions_of([one]), letters) == ([[]], {})
    fields = json.loads(one.metadata)["label_error"]
    assert fields.startswith("txt: a link that leads out of the source")
    assert "follow_links" in fields
    assert captions_of(list(results(root, follow_links=True)[0].values())) == [[SECRET]]


@pytest.mark.parametrize("name", ["metadata.jsonl", "metadata.csv", "metadata.parquet"])
def test_a_sheet_behind_a_link_is_a_problem_of_the_label_and_a_remark(
    root: Path, name: str
) -> None:
    (root / name).symlink_to(root.parent / "outside" / "x.txt")
    source = source_at(root)
    (one,), letters = read_all(source)
    assert not letters
    assert "follow_links" in json.loads(one.metadata)["label_error"]
    assert "follow_links" in " ".join(source.remarks())
    assert SECRET not in one.metadata + "".join(source.remarks())


def test_tars_and_parquet_files_behind_links_are_dead_letters(
    root: Path, write_tar: WriteTar, jpeg: bytes
) -> None:
    tar = write_tar("outside/y.tar", {"a.jpg": jpeg})
    parquet = root.parent / "outside" / "y.parquet"
    pq.write_table(pa.table({"image": [jpeg]}), parquet)
    for kind, target in (("webdataset", tar), ("img2dataset", tar), ("parquet", parquet)):
        (root / target.name).unlink(missing_ok=True)
        (root / target.name).symlink_to(target)
        readings, letters = results(root, kind=kind)
        assert (readings, letters[target.name].reason) == ({}, "link_not_followed")
        assert results(root, kind=kind, follow_links=True)[0]


def test_a_tar_is_not_held_against_a_parquet_file_behind_a_link(
    root: Path, write_tar: WriteTar, jpeg: bytes
) -> None:
    write_tar("root/00000.tar", {"000000000.jpg": jpeg})
    pq.write_table(
        pa.table({"key": ["secret"], "status": ["success"]}), root.parent / "outside" / "p"
    )
    (root / "00000.parquet").symlink_to(root.parent / "outside" / "p")
    readings, letters = results(root, kind="img2dataset")
    assert len(readings) == 1
    assert letters["00000.tar"].reason == "unchecked_tar"
    assert "follow_links" in letters["00000.tar"].message


@pytest.mark.parametrize("swapped", ["inside/x.jpg", "inside"])
def test_a_link_that_is_put_in_after_the_listing_is_not_followed(root: Path, swapped: str) -> None:
    source = source_at(root)
    (item,) = source.items()
    path = root / swapped
    path.rename(root.parent / "away")
    path.symlink_to(root.parent / "outside" / ("x.jpg" if path.suffix else ""))
    (letter,) = source.read(item)
    assert isinstance(letter, DeadLetter)
    assert letter.reason == "link_not_followed"


def test_a_link_that_is_put_in_while_a_file_is_opened_is_not_followed(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = source_at(root)
    (item,) = source.items()
    find = os.path.realpath

    def swap(path: str) -> str:
        real = find(path)
        if str(path).endswith("x.jpg") and not (root / "inside").is_symlink():
            (root / "inside").rename(root.parent / "away")
            (root / "inside").symlink_to(root.parent / "outside")
        return real

    monkeypatch.setattr(os.path, "realpath", swap)
    (letter,) = source.read(item)
    assert isinstance(letter, DeadLetter)
    assert (root / "inside").is_symlink()


def test_nothing_is_left_open(root: Path) -> None:
    to_outside(root)
    os.mkfifo(root / "pipe.jpg")
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        results(root)
    assert len(os.listdir("/proc/self/fd")) == before

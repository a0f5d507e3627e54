"""A folder of images, with all that people keep in folders."""

from __future__ import annotations

import json
import os
import pickle
from pathlib import Path

import fsspec
import pyarrow as pa
import pytest

from florilegium.engine.core.errors import ConfigError
from florilegium.engine.core.image.header import MAX_BYTES
from florilegium.engine.sources.folder import FolderSource
from florilegium.engine.sources.source import Item, Reading, Source
from tests.engine.sources.conftest import captions_of, read_all, source_at


def put(folder: Path, *names: str, data: bytes) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)


def locations(source: Source) -> list[str]:
    return [item.location for item in source.items()]


def signatures(source: Source) -> dict[str, str]:
    return {item.location: item.signature for item in source.items()}


def test_images_are_found_in_all_folders_in_a_stable_order(tmp_path: Path, jpeg: bytes) -> None:
    put(tmp_path, "b.jpg", "a.PNG", "z/1.webp", "a.b/c d.jpeg", "noext", data=jpeg)
    put(tmp_path, "notes.pdf", "movie.mp4", ".hidden.jpg", ".git/x.jpg", "z/Thumbs.db", data=b"")
    source = source_at(tmp_path)
    assert isinstance(source, FolderSource)
    assert locations(source) == ["a.PNG", "b.jpg", "noext", "a.b/c d.jpeg", "z/1.webp"]
    readings, dead_letters = read_all(source)
    assert [reading.data for reading in readings] == [jpeg] * 5
    assert not dead_letters


def test_an_image_that_is_added_changes_no_other_item(tmp_path: Path, jpeg: bytes) -> None:
    put(tmp_path, "b.jpg", "d/e.jpg", data=jpeg)
    before = list(source_at(tmp_path).items())
    put(tmp_path, "a.jpg", "d/a.jpg", "c/x.jpg", data=jpeg)
    assert set(before) < set(source_at(tmp_path).items())


def test_a_changed_image_has_another_signature(tmp_path: Path, jpeg: bytes) -> None:
    put(tmp_path, "a.jpg", data=jpeg)
    before = signatures(source_at(tmp_path))
    os.utime(tmp_path / "a.jpg", ns=(1, 1))  # same size, another nanosecond
    assert signatures(source_at(tmp_path)) != before


ODD_NAMES = [
    "dots.in.the.name.jpg",
    " spaces .jpg",
    "new\nline.jpg",
    "tab\tand\x1bescape.jpg",
    "emoji 🦊 and é and e\u0301.jpg",
    "[brackets]{1..3}*?.jpg",
    "percent%20.jpg",
    "back\\slash\\xff\\n.jpg",
    "quote'\".jpg",
    "-rf.jpg",
    "a" * 200 + ".jpg",
    os.fsdecode(b"latin1-\xe9\xff.jpg"),
]


def test_odd_names_are_printable_and_still_find_their_file(tmp_path: Path, jpeg: bytes) -> None:
    for number, name in enumerate(ODD_NAMES):
        (tmp_path / name).write_bytes(jpeg + bytes([number]))
    source = source_at(tmp_path)
    readings, dead_letters = read_all(source)
    assert not dead_letters
    assert {reading.data[-1] for reading in readings} == set(range(len(ODD_NAMES)))
    texts = [reading.location for reading in readings] + [reading.name for reading in readings]
    assert all(not set(text) & set(map(chr, range(32))) for text in texts)
    assert pa.array(texts).to_pylist() == texts
    assert json.loads(json.dumps(texts, ensure_ascii=False).encode()) == texts
    assert len(set(texts)) == len(ODD_NAMES)


def test_links_to_photographs_are_followed_to_outside_on_request(
    tmp_path: Path, jpeg: bytes
) -> None:
    put(tmp_path / "elsewhere", "photo.jpg", data=jpeg)
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "link.jpg").symlink_to(tmp_path / "elsewhere" / "photo.jpg")
    readings, _ = read_all(source_at(tmp_path / "in", follow_links=True))
    assert [(reading.location, reading.data) for reading in readings] == [("link.jpg", jpeg)]


def test_loops_of_links_end_and_each_folder_is_read_once(tmp_path: Path, jpeg: bytes) -> None:
    root = tmp_path / "root"
    put(root, "a/x.jpg", "b/y.jpg", data=jpeg)
    put(tmp_path, "beside/z.jpg", data=jpeg)
    (root / "a" / "self").symlink_to(root / "a")
    (root / "b" / "up").symlink_to("..")
    (root / "0").symlink_to(root / "a")  # inside, and before it: its own name counts
    (root / "d").symlink_to(tmp_path)  # a folder above: leads to `beside`, and back to here
    (root / "e").symlink_to(tmp_path / "beside")
    (tmp_path / "beside" / "back").symlink_to(root)
    followed = locations(source_at(root, follow_links=True))
    assert followed == ["a/x.jpg", "b/y.jpg", "d/beside/z.jpg"]
    assert locations(source_at(root)) == ["d/", "e/", "a/x.jpg", "b/y.jpg"]


def test_broken_links_and_special_files_are_dead_letters(tmp_path: Path, jpeg: bytes) -> None:
    put(tmp_path, "good.jpg", data=jpeg)
    (tmp_path / "broken.jpg").symlink_to(tmp_path / "gone.jpg")
    (tmp_path / "me.jpg").symlink_to("me.jpg")
    os.mkfifo(tmp_path / "pipe.jpg")  # reading it would wait for ever
    readings, dead_letters = read_all(source_at(tmp_path))
    assert [reading.location for reading in readings] == ["good.jpg"]
    assert [letter.key for letter in dead_letters] == ["broken.jpg", "me.jpg", "pipe.jpg"]
    assert {letter.reason for letter in dead_letters} == {"unreadable_file"}
    assert {letter.stage for letter in dead_letters} == {"source"}
    assert not any(str(tmp_path) in letter.message for letter in dead_letters)


def test_a_file_without_permission_is_a_dead_letter(
    tmp_path: Path, jpeg: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path, "a.jpg", "b.jpg", data=jpeg)
    source = source_at(tmp_path)
    real_stat = os.stat

    def refuse(path: object, **options: object) -> os.stat_result:
        if str(path).endswith("a.jpg"):
            raise PermissionError(13, "Permission denied", path)
        return real_stat(path, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "stat", refuse)
    readings, dead_letters = read_all(source)
    assert [reading.location for reading in readings] == ["b.jpg"]
    assert [(letter.key, letter.message) for letter in dead_letters] == [
        ("a.jpg", "Permission denied")
    ]


def test_a_locked_folder_is_a_dead_letter_of_its_own(
    tmp_path: Path, jpeg: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path, "a.jpg", "locked/b.jpg", data=jpeg)
    real_scandir = os.scandir

    def refuse(path: str) -> object:
        if path.rstrip("/").endswith("locked"):
            raise PermissionError(13, "Permission denied", path)
        return real_scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    readings, dead_letters = read_all(source_at(tmp_path))
    assert [reading.location for reading in readings] == ["a.jpg"]
    assert [(letter.key, letter.reason) for letter in dead_letters] == [
        ("locked/", "unreadable_file")
    ]


def test_a_file_that_vanishes_after_the_listing_is_a_dead_letter(
    tmp_path: Path, jpeg: bytes
) -> None:
    put(tmp_path, "a.jpg", data=jpeg)
    source = source_at(tmp_path)
    (item,) = source.items()
    (tmp_path / "a.jpg").unlink()
    (letter,) = source.read(item)
    assert not isinstance(letter, Reading)
    assert letter.reason == "unreadable_file"


def test_a_giant_file_is_refused_unread(tmp_path: Path) -> None:
    with (tmp_path / "giant.jpg").open("wb") as file:
        file.truncate(MAX_BYTES + 1)  # sparse: takes no room on disk
    _, dead_letters = read_all(source_at(tmp_path))
    assert [letter.reason for letter in dead_letters] == ["too_many_bytes"]


def test_empty_files_and_formats_nobody_decodes_are_inputs_all_the_same(tmp_path: Path) -> None:
    put(tmp_path, "empty.jpg", "phone.HEIC", data=b"")
    readings, _ = read_all(source_at(tmp_path))
    assert [reading.location for reading in readings] == ["empty.jpg", "phone.HEIC"]


def test_a_text_beside_an_image_is_its_caption(tmp_path: Path, jpeg: bytes) -> None:
    put(tmp_path, "a.v2.jpg", "b.jpg", "c.jpg", data=jpeg)
    (tmp_path / "a.v2.txt").write_text("\ufeff A fox. \n", "utf-8")
    (tmp_path / "b.txt").write_bytes(b" \n")
    source = source_at(tmp_path)
    readings, _ = read_all(source)
    assert captions_of(readings) == [["A fox."], [], []]
    before = signatures(source)
    (tmp_path / "a.v2.txt").write_text("Another fox.")
    after = signatures(source)
    assert {name for name in after if after[name] != before[name]} == {"a.v2.jpg"}


def write_sheet(path: Path, *rows: object) -> None:
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    path.write_text("\n".join(lines) + "\n", "utf-8")


def test_an_imagefolder_sheet_gives_captions_boxes_and_metadata(
    tmp_path: Path, jpeg: bytes
) -> None:
    put(tmp_path, "a.jpg", "deep/b.jpg", "none.jpg", data=jpeg)
    write_sheet(
        tmp_path / "metadata.jsonl",
        {"file_name": "a.jpg", "text": "A fox.", "year": 1998},
        {
            "file_name": "deep/b.jpg",
            "objects": {"bbox": [[1, 2, 3, 4], [0, 0, 9.5, 1]], "categories": ["fox", "tree"]},
        },
    )
    readings, _ = read_all(source_at(tmp_path))
    a, none, b = readings
    assert captions_of([a]) == [["A fox."]]
    assert json.loads(a.metadata) == {"text": "A fox.", "year": 1998}
    assert [(x.kind, x.task, x.label, x.box_xyxy, x.score) for x in b.annotations] == [
        ("region", "object_detection", "fox", (1, 2, 4, 6), None),
        ("region", "object_detection", "tree", (0, 0, 9.5, 1), None),
    ]
    assert (none.metadata, none.annotations) == ("{}", ())


def test_several_captions_of_an_image_all_count_once(tmp_path: Path, jpeg: bytes) -> None:
    put(tmp_path, "a.jpg", "b.jpg", data=jpeg)
    (tmp_path / "b.txt").write_text("An animal.", "utf-8")
    captions = ["A fox.", "It runs.", "A fox."]
    rows = [{"file_name": name, "text": captions} for name in ("a.jpg", "b.jpg")]
    write_sheet(tmp_path / "metadata.jsonl", *rows)
    readings, _ = read_all(source_at(tmp_path))
    assert captions_of(readings[:1]) == [["A fox.", "It runs."]]
    assert sorted(captions_of(readings[1:])[0]) == ["A fox.", "An animal.", "It runs."]


def test_the_nearest_sheet_counts(tmp_path: Path, jpeg: bytes) -> None:
    put(tmp_path, "train/x/a.jpg", "test/a.jpg", data=jpeg)
    write_sheet(tmp_path / "metadata.jsonl", {"file_name": "test/a.jpg", "text": "top"})
    write_sheet(tmp_path / "train" / "metadata.jsonl", {"file_name": "x/a.jpg", "text": "train"})
    readings, _ = read_all(source_at(tmp_path))
    assert captions_of(readings) == [["top"], ["train"]]


def test_a_changed_sheet_changes_the_signatures_below_it(tmp_path: Path, jpeg: bytes) -> None:
    put(tmp_path, "train/x/a.jpg", "test/a.jpg", data=jpeg)
    before = signatures(source_at(tmp_path))
    write_sheet(tmp_path / "train" / "metadata.jsonl", {"file_name": "x/a.jpg", "text": "new"})
    after = signatures(source_at(tmp_path))
    assert {name for name in after if after[name] != before[name]} == {"train/x/a.jpg"}


def test_labels_that_cannot_be_used_are_told_and_the_image_stays(
    tmp_path: Path, jpeg: bytes
) -> None:
    put(tmp_path, "a.jpg", "b.jpg", "c.jpg", data=jpeg)
    write_sheet(
        tmp_path / "metadata.jsonl",
        {"file_name": "a.jpg", "objects": {"bbox": [[1, 2, 3]], "categories": ["fox"]}},
        '{"file_name": "b.jpg", "text":',
        {"file_name": "c.jpg", "text": "fine"},
    )
    readings, dead_letters = read_all(source_at(tmp_path))
    assert not dead_letters
    a, b, c = (json.loads(reading.metadata) for reading in readings)
    assert "box 1 is [1, 2, 3], not [x, y, width, height]" in a["label_error"]
    assert a["objects"] == {"bbox": [[1, 2, 3]], "categories": ["fox"]}
    assert "metadata.jsonl line 2" in b["label_error"]
    assert "label_error" not in c


def test_include_selects_by_glob(tmp_path: Path, jpeg: bytes) -> None:
    put(tmp_path, "a.jpg", "x/b.jpg", "x/y/c.jpg", "x/d.png", data=jpeg)

    def found(*include: str) -> list[str]:
        return locations(source_at(tmp_path, include=include, kind="folder"))

    assert found("*.png") == ["x/d.png"]
    assert found("x/*") == ["x/b.jpg", "x/d.png"]
    assert found("x/**") == ["x/b.jpg", "x/d.png", "x/y/c.jpg"]
    assert found("a.jpg", "**/c.jpg") == ["a.jpg", "x/y/c.jpg"]
    with pytest.raises(ConfigError, match="check `include`"):
        found("*.tiff")


def test_a_folder_without_images_says_what_it_has(tmp_path: Path) -> None:
    put(tmp_path, "a.pdf", "b.pdf", "c.docx", data=b"")
    with pytest.raises(ConfigError, match=r"no images \(found: 2 \.pdf, 1 \.docx\)"):
        locations(source_at(tmp_path, kind="folder"))


def test_remote_storage_is_listed_and_read_like_a_disk(jpeg: bytes) -> None:
    memory = fsspec.filesystem("memory")
    memory.pipe({f"/remote-folder/{name}": jpeg for name in ("b.jpg", "d/a.png", ".x/y.jpg")})
    memory.pipe({"/remote-folder/d/a.txt": b"A fox.", "/remote-folder/e.csv": b""})
    source = source_at("memory://remote-folder")
    readings, dead_letters = read_all(source)
    assert [reading.location for reading in readings] == ["b.jpg", "d/a.png"]
    assert captions_of(readings) == [[], ["A fox."]]
    assert not dead_letters
    before = signatures(source)
    memory.pipe("/remote-folder/b.jpg", jpeg)  # written again: the same size, another time
    assert signatures(source)["b.jpg"] != before["b.jpg"]
    memory.rm("/remote-folder", recursive=True)


def test_a_source_travels_to_workers_and_reads_there(tmp_path: Path, jpeg: bytes) -> None:
    put(tmp_path, "a.jpg", data=jpeg)
    source = source_at(tmp_path)
    (item,) = source.items()
    there: Source = pickle.loads(pickle.dumps(source))
    (reading,) = there.read(Item(location=item.location, signature=item.signature))
    assert isinstance(reading, Reading)
    assert reading.data == jpeg

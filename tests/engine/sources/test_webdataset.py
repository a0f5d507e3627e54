"""WebDataset tars: whole ones, odd ones and damaged ones. Nothing is lost without a word."""

from __future__ import annotations

import io
import json
import tarfile
import tracemalloc
from collections import Counter
from pathlib import Path

import fsspec
import numpy as np
import pytest
import webdataset

from florilegium.engine.core.annotation import Annotation, Provenance, from_json, stamp, to_columns
from florilegium.engine.core.errors import ConfigError
from florilegium.engine.core.image.header import MAX_BYTES
from florilegium.engine.core.sample import DeadLetter
from florilegium.engine.sources import archive
from florilegium.engine.sources.source import Reading
from florilegium.engine.sources.webdataset import WebDatasetSource
from tests.engine.sources.conftest import WriteTar, captions_of, read_all, source_at

BLOCK = 512


def names(results: list[Reading]) -> list[str]:
    return [result.name for result in results]


def reasons(dead_letters: list[DeadLetter]) -> list[tuple[str, str]]:
    return [(letter.key, letter.reason) for letter in dead_letters]


def test_samples_come_with_caption_metadata_and_untouched_bytes(
    write_tar: WriteTar, jpeg: bytes
) -> None:
    path = write_tar(
        "0.tar",
        {
            "train/000.jpg": jpeg,
            "train/000.txt": b"A rocket.\n",
            "train/000.json": b'{"url": "http://x", "b": 1.0, "a": [1]}',
            "train/000.cls": b"7",
            "train/001.PNG": jpeg + b"1",
            "train/001.caption": "Eine Blüte.".encode(),
        },
    )
    source = source_at(path)
    assert isinstance(source, WebDatasetSource)
    assert source.is_packed
    readings, dead_letters = read_all(source)
    assert not dead_letters
    first, second = readings
    assert (first.name, first.location, first.data) == ("train/000", "0.tar/train/000.jpg", jpeg)
    assert first.metadata == '{"a":[1],"b":1.0,"cls":"7","url":"http://x"}'
    assert second.data == jpeg + b"1"
    assert captions_of(readings) == [["A rocket."], ["Eine Blüte."]]
    assert [a.kind for a in first.annotations] == ["text"]
    assert all(a.id == "" and a.specialist == "" and a.score is None for a in first.annotations)


@pytest.mark.filterwarnings(
    "ignore:unclosed file", "ignore:Exception ignored in"
)  # the library's own
def test_what_the_webdataset_library_reads_is_read_alike(write_tar: WriteTar, jpeg: bytes) -> None:
    path = write_tar(
        "0.tar",
        {
            "a/x.jpg": jpeg,
            "a/x.txt": b"1",
            "a/x.y.jpg": jpeg,
            "b.c/x.JPG": jpeg,
            "b.c/x.left.png": jpeg,
        },
    )
    reader = webdataset.WebDataset(str(path), shardshuffle=False, empty_check=False)
    readings, dead_letters = read_all(source_at(path))
    assert names(readings) == [sample["__key__"] for sample in reader] == ["a/x", "b.c/x"]
    assert not dead_letters


def test_several_captions_of_an_image_all_count_once(write_tar: WriteTar, jpeg: bytes) -> None:
    in_json = json.dumps({"caption": ["A fox.", "It runs.", "A fox."]}).encode()
    path = write_tar(
        "a.tar",
        {
            "a.jpg": jpeg,
            "a.json": in_json,
            "b.jpg": jpeg,
            "b.txt": b"It runs.",
            "b.caption": b"An animal.",
            "b.json": in_json,
        },
    )
    readings, _ = read_all(source_at(path))
    assert captions_of(readings) == [
        ["A fox.", "It runs."], ["It runs.", "An animal.", "A fox."]
    ]  # fmt: skip
    assert {one.task for reading in readings for one in reading.annotations} == {"caption"}


def test_the_caption_in_json_counts_when_there_is_no_text(write_tar: WriteTar, jpeg: bytes) -> None:
    with_both = json.dumps({"caption": "from json"}).encode()
    path = write_tar(
        "0.tar",
        {
            "a.jpg": jpeg,
            "a.json": with_both,
            "b.jpg": jpeg,
            "b.json": with_both,
            "b.txt": b"from txt",
            "c.jpg": jpeg,
            "c.json": b'{"caption": null}',
            "c.txt": b"",
        },
    )
    readings, _ = read_all(source_at(path))
    assert captions_of(readings) == [["from json"], ["from txt"], []]


def test_our_own_output_gives_its_annotations_back_without_provenance(
    write_tar: WriteTar, jpeg: bytes
) -> None:
    provenance = Provenance(specialist="grounder", model="m", revision="r", round=2, stage="s")
    caption, box = stamp(
        [
            Annotation(kind="text", task="caption", text="A rocket."),
            Annotation(
                kind="region", task="object_detection", label="rocket", box_xyxy=(1, 2, 3, 4),
                score=0.5,
            ),
        ],
        provenance,
        "digest",
    )  # fmt: skip
    (phrase,) = stamp(
        [
            Annotation(
                kind="phrase", task="phrase_grounding", text="rocket", span=(2, 8),
                box_xyxy=(1, 2, 3, 4), parent_id=caption.id,
            )
        ],
        provenance,
        "other",
    )  # fmt: skip
    columns = {
        name: array.to_pylist() for name, array in to_columns([caption, box, phrase]).items()
    }
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    rows[1]["parent_id"] = "an annotation that was dropped"
    document = {
        "key": "a", "sha256": "", "width": 64, "height": 43, "orientation": 1,
        "source": "in/a.jpg", "metadata": '{"year":1998}', "annotations": rows,
    }  # fmt: skip
    path = write_tar(
        "0.tar", {"a.jpg": jpeg, "a.json": json.dumps(document).encode(), "a.txt": b"A rocket."}
    )
    (reading,), dead_letters = read_all(source_at(path))
    assert not dead_letters
    assert json.loads(reading.metadata) == {"source": "in/a.jpg", "year": 1998}
    annotations = reading.annotations
    assert [a.task for a in annotations] == ["caption", "object_detection", "phrase_grounding"]
    assert {(a.specialist, a.model, a.revision, a.round, a.stage) for a in annotations} == {
        ("", "", "", 0, "")
    }
    assert (annotations[1].score, annotations[1].box_xyxy, annotations[1].parent_id) == (
        0.5,
        (1, 2, 3, 4),
        "",
    )
    assert annotations[2].parent_id == annotations[0].id != ""
    assert from_json(rows[0]).text == annotations[0].text


BROKEN_ANNOTATIONS = {
    "kind": "picture",
    "box_xyxy": [1, 2, 3],
    "quad": [1.0],
    "span": ["a", "b"],
    "score": float("nan"),
    "text": None,
    "mask_rle": {"size": [1, 2]},
    "task": 7,
}


@pytest.mark.parametrize("field", BROKEN_ANNOTATIONS)
def test_annotations_that_break_the_contract_stay_metadata_with_the_reason(
    write_tar: WriteTar, jpeg: bytes, field: str
) -> None:
    columns = to_columns([Annotation(kind="text", task="caption", text="A rocket.")])
    row = {name: array.to_pylist()[0] for name, array in columns.items()}
    row[field] = BROKEN_ANNOTATIONS[field]
    document = json.dumps({"annotations": [row], "metadata": "{}"}).encode()
    (reading,), dead_letters = read_all(
        source_at(write_tar("0.tar", {"a.jpg": jpeg, "a.json": document}))
    )
    assert not dead_letters
    assert reading.annotations == ()
    assert "contract" in json.loads(reading.metadata)["label_error"]


@pytest.mark.parametrize(
    "document",
    [b"{", b"\xff\xfe\x00", b"[" * 100_000, b'{"a": 1' + b"0" * 5000 + b"}", b"",
     b'{"annotations": [{"kind": 1, "task": 2, "box_xyxy": 3, "parent_id": 4, "specialist": 5}]}',
     b'{"metadata": [], "annotations": 3, "caption": ["\\ud83d"]}', b'"text"', b"NaN"],
)  # fmt: skip
def test_a_hostile_json_costs_only_the_labels(
    write_tar: WriteTar, jpeg: bytes, document: bytes
) -> None:
    path = write_tar("0.tar", [("a.jpg", jpeg), ("a.json", document), ("b.jpg", jpeg)])
    readings, dead_letters = read_all(source_at(path))
    assert names(readings) == ["a", "b"]
    assert not dead_letters
    metadata = readings[0].metadata.encode()  # fails on what is no Unicode text
    assert isinstance(json.loads(metadata), dict)


def test_a_sample_without_an_image_is_a_dead_letter(write_tar: WriteTar, jpeg: bytes) -> None:
    path = write_tar("0.tar", {"a.txt": b"1", "b.jpg": jpeg, "c.json": b"{}", "README": b"hi"})
    readings, dead_letters = read_all(source_at(path))
    assert names(readings) == ["b"]
    assert reasons(dead_letters) == [("a", "no_image"), ("c", "no_image"), ("README", "no_image")]
    assert dead_letters[0].message == "only txt; the members of a sample must be adjacent"


def test_members_that_are_not_adjacent_are_told(write_tar: WriteTar, jpeg: bytes) -> None:
    path = write_tar("0.tar", {"a.jpg": jpeg, "b.jpg": jpeg, "a.txt": b"late"})
    readings, dead_letters = read_all(source_at(path))
    assert names(readings) == ["a", "b"]
    assert reasons(dead_letters) == [("a", "no_image")]


def test_repeated_keys_are_samples_of_their_own(write_tar: WriteTar, jpeg: bytes) -> None:
    pairs = [("a.jpg", jpeg), ("a.txt", b"1"), ("a.jpg", jpeg + b"2"), ("a.txt", b"2"),
             ("b.jpg", jpeg), ("a.jpg", jpeg + b"3")]  # fmt: skip
    readings, dead_letters = read_all(source_at(write_tar("0.tar", pairs)))
    assert names(readings) == ["a", "a", "b", "a"]
    assert captions_of(readings) == [["1"], ["2"], [], []]
    assert len({reading.data for reading in readings}) == 3
    assert not dead_letters


def test_of_several_images_the_first_plain_one_is_read_and_the_others_are_named(
    write_tar: WriteTar, jpeg: bytes
) -> None:
    path = write_tar(
        "0.tar",
        [("a.seg.png", b"mask"), ("a.jpg", jpeg), ("a.png", b"x"), ("b.left.jpg", jpeg),
         ("b.right.jpg", b"x")],
    )  # fmt: skip
    readings, dead_letters = read_all(source_at(path))
    assert [reading.data for reading in readings] == [jpeg, jpeg]
    assert [reading.location for reading in readings] == ["0.tar/a.jpg", "0.tar/b.left.jpg"]
    assert [json.loads(reading.metadata)["more_images"] for reading in readings] == [
        ["seg.png", "png"],
        ["right.jpg"],
    ]
    assert not dead_letters


def test_hidden_members_are_skipped(write_tar: WriteTar, jpeg: bytes) -> None:
    path = write_tar("0.tar", {"x/._a.jpg": b"mac", "x/a.jpg": jpeg, ".DS_Store": b"mac"})
    readings, dead_letters = read_all(source_at(path))
    assert (names(readings), dead_letters) == (["x/a"], [])


def test_paths_links_and_devices_are_never_followed(tmp_path: Path, jpeg: bytes) -> None:
    (tmp_path / "secret.jpg").write_bytes(b"secret")
    path = tmp_path / "0.tar"
    with tarfile.open(path, "w") as tar:
        for name, kind, target in [
            ("../../evil.jpg", tarfile.REGTYPE, ""),
            ("/etc/evil.jpg", tarfile.REGTYPE, ""),
            ("link.jpg", tarfile.SYMTYPE, str(tmp_path / "secret.jpg")),
            ("hard.jpg", tarfile.LNKTYPE, "../../evil.jpg"),
            ("pipe.jpg", tarfile.FIFOTYPE, ""),
            ("disk.jpg", tarfile.BLKTYPE, ""),
            ("folder.jpg", tarfile.DIRTYPE, ""),
        ]:
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, target
            info.size = len(jpeg) if kind == tarfile.REGTYPE else 0
            tar.addfile(info, io.BytesIO(jpeg))
    before = sorted(tmp_path.rglob("*"))
    readings, dead_letters = read_all(source_at(path))
    assert names(readings) == ["../../evil", "/etc/evil"]
    assert [reading.data for reading in readings] == [jpeg, jpeg]
    assert reasons(dead_letters) == [(key, "no_image") for key in ("link", "hard", "pipe", "disk")]
    assert "not a regular file" in dead_letters[0].message
    assert sorted(tmp_path.rglob("*")) == before


def test_odd_member_names_are_printable(write_tar: WriteTar, jpeg: bytes) -> None:
    odd = [
        "new\nline",
        "emoji 🦊",
        "sp ace",
        b"\xff\xe9".decode("utf-8", "surrogateescape"),
        "é" * 150,
    ]
    path = write_tar("0.tar", {f"{name}.jpg": jpeg for name in odd})
    readings, dead_letters = read_all(source_at(path))
    assert names(readings) == ["new\\x0aline", "emoji 🦊", "sp ace", "\\xff\\xe9", "é" * 150]
    assert all(reading.location.encode() for reading in readings)
    assert not dead_letters


def test_an_image_over_the_limit_is_not_read(tmp_path: Path, jpeg: bytes) -> None:
    path = tmp_path / "0.tar"
    with path.open("wb") as file:
        for name, size in [("big.jpg", MAX_BYTES + 1), ("a.jpg", len(jpeg))]:
            info = tarfile.TarInfo(name)
            info.size = size
            file.write(info.tobuf())
            if name == "a.jpg":
                file.write(jpeg)
            else:
                file.seek(size, 1)
            file.seek(-size % BLOCK, 1)
        file.write(bytes(2 * BLOCK))
    tracemalloc.start()
    readings, dead_letters = read_all(source_at(path))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert names(readings) == ["a"]
    assert reasons(dead_letters) == [("big", "too_many_bytes")]
    assert peak < 20_000_000


def test_a_tar_without_members_holds_no_inputs(write_tar: WriteTar) -> None:
    assert read_all(source_at(write_tar("0.tar", {}))) == ([], [])


@pytest.mark.parametrize("data", [b"", b"no tar at all" * 100, bytes(100), b"\x1f\x8b" + bytes(50)])
def test_a_file_that_is_no_tar_is_one_dead_letter(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "0.tar").write_bytes(data)
    readings, dead_letters = read_all(source_at(tmp_path / "0.tar"))
    assert not readings
    assert reasons(dead_letters) == [("0.tar", "corrupt_tar")]


def five_samples(jpeg: bytes) -> list[tuple[str, bytes]]:
    return [
        pair
        for number in range(5)
        for pair in ((f"{number}.jpg", jpeg), (f"{number}.txt", b"A rocket."))
    ]


@pytest.mark.parametrize("suffix", ["tar", "tar.gz"])
def test_a_cut_tar_gives_the_whole_samples_then_one_dead_letter(
    write_tar: WriteTar, jpeg: bytes, suffix: str
) -> None:
    whole = write_tar(f"whole.{suffix}", five_samples(jpeg))
    data = whole.read_bytes()
    complete = names(read_all(source_at(whole))[0])
    assert complete == list("01234")
    end = (
        len(data)
        if suffix == "tar.gz"
        else 5 * (2 * BLOCK + -(-len(jpeg) // BLOCK) * BLOCK + BLOCK)
    )
    for cut in range(1, end, 97):
        path = whole.with_name(f"cut.{suffix}")
        path.write_bytes(data[:cut])
        readings, dead_letters = read_all(source_at(path))
        assert names(readings) == complete[: len(readings)]
        assert [letter.reason for letter in dead_letters] == ["corrupt_tar"], cut
        assert all(reading.data == jpeg for reading in readings)


def test_the_dead_letter_of_a_cut_names_the_place(write_tar: WriteTar, jpeg: bytes) -> None:
    path = write_tar("0.tar", five_samples(jpeg))
    size = 3 * BLOCK + -(-len(jpeg) // BLOCK) * BLOCK
    data = path.read_bytes()
    path.write_bytes(data[: 2 * size + BLOCK + 100])
    _, (within,) = read_all(source_at(path))
    assert (within.key, within.source) == ("2", "0.tar/2")
    assert within.message.startswith("cut in 2.jpg: ")
    path.write_bytes(data[: 2 * size])
    _, (between,) = read_all(source_at(path))
    assert between.key == "0.tar"
    assert between.message.startswith("no end marker after 1.txt")


def test_reading_goes_on_behind_a_damaged_header(write_tar: WriteTar, jpeg: bytes) -> None:
    path = write_tar("0.tar", five_samples(jpeg))
    data = bytearray(path.read_bytes())
    size = 3 * BLOCK + -(-len(jpeg) // BLOCK) * BLOCK
    data[2 * size : 2 * size + 100] = b"\xff" * 100
    path.write_bytes(data)
    readings, dead_letters = read_all(source_at(path))
    assert names(readings) == ["0", "1", "3", "4"]
    # The damage, and what it left of its sample.
    assert Counter(reasons(dead_letters)) == {("0.tar", "corrupt_tar"): 1, ("2", "no_image"): 1}
    assert any("after 1.txt" in letter.message for letter in dead_letters)


def test_tars_that_were_joined_are_read_to_the_end(write_tar: WriteTar, jpeg: bytes) -> None:
    path = write_tar("0.tar", {"a.jpg": jpeg})
    other = write_tar("1.tar", {"b.jpg": jpeg}).read_bytes()
    with path.open("ab") as file:
        file.write(other)
    readings, dead_letters = read_all(source_at(path))
    assert (names(readings), dead_letters) == (["a", "b"], [])


def header_claiming(name: bytes, size: bytes, kind: bytes = b"0") -> bytes:
    """A tar header with its checksum right, whatever it claims."""
    header = bytearray(BLOCK)
    header[: len(name)] = name
    header[100:108] = header[108:116] = header[116:124] = b"0000644\0"
    header[124:136] = size.ljust(12, b"\0")
    header[136:148] = b"0" * 11 + b"\0"
    header[156:157] = kind
    header[257:265] = b"ustar\x0000"
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header)


HOSTILE_HEADERS = {
    "more bytes than disks": header_claiming(b"a.bin", b"\x80" + bytes(3) + b"\x7f" + b"\xff" * 7),
    "a negative size": header_claiming(b"a.jpg", b"\xff" * 12),
    "a long name of a gigabyte": header_claiming(b"x", b"10000000000\0", tarfile.GNUTYPE_LONGNAME),
    "a negative pax header": header_claiming(b"x", b"\xff" * 12, tarfile.XHDTYPE),
}  # fmt: skip


@pytest.mark.timeout(20)
@pytest.mark.parametrize("name", HOSTILE_HEADERS)
def test_a_header_that_lies_costs_neither_time_nor_memory(
    tmp_path: Path, write_tar: WriteTar, jpeg: bytes, name: str
) -> None:
    whole = write_tar("whole.tar", {"z.jpg": jpeg}).read_bytes()[
        : BLOCK * (1 + -(-len(jpeg) // BLOCK))
    ]
    path = tmp_path / "0.tar"
    path.write_bytes(whole + HOSTILE_HEADERS[name] + whole * 3)
    with path.open("r+b") as file:
        file.truncate(8_000_000)  # sparse: takes no room on disk
    tracemalloc.start()
    readings, dead_letters = read_all(source_at(path))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert names(readings)[:1] == ["z"]
    assert "corrupt_tar" in {letter.reason for letter in dead_letters}
    assert peak < 4_000_000


def test_the_search_for_a_whole_header_ends(
    write_tar: WriteTar, jpeg: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archive, "MAX_GAP_BYTES", 100 * BLOCK)
    data = write_tar("whole.tar", {"a.jpg": jpeg}).read_bytes()
    for gap, count in ((bytes(10 * BLOCK), 2), (bytes(200 * BLOCK), 1), (b"x" * 200 * BLOCK, 1)):
        path = write_tar("0.tar", {})
        path.write_bytes(data + gap + data)
        readings, dead_letters = read_all(source_at(path))
        assert len(readings) == count
        assert len(dead_letters) == 2 - count
    assert "no header in 51200 bytes" in dead_letters[0].message
    path.write_bytes(data + (bytes(60 * BLOCK) + data) * 3)  # each gap counts alone
    assert len(read_all(source_at(path))[0]) == 4


def test_damaged_bytes_anywhere_never_raise(write_tar: WriteTar, jpeg: bytes) -> None:
    rng = np.random.default_rng(3)
    for suffix in ("tar", "tar.gz"):
        whole = write_tar(f"whole.{suffix}", five_samples(jpeg)).read_bytes()
        path = write_tar(f"0.{suffix}", {})
        for _ in range(150):
            data = np.frombuffer(whole, np.uint8).copy()
            data[rng.integers(0, len(data), 8)] = rng.integers(0, 256, 8)
            path.write_bytes(data.tobytes())
            readings, dead_letters = read_all(source_at(path))
            assert len(readings) + len(dead_letters) >= 1


def test_memory_does_not_grow_with_the_tar(write_tar: WriteTar, jpeg: bytes) -> None:
    def peak(count: int) -> int:
        path = write_tar("0.tar", [(f"{n}.jpg", jpeg) for n in range(count)])
        source = source_at(path)
        (item,) = source.items()
        tracemalloc.start()
        assert sum(1 for _ in source.read(item)) == count
        highest = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return highest

    peak(10)
    assert peak(1000) < peak(100) + 100_000


def test_ranges_globs_and_folders_mean_the_same_tars(
    tmp_path: Path, write_tar: WriteTar, jpeg: bytes
) -> None:
    for number in range(12):
        write_tar(f"data/p-{number:06d}.tar", {f"{number}.jpg": jpeg})
    (tmp_path / "data" / "notes.md").write_text("")

    def found(url: str) -> list[str]:
        return [item.location for item in source_at(f"{tmp_path}/{url}").items()]

    every = [f"p-{number:06d}.tar" for number in range(12)]
    assert found("data") == found("data/*.tar") == found("data/p-{000000..000011}.tar") == every
    assert found("data/p-{000003..000004}.tar") == every[3:5]
    assert found("data/p-00000[3-4].tar") == every[3:5]
    assert found("data/p-000003.tar") == every[3:4]
    assert found("{data,none}/*1.tar") == ["data/p-000001.tar", "data/p-000011.tar"]
    with pytest.raises(ConfigError, match=r"names 'p-000012.tar', which does not exist; did you"):
        found("data/p-{000010..000013}.tar")
    with pytest.raises(ConfigError, match=r"a range is written"):
        found("data/p-{000000..00.tar")


def test_remote_tars_are_streamed(jpeg: bytes, write_tar: WriteTar) -> None:
    memory = fsspec.filesystem("memory")
    data = write_tar("x.tar", five_samples(jpeg)).read_bytes()
    memory.pipe({f"/remote-tars/{number:03d}.tar": data for number in range(3)})
    readings, dead_letters = read_all(source_at("memory://remote-tars/{000..001}.tar"))
    assert names(readings) == list("0123401234")
    assert not dead_letters
    memory.rm("/remote-tars", recursive=True)


def test_a_tar_that_vanishes_is_a_dead_letter(write_tar: WriteTar, jpeg: bytes) -> None:
    path = write_tar("0.tar", {"a.jpg": jpeg})
    source = source_at(path)
    (item,) = source.items()
    path.unlink()
    (letter,) = source.read(item)
    assert isinstance(letter, DeadLetter)
    assert letter.reason == "unreadable_file"


def test_texts_in_another_encoding_are_read_by_the_option_or_told(
    write_tar: WriteTar, jpeg: bytes
) -> None:
    text = "café à la crème"
    document = json.dumps({"caption": text}, ensure_ascii=False).encode("cp1252")
    path = write_tar(
        "0.tar",
        [("a.jpg", jpeg), ("a.txt", text.encode("cp1252")), ("a.cls", "été".encode("cp1252")),
         ("b.jpg", jpeg), ("b.json", document), ("b.npy", b"\x93NUMPY\xff"),
         ("c.jpg", jpeg), ("c.caption", text.encode("utf-16"))],
    )  # fmt: skip
    readings, _ = read_all(source_at(path))
    assert captions_of(readings) == [[], [], [text]]
    a, b, c = (json.loads(reading.metadata) for reading in readings)
    assert a["label_error"].count("set the source's `encoding`") == 2
    assert b["label_error"].startswith("json: it is no UTF-8; set the source's `encoding`")
    assert c == {}
    readings, _ = read_all(source_at(path, encoding="cp1252"))
    assert captions_of(readings) == [[text], [text], [text]]
    assert [json.loads(r.metadata) for r in readings] == [{"cls": "été"}, {"caption": text}, {}]

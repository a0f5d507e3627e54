from __future__ import annotations

import io
import json
import tracemalloc
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from florilegium.engine.core.annotation import Annotation, MaskRLE
from florilegium.engine.core.limits import Limits
from florilegium.engine.core.sample import DeadLetter
from florilegium.engine.planning.partition import ShardSpec, partition
from florilegium.engine.results.shard import SOURCE_FINGERPRINT, Shard, ShardBytes, read_shard
from florilegium.engine.sources.source import Item, Reading, Source, SourceConfig
from tests.engine.by_hand import caption, region

Readings = Sequence[Reading | DeadLetter]


class Given(Source[SourceConfig]):
    """A source whose items are given."""

    def __init__(self, items: Mapping[str, Readings]) -> None:
        super().__init__(SourceConfig(url="given"), shard_size=100)
        self.given = items

    def items(self) -> Iterator[Item]:
        return (Item(location=name, signature="") for name in self.given)

    def read(self, item: Item) -> Iterator[Reading | DeadLetter]:
        return iter(self.given[item.location])


class Copied(Given):
    """One that holds no image itself."""

    def read(self, item: Item) -> Iterator[Reading | DeadLetter]:
        for one in self.given[item.location]:
            assert isinstance(one, Reading)
            yield replace(one, data=bytes(bytearray(one.data)))


class GivenTar(Given):
    is_packed = True


def reading(name: str, data: bytes, *annotations: Annotation, metadata: str = "{}") -> Reading:
    return Reading(name=name, location=name, data=data, annotations=annotations, metadata=metadata)


def read(source: Source, **limits: int) -> tuple[Shard, ShardBytes]:
    (spec,) = partition([source])
    return read_shard(spec, source, limits=Limits(**limits))


def test_a_record_says_what_the_header_says(photographs: dict[str, Path]) -> None:
    data = photographs["cat"].read_bytes()
    shard, images = read(Given({"pets/cat.png": [reading("x", data, metadata='{"a":1}')]}))
    (record,) = shard.records
    assert (record.key, record.source, record.metadata) == ("pets_cat", "x", '{"a":1}')
    assert (record.width, record.height, record.orientation) == (451, 300, 1)
    assert (record.extension, record.sha256) == ("png", sha256(data).hexdigest())
    assert bytes(images[0]) == data


def test_every_input_is_a_record_or_a_dead_letter(photographs: dict[str, Path]) -> None:
    good = photographs["pagoda"].read_bytes()
    lost = DeadLetter(
        key="lost", source="lost", stage="source", reason="unreadable_file", message=""
    )
    shard, images = read(
        Given(
            {
                "a.jpg": [reading("a.jpg", good)],
                "b.jpg": [reading("b.jpg", b"")],
                "c.jpg": [lost],
                "d.jpg": [reading("d.jpg", b"text")],
                "e.jpg": [reading("e.jpg", good)],
            }
        )
    )
    assert [record.key for record in shard.records] == ["a", "e"]
    assert [(one.key, one.stage, one.reason) for one in shard.dead_letters] == [
        ("b", "source", "empty_file"),
        ("c", "source", "unreadable_file"),
        ("d", "source", "not_an_image"),
    ]
    assert [bytes(images[number]) for number in range(2)] == [good, good]


def test_an_image_with_too_many_pixels_is_a_dead_letter(photographs: dict[str, Path]) -> None:
    data = photographs["pagoda"].read_bytes()
    shard, _ = read(Given({"a.jpg": [reading("a", data)]}), max_pixels=1000)
    assert [one.reason for one in shard.dead_letters] == ["too_many_pixels"]


def test_labels_of_the_source_get_ids_and_provenance(photographs: dict[str, Path]) -> None:
    data = photographs["pagoda"].read_bytes()
    box = region(parent_id="c", score=None)
    shard, _ = read(Given({"a.jpg": [reading("a", data, caption(id="c"), box)]}))
    annotations, found = shard.labels[0]
    assert found.parent_id == annotations.id != "c"
    assert (annotations.specialist, annotations.stage) == ("source", SOURCE_FINGERPRINT)


@pytest.mark.attack("files")
def test_images_that_are_too_many_bytes_together_are_dead_letters(
    photographs: dict[str, Path],
) -> None:
    data = photographs["flower"].read_bytes()
    given = GivenTar({"a.tar": [reading(name, data) for name in "abc"]})
    shard, images = read(given, max_shard_bytes=2 * len(data) + 1)
    assert [record.key for record in shard.records] == ["a--a", "a--b"]
    (letter,) = shard.dead_letters
    assert (letter.key, letter.reason) == ("a--c", "shard_too_large")
    assert "limits.max_shard_bytes" in letter.message
    assert "choose a smaller `shard_size`" in letter.message
    assert len(bytes(images[1])) == len(data)


@pytest.mark.attack("files")
def test_an_image_of_a_source_of_ones_own_has_the_same_limit(photographs: dict[str, Path]) -> None:
    data = photographs["flower"].read_bytes()
    shard, _ = read(Given({"a.jpg": [reading("a", data)]}), max_file_bytes=len(data) - 1)
    assert [letter.reason for letter in shard.dead_letters] == ["too_many_bytes"]


class Failing(GivenTar):
    """A source with a fault, which it shows after its first reading."""

    def read(self, item: Item) -> Iterator[Reading | DeadLetter]:
        yield from self.given[item.location]
        raise KeyError("a fault of the source")


@pytest.mark.attack("files")
def test_an_error_that_a_source_did_not_foresee_costs_its_item_and_is_told(
    photographs: dict[str, Path],
) -> None:
    shard, _ = read(Failing({"a.tar": [reading("x", photographs["flower"].read_bytes())]}))
    assert [record.key for record in shard.records] == ["a--x"]
    (letter,) = shard.dead_letters
    assert (letter.reason, letter.source) == ("source_failed", "a.tar")
    assert letter.message == "KeyError: 'a fault of the source'"
    assert "in read" in letter.traceback


WRONG_TYPES: list[dict[str, Any]] = [
    {"id": [1]}, {"parent_id": []}, {"task": {}}, {"kind": []}, {"text": 5}, {"label": None},
    {"box_xyxy": None}, {"box_xyxy": 7}, {"box_xyxy": {1, 2}}, {"box_xyxy": ([], {}, 1, 2)},
    {"box_xyxy": (True, 0, 5, 5)}, {"quad": "text"}, {"quad": (10**400,) * 8}, {"span": 3},
    {"span": ("a", "b")}, {"mask_rle": []}, {"mask_rle": {"size": 1}}, {"score": "high"},
    {"score": float("nan")}, {"confidence": [1]}, {"merged_from": 5}, {"merged_from": ([],)},
    {"text": "\ud800"}, {"task": "caption\udfff"}, {"mask_rle": MaskRLE((3, []), "a")},  # type: ignore[arg-type, list-item]
]  # fmt: skip


@pytest.mark.attack("files")
@pytest.mark.parametrize("wrong", WRONG_TYPES)
def test_a_label_of_a_wrong_type_costs_itself(
    photographs: dict[str, Path], wrong: dict[str, Any]
) -> None:
    data = photographs["flower"].read_bytes()
    good = region(box_xyxy=(7.0, 7.0, 9.0, 9.0), label="good", score=None)
    shard, _ = read(Given({"a.jpg": [reading("a", data, replace(good, **wrong), good)]}))
    assert [[label.label for label in labels] for labels in shard.labels] == [["good"]]
    assert "1 of 2 labels left out" in json.loads(shard.records[0].metadata)["label_error"]


@pytest.mark.attack("files")
def test_more_labels_than_the_limit_are_left_out_and_told(photographs: dict[str, Path]) -> None:
    data = photographs["flower"].read_bytes()
    annotations = [caption(text=f"{number}") for number in range(5)]
    shard, _ = read(Given({"a.jpg": [reading("a", data, *annotations)]}), max_annotations=3)
    assert [label.text for label in shard.labels[0]] == ["0", "1", "2"]
    error = json.loads(shard.records[0].metadata)["label_error"]
    assert error == "2 of 5 labels left out: the limit is 3 (limits.max_annotations)"


BOXES = {
    "inside": ((1, 2, 3, 4), (1, 2, 3, 4)),
    "all of it": ((0, 0, 300, 451), (0, 0, 300, 451)),
    "out by a pixel": ((-1, -0.5, 301, 452), (0, 0, 300, 451)),
    "out by more": ((-1.5, 0, 10, 10), None),
    "out at the far side": ((10, 10, 302, 20), None),
    "a sliver outside": ((300, 10, 301, 20), None),
    "without an area": ((5, 5, 5, 9), None),
    "with its corners swapped": ((5, 5, 4, 9), None),
    "not a number": ((5, 5, float("nan"), 9), None),
    "text": (("1", 2, 3, 4), None),
}


@pytest.mark.parametrize("case", BOXES)
def test_a_box_that_cannot_be_in_the_image_costs_itself(
    photographs: dict[str, Path], case: str
) -> None:
    data = _turned(photographs["cat"])
    given, right = BOXES[case]
    good = region(box_xyxy=(7.0, 7.0, 9.0, 9.0), label="good", score=None)
    one = region(box_xyxy=given, label="case", score=None)
    metadata = json.dumps({"label_error": "before", "a": 1})
    shard, _ = read(Given({"a.jpg": [reading("a", data, one, good, metadata=metadata)]}))
    boxes = {label.label: label.box_xyxy for label in shard.labels[0]}
    assert boxes == {"good": (7, 7, 9, 9)} | ({"case": right} if right else {})
    error = json.loads(shard.records[0].metadata)
    assert error["a"] == 1
    assert error["label_error"].startswith("before")
    assert ("1 of 2 labels left out: object_detection: " in error["label_error"]) == (right is None)


def _turned(path: Path) -> bytes:
    """Return a photograph of 451x300 pixels that is upright as 300x451."""
    buffer = io.BytesIO()
    with Image.open(path) as image:
        exif = Image.Exif()
        exif[0x0112] = 6
        image.convert("RGB").save(buffer, "JPEG", exif=exif)
    return buffer.getvalue()


def test_samples_of_a_tar_with_one_key_are_kept_apart(photographs: dict[str, Path]) -> None:
    data = photographs["pagoda"].read_bytes()
    shard, _ = read(
        GivenTar({"a.tar": [reading("x.y", data), reading("x y", data), reading("x.y", data)]})
    )
    keys = [record.key for record in shard.records]
    assert keys[0] == "a--x_y"
    assert len(set(keys)) == 3


def test_an_empty_shard_has_no_bytes() -> None:
    shard, _ = read(GivenTar({"a.tar": []}))
    assert shard.records == shard.dead_letters == ()
    assert len(shard.digest) == 32


def test_the_digest_changes_with_bytes_keys_and_labels_only(photographs: dict[str, Path]) -> None:
    pagoda, flower = photographs["pagoda"].read_bytes(), photographs["flower"].read_bytes()

    def digest(name: str, one: Reading) -> str:
        return read(Given({name: [one]}))[0].digest

    base = digest("a.jpg", reading("a", pagoda))
    others = {
        digest("a.jpg", reading("a", flower)),
        digest("b.jpg", reading("a", pagoda)),
        digest("a.jpg", reading("a", pagoda, caption())),
        digest("a.jpg", reading("a", pagoda, metadata=json.dumps({"a": 1}))),
    }
    assert digest("a.jpg", reading("a", pagoda)) == base
    assert len(others) == 4
    assert base not in others


def test_the_order_of_samples_is_part_of_the_digest(photographs: dict[str, Path]) -> None:
    one = reading("one", photographs["pagoda"].read_bytes())
    two = reading("two", photographs["flower"].read_bytes())
    forth, _ = read(GivenTar({"a.tar": [one, two]}))
    back, _ = read(GivenTar({"a.tar": [two, one]}))
    assert forth.sample_digests == back.sample_digests[::-1]
    assert forth.digest != back.digest


def test_bytes_are_given_without_a_copy() -> None:
    images = ShardBytes([b"abc", b"", b"defg"])
    assert [bytes(images[number]) for number in range(3)] == [b"abc", b"", b"defg"]
    assert isinstance(images[0], memoryview)


@pytest.mark.attack("memory")
def test_a_shard_is_in_memory_once_while_it_is_put_together() -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (1000, 700)).save(buffer, "BMP")
    source = Copied({f"{n}": [reading(f"{n}", buffer.getvalue())] for n in range(10)})
    tracemalloc.start()
    shard, _ = read(source)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(shard.records) == 10
    assert peak < 15 * len(buffer.getvalue())


def test_a_shard_is_named_by_its_number() -> None:
    spec = ShardSpec(number=42, source=0, entries=())
    assert read_shard(spec, Given({}), limits=Limits())[0].name == "000042"

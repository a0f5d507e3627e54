from __future__ import annotations

import re
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from florilegium.engine.core.errors import ConfigError, StorageError
from florilegium.engine.core.limits import Limits
from florilegium.engine.planning.index import SCHEMA, Entry, Index, read_index, written
from florilegium.engine.planning.partition import ShardSpec, ShardSummary, places
from florilegium.engine.planning.partition import partition as partition_of
from florilegium.engine.sources.folder import FolderConfig, FolderSource
from florilegium.engine.sources.source import Item, Reading, Source, SourceConfig
from florilegium.engine.storage.folder import Folder
from florilegium.engine.storage.parquet import to_sealed_parquet
from tests.building import build, contents


class Listed(Source[SourceConfig]):
    """A source of items that nobody reads."""

    def __init__(self, *locations: str, url: str = "photos", size: int = 3) -> None:
        super().__init__(SourceConfig(url=url), shard_size=size)
        self.locations = locations

    def items(self) -> Iterator[Item]:
        return (Item(location=name, signature=f"v1 {name}") for name in sorted(self.locations))

    def read(self, item: Item) -> Iterator[Reading]:
        raise NotImplementedError


class Packed(Listed):
    """A source of tars."""

    is_packed = True


def partition(sources: Sequence[Source[Any]], previous: Sequence[Entry] = ()) -> list[ShardSpec]:
    """Return the shards of sources with an index before of these entries, if there are any."""
    return list(partition_of(sources, index_with(previous) if previous else None))


def index_with(entries: Sequence[Entry], *, shard_size: int = 3) -> Index:
    rows = [
        (e.source, e.shard, e.key, e.item.location, e.item.signature, e.item.start, e.item.stop)
        for e in entries
    ]
    columns = [list(column) for column in zip(*rows, strict=True)] or [[] for _ in SCHEMA]
    return written([pa.table(columns, schema=SCHEMA)], shard_size=shard_size)


def index_in(folder: Path) -> Index:
    index = read_index(Folder(str(folder)))
    assert index is not None
    return index


def entries(specs: list[ShardSpec]) -> list[Entry]:
    return [entry for spec in specs for entry in spec.entries]


def keys(specs: list[ShardSpec]) -> list[list[str]]:
    return [[entry.key for entry in spec.entries] for spec in specs]


def keys_of(*locations: str, size: int = 1000) -> list[str]:
    return [entry.key for entry in entries(partition([Listed(*locations, size=size)], []))]


@pytest.mark.attack("files")
def test_a_shard_has_no_more_bytes_than_are_held_together() -> None:
    class Sized(Listed):
        def items(self) -> Iterator[Item]:
            sizes = {"a": 60, "b": 40, "c": 1, "d": 0, "e": 500, "f": 99, "g": 1}
            return (Item(location=name, signature="", size=sizes[name]) for name in self.locations)

    source = Sized(*"abcdefg", size=100)
    source.limits = Limits(max_shard_bytes=100)
    specs = partition([source], [])
    assert keys(specs) == [["a", "b"], ["c", "d"], ["e"], ["f", "g"]]
    assert keys(partition([source], entries(specs))) == keys(specs)


def test_items_fill_shards_in_their_order() -> None:
    specs = partition([Listed(*"abcdefg")], [])
    assert keys(specs) == [["a", "b", "c"], ["d", "e", "f"], ["g"]]
    assert [spec.name for spec in specs] == ["000000", "000001", "000002"]


def test_each_source_has_shards_of_its_own() -> None:
    specs = partition([Listed("a", url="one"), Listed("a", "b", url="two")], [])
    assert [spec.source for spec in specs] == [0, 1]
    assert len({entry.key for entry in entries(specs)}) == 3


def test_a_source_has_the_same_name_however_it_is_spelt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "link").symlink_to("photos", target_is_directory=True)
    urls = ("photos", "./photos/", "~/photos", "link", "s3://bucket/photos", "s3://bucket/photos/",
            "s3://bucket/photosX")  # fmt: skip
    here = tmp_path.resolve() / "photos"
    assert list(places([Listed(url=url) for url in urls])) == [
        f"{here}#1", f"{here}#2", f"{here}#3", f"{here}#4",
        "s3://bucket/photos#1", "s3://bucket/photos#2", "s3://bucket/photosX#1",
    ]  # fmt: skip


def test_a_shard_tells_of_which_source_it_is_and_whether_its_entries_are_packs() -> None:
    sources = [Listed("a", "b", url="one", size=1), Packed("x.tar", "y.tar", url="tars")]
    first = partition(sources, [])
    found = [(spec.number, spec.source, spec.is_packed) for spec in first]
    assert found == [(0, 0, False), (1, 0, False), (2, 1, True), (3, 1, True)]
    assert [spec.is_packed for spec in partition(sources, entries(first))] == [
        False, False, True, True,
    ]  # fmt: skip


def test_keys_of_packs_leave_room_for_names_and_those_of_files_do_not() -> None:
    name = "long" * 40
    [[pack]], [file] = keys(partition([Packed(f"{name}.tar")], [])), keys_of(f"{name}.jpg")
    assert (len(pack), len(file)) == (40, 80)


def test_a_tar_is_a_shard_with_a_key_of_its_own() -> None:
    assert keys(partition([Packed("a.tar", "b.tar.gz")], [])) == [["a"], ["b"]]
    assert keys(partition([Packed("x/a.tar", "y/a.tar")], [])) == [["x_a"], ["y_a"]]
    one, two = keys(partition([Packed("a.tar"), Packed("a.tar", url="other")], []))
    assert one != two


def test_new_items_open_new_shards_and_old_shards_do_not_change() -> None:
    first = partition([Listed("b", "d", "f", "h")], [])
    second = partition([Listed(*"abcdefgh")], entries(first))
    assert second[: len(first)] == first
    assert keys(second[len(first) :]) == [["a", "c", "e"], ["g"]]


def test_a_shard_that_is_not_full_stays_as_it_is() -> None:
    first = partition([Listed("a")], [])
    assert keys(partition([Listed("a", "b")], entries(first))) == [["a"], ["b"]]


def test_a_removed_item_leaves_a_gap_and_an_empty_shard_disappears() -> None:
    first = partition([Listed(*"abcdef")], [])
    second = partition([Listed("b", "f")], entries(first))
    assert [(spec.name, keys([spec])) for spec in second] == [
        ("000000", [["b"]]),
        ("000001", [["f"]]),
    ]
    third = partition([Listed("f")], entries(second))
    assert [spec.name for spec in third] == ["000001"]
    assert [spec.name for spec in partition([Listed("f", "g")], entries(third))] == [
        "000001",
        "000002",
    ]


def test_the_number_of_a_shard_that_is_gone_is_not_given_again() -> None:
    first = partition([Listed(*"abcdefg")], [])
    assert [spec.name for spec in first] == ["000000", "000001", "000002"]
    second = partition([Listed(*"abcdefh")], entries(first))
    assert [(spec.name, keys([spec])) for spec in second] == [
        ("000000", [["a", "b", "c"]]),
        ("000001", [["d", "e", "f"]]),
        ("000003", [["h"]]),
    ]


def test_a_changed_item_keeps_its_place_with_its_new_signature() -> None:
    first = partition([Listed("a", "b")], [])
    old = entries(first)[0]
    stale = Entry(
        source=old.source, shard=0, key=old.key, item=Item(location="a", signature="older")
    )
    second = partition([Listed("a", "b")], [stale, entries(first)[1]])
    assert second == first
    assert ShardSpec(number=0, source=0, entries=(stale,)).inputs_digest != second[0].inputs_digest


def test_the_same_listing_twice_is_the_same_partition() -> None:
    sources = [Listed(*"abcdefg"), Packed("x.tar", url="tars")]
    first = partition(sources, [])
    assert partition(sources, entries(first)) == first


def test_sources_that_overlap_keep_their_partition(tmp_path: Path) -> None:
    sources = [Listed("a", "b", "c"), Listed("b", "c", "d")]
    first = partition(sources, [])
    assert len({entry.key for entry in entries(first)}) == 6
    assert partition(sources, entries(first)) == first


def test_sources_in_another_order_keep_their_shards() -> None:
    one, two = Listed("a", url="one"), Listed("b", url="two")
    first = partition([one, two], [])
    second = partition([two, one], entries(first))
    assert [(spec.name, spec.source) for spec in second] == [("000000", 1), ("000001", 0)]


def test_rows_of_one_file_are_different_items(tmp_path: Path) -> None:
    class Rows(Packed):
        def items(self) -> Iterator[Item]:
            for start in (0, 10):
                yield Item(location="a.parquet", signature="v", start=start, stop=start + 10)

    first = partition([Rows()], [])
    assert len(first) == 2
    assert partition([Rows()], entries(first)) == first
    index_with(entries(first)).publish(Folder(str(tmp_path)))
    assert [(entry.item.start, entry.item.stop) for entry in index_in(tmp_path).entries()] == [
        (0, 10),
        (10, 20),
    ]


@pytest.mark.parametrize(
    "changes",
    [{"location": "b"}, {"signature": "w"}, {"start": 1}, {"stop": 8}, {"start": 0, "stop": 0}],
)
def test_inputs_are_others_when_anything_about_them_is(changes: dict[str, Any]) -> None:
    def digest(key: str = "k", **item: Any) -> str:
        values = {"location": "a", "signature": "v", "start": 0, "stop": 9, **item}
        entry = Entry(source="s#1", shard=0, key=key, item=Item(**values))
        return ShardSpec(number=0, source=0, entries=(entry,)).inputs_digest

    assert digest(**changes) != digest() == digest()
    assert digest(key="other") != digest()


def test_all_that_names_an_input_is_in_the_digest_of_a_shard() -> None:
    item = Item(location="a.parquet", signature="v", start=10, stop=20)
    entry = Entry(source="photos", shard=0, key="a", item=item)

    def digest(*entries: Entry) -> str:
        return ShardSpec(number=0, source=0, entries=entries).inputs_digest

    changes = [
        replace(entry, key="b"),
        *(
            replace(entry, item=replace(item, **{name: value}))
            for name, value in [
                ("location", "b.parquet"),
                ("signature", "w"),
                ("start", 11),
                ("stop", 21),
            ]
        ),
    ]
    found = {digest(one) for one in (entry, *changes)}
    assert len(found) == 1 + len(changes)
    assert digest(entry, changes[0]) != digest(changes[0], entry)


@pytest.mark.parametrize(
    ("location", "key"),
    [
        ("cat.jpg", "cat"),
        ("cat", "cat"),
        ("a/b/cat.jpg", "a_b_cat"),
        ("my.holiday.2024.jpg", "my_holiday_2024"),
        ("my.holiday/cat", "my_holiday_cat"),
        ("two words.jpg", "two_words"),
        ("line\\x0abreak.jpg", "line_x0abreak"),
        ("../../etc/passwd.png", "etc_passwd"),
        ("\U0001f408.png", "image"),
        ("\U0001f408 tree.png", "tree"),
        ("-dash_.png", "-dash"),
        ("a--b---c.png", "a-b-c"),
        ("éclair.jpg", "éclair"),
        ("e\u0301clair.jpg", "éclair"),
        ("名前/猫 1.jpg", "名前_猫_1"),
        ("हिन्दी.jpg", "हिन्दी"),
    ],
)
def test_a_key_has_only_characters_that_webdataset_allows(location: str, key: str) -> None:
    assert keys_of(location) == [key]


def test_the_same_stem_with_two_suffixes_is_two_keys() -> None:
    jpg, png, tif = keys_of("cat.jpg", "cat.png", "cat.tif")
    assert jpg == "cat"
    assert len({jpg, png, tif}) == 3


def test_a_key_does_not_depend_on_the_neighbours_unless_they_collide() -> None:
    assert keys_of("cat.jpg") == [keys_of("cat.jpg", "dog.jpg")[0]]
    many = [f"\U0001f408 {number}/\U0001f408.jpg" for number in range(20)]
    assert len(set(keys_of(*many))) == 20


def test_a_key_stays_when_a_collision_comes_before_it() -> None:
    first = partition([Listed("cat.png")], [])
    second = partition([Listed("cat.jpg", "cat.png")], entries(first))
    by_location = {entry.item.location: entry.key for entry in entries(second)}
    assert by_location["cat.png"] == "cat" != by_location["cat.jpg"]


def test_very_long_names_that_begin_alike_keep_different_keys_within_the_limit_of_a_tar() -> None:
    names = [f"{'long' * 40}{number}.jpg" for number in range(3)]
    found = keys_of(*names, *(f"{'ä' * 300}{number}.png" for number in range(3)))
    assert len(set(found)) == 6
    assert max(len(key.encode()) for key in found) <= 92  # leaves room for `.jpeg2000`


def test_long_names_in_different_shards_stay_different_in_the_output(
    album: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(3):
        (folder / f"{'long' * 40}{number}.jpg").write_bytes((album / "cat.jpg").read_bytes())
    build(folder, tmp_path / "out", shard_size=1)
    in_index = {entry.key for entry in index_in(tmp_path / "out").entries()}
    json_keys = set()
    for tar in sorted((tmp_path / "out" / "shards").glob("*.tar")):
        json_keys |= set(re.findall(rb'"key":"([^"]+)"', tar.read_bytes()))
    assert {key.decode() for key in json_keys} == in_index
    assert len(in_index) == 3


def test_the_index_is_read_back(tmp_path: Path) -> None:
    folder = Folder(str(tmp_path))
    sources = [Listed("a\\x0a", "b \U0001f408"), Packed("x.tar", url="tars")]
    shards = partition_of(sources, shard_size=4)
    shards.index.publish(folder)
    index = index_in(tmp_path)
    assert list(index.entries()) == entries(list(shards))
    assert index.shard_size == 4


def index_of(**changes: Any) -> pa.Table:
    """Return an index of two items, of which columns or the shard size are changed."""
    size = changes.pop("shard_size", b"3")
    columns: dict[str, Any] = {
        "source": ["s#1"] * 2, "shard": [0, 0], "key": ["a", "b"], "location": ["a", "b"],
        "signature": ["v", "v"], "start": [0, 0], "stop": [0, 0],
    }  # fmt: skip
    return pa.table({**columns, **changes}).replace_schema_metadata({"shard_size": size})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"shard": ["0", "1"]}, "its columns are others"),
        ({"shard": [0, None]}, "its columns are others"),
        ({"more": [1, 2]}, "its columns are others"),
        ({"shard_size": b"-1"}, "its shard size is no size"),
        ({"shard_size": b"many"}, "invalid literal"),
        ({"key": ["a", "../b"]}, r"'\.\./b' is no key of a sample"),
    ],
)
def test_an_index_that_says_something_else_is_told_with_what_is_wrong(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    path = tmp_path / "index.parquet"
    path.write_bytes(to_sealed_parquet(index_of(shard_size=b"0")))
    assert [entry.key for entry in index_in(tmp_path).entries()] == ["a", "b"]
    path.write_bytes(to_sealed_parquet(index_of(**changes)))
    with pytest.raises(StorageError, match=rf"/index\.parquet is damaged: {message}.* delete it"):
        list(index_in(tmp_path).entries())


def test_no_index_is_no_memory(tmp_path: Path) -> None:
    assert read_index(Folder(str(tmp_path))) is None


def test_an_empty_index_is_read_back(tmp_path: Path) -> None:
    index_with([]).publish(Folder(str(tmp_path)))
    assert list(index_in(tmp_path).entries()) == []
    assert index_in(tmp_path).shard_size == 3


def test_a_shard_size_that_changes_makes_all_shards_again(album: Path, tmp_path: Path) -> None:
    build(album, tmp_path / "out", shard_size=3)
    build(album, tmp_path / "out", shard_size=7)
    build(album, tmp_path / "fresh", shard_size=7)
    assert contents(tmp_path / "out") == contents(tmp_path / "fresh")


class OneByOne(FolderSource):
    """A source that makes shards of one image, whatever the config has."""

    def __init__(self, config: FolderConfig, *, shard_size: int) -> None:
        super().__init__(config, shard_size=1)


def test_a_source_with_a_shard_size_of_its_own_keeps_its_shards(
    album: Path, tmp_path: Path
) -> None:
    images = tmp_path / "images"
    shutil.copytree(album, images)
    source = {"url": str(images), "kind": f"{__name__}:OneByOne"}
    build([source], tmp_path / "out", shard_size=7)
    before = list(index_in(tmp_path / "out").entries())
    (images / "cat.jpg").rename(images / "zebra.jpg")
    build([source], tmp_path / "out", shard_size=7)
    after = list(index_in(tmp_path / "out").entries())
    assert after[:-1] == [one for one in before if one.item.location != "cat.jpg"]
    assert (after[-1].item.location, after[-1].shard) == ("zebra.jpg", len(before))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device is always full here")
def test_a_full_disk_for_temporary_files_is_an_error_with_its_cure(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("tempfile.TemporaryFile", partial(open, "/dev/full", "w+b"))
    with pytest.raises(StorageError, match=r"cannot write .*the disk is full: free some space"):
        partition_of([Listed("a")])
    with pytest.raises(StorageError, match=r"cannot write .*the disk is full: free some space"):
        index_with([])


def test_hostile_names_on_disk_get_keys_of_their_own(album: Path, tmp_path: Path) -> None:
    names = ["a.b.c.jpg", "a b.jpg", "a\nb.jpg", "\U0001f408.jpg", "\U0001f415.jpg", "~.jpg",
             "a_b.jpg", "名前.jpg", "-.jpg", "noextension"]  # fmt: skip
    for name in names:
        (tmp_path / name).write_bytes((album / "cat.jpg").read_bytes())
    source = FolderSource(FolderConfig(url=str(tmp_path)), shard_size=100)
    found = [entry.key for entry in entries(partition([source], []))]
    assert len(set(found)) == len(names)
    assert all(re.fullmatch(r"[\w-]+", key) and len(key.encode()) <= 92 for key in found)
    assert "名前" in found


def test_a_damaged_index_is_told_with_its_cure(tmp_path: Path) -> None:
    (tmp_path / "index.parquet").write_bytes(b"PAR1 not really")
    with pytest.raises(StorageError, match=r"/index\.parquet is damaged: .* delete it"):
        read_index(Folder(str(tmp_path)))


def test_a_shard_is_known_without_its_entries() -> None:
    shards = partition_of([Listed("a", "b", url="one", size=1), Packed("x.tar", url="tars")])
    assert len(shards) == 3
    assert list(shards.shards()) == [
        ShardSummary(0, 0, 1, False, shards.spec(0).inputs_digest, "a"),
        ShardSummary(1, 0, 1, False, shards.spec(1).inputs_digest, "b"),
        ShardSummary(2, 1, 1, True, shards.spec(2).inputs_digest, "x.tar"),
    ]
    assert list(shards.only(lambda number: number != 1)) == [shards.spec(0), shards.spec(2)]
    assert shards.only(lambda number: number != 1).inputs_digest != shards.inputs_digest
    with pytest.raises(KeyError):
        shards.spec(3)


class Tabular(Listed):
    """A source that lists as tables only."""

    table = pa.table({"location": ["a", "b"], "signature": ["1", "2"], "start": [0, 0],
                      "stop": [0, 0], "size": [7, 8]})  # fmt: skip

    def item_tables(self) -> Iterator[pa.Table]:
        yield self.table.slice(0, 1)
        yield self.table.slice(1)

    def items(self) -> Iterator[Item]:
        raise NotImplementedError


def test_a_source_may_list_as_tables() -> None:
    source = Tabular(size=1)
    expected = [Item(location="a", signature="1"), Item(location="b", signature="2")]
    assert [one.item for one in entries(partition([source]))] == expected
    text = pa.large_string()
    source.table = source.table.set_column(0, "location", source.table["location"].cast(text))
    assert [one.item for one in entries(partition([source]))] == expected


def test_tables_that_lack_something_are_an_error_with_what_it_is() -> None:
    source = Tabular()
    source.table = Tabular.table.drop_columns("size")
    with pytest.raises(ConfigError, match=r"photos \(Tabular\): .* gives no column 'size'"):
        partition([source])
    source.table = Tabular.table.set_column(1, "signature", pa.array(["1", None]))
    with pytest.raises(ConfigError, match="gives no signature for an item"):
        partition([source])

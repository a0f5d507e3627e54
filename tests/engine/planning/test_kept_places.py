"""What is gone from the source keeps its place in the stored index."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from florilegium.engine.planning import index, kept_places
from florilegium.engine.planning.index import Entry
from florilegium.engine.planning.kept_places import keep_places
from florilegium.engine.sources.source import Item
from florilegium.engine.storage.folder import Folder
from tests.engine.planning.test_partition import index_in, index_with


def entry(shard: int, location: str, key: str, signature: str = "1") -> Entry:
    return Entry(
        source="photos#1", shard=shard, key=key, item=Item(location=location, signature=signature)
    )


def kept(
    folder: Path, now: list[Entry], before: list[Entry], *, shard_size: int = 3
) -> list[Entry]:
    """Store an index, keep the places of another one, and return what is stored then."""
    output = Folder(str(folder))
    index_with(now).publish(output)
    keep_places(output, index_with(before, shard_size=shard_size))
    return list(index_in(folder).entries())


def test_inputs_that_are_gone_come_after_those_of_their_shard(tmp_path: Path) -> None:
    now = [entry(0, "b", "b", "2"), entry(2, "d", "d")]
    gone = [entry(0, "a", "a"), entry(1, "c", "c"), entry(3, "e", "e")]
    before = [gone[0], entry(0, "b", "b"), *gone[1:]]
    assert kept(tmp_path, now, before) == [now[0], gone[0], gone[1], now[1], gone[2]]


def test_one_whose_key_is_given_again_gets_a_new_place(tmp_path: Path) -> None:
    now = [entry(0, "cat.png", "cat")]
    assert kept(tmp_path, now, [entry(0, "cat.jpg", "cat")]) == now


def test_shards_of_another_size_keep_nothing(tmp_path: Path) -> None:
    now = [entry(0, "a", "a")]
    assert kept(tmp_path, now, [entry(0, "b", "b")], shard_size=4) == now


def test_without_an_index_nothing_is_written(tmp_path: Path) -> None:
    keep_places(Folder(str(tmp_path)), index_with([entry(0, "a", "a")]))
    assert list(tmp_path.iterdir()) == []
    now = [entry(0, "a", "a")]
    index_with(now).publish(Folder(str(tmp_path)))
    keep_places(Folder(str(tmp_path)), None)
    assert list(index_in(tmp_path).entries()) == now


@pytest.mark.parametrize("seed", range(5))
def test_any_two_indexes_are_merged_as_by_objects(
    seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index, "GROUP", 5)
    monkeypatch.setattr(kept_places, "_WINDOW", 3)
    chance = random.Random(seed)
    places = [(name, chance.randint(0, 40) ** 2, f"k{chance.randint(0, 60)}") for name in range(80)]
    sides = []
    for _ in range(2):
        chosen = [entry(shard, str(name), key) for name, shard, key in chance.sample(places, 50)]
        sides.append(sorted(chosen, key=lambda one: one.shard))
    now, before = sides
    known, keys = {one.item.location for one in now}, {one.key for one in now}
    gone = [one for one in before if one.item.location not in known and one.key not in keys]
    assert gone
    assert kept(tmp_path, now, before) == sorted([*now, *gone], key=lambda one: one.shard)

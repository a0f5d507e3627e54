"""Any listings, one after the other, are divided as by a few loops over objects in memory."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Iterator
from typing import Any

import pytest

from florilegium.engine.core.limits import Limits
from florilegium.engine.planning import index, known_inputs
from florilegium.engine.planning.partition import Partition, ShardSpec, partition
from florilegium.engine.sources.source import Item, Reading, Source, SourceConfig
from tests.engine.planning.simple_partition import simple_partition

_PARTS = ["cat", "dog", "image", "00012", "000120001", "000120002", "cat-2", "c-a--t", "_", "名前",
          "हिन्दी", "e\u0301", "\U0001f408", "long" * 25, ".hidden", "a.b", "x.tar", "-",
          "two words"]  # fmt: skip
_SUFFIXES = ["", ".jpg", ".png", ".tar", ".tar.gz", ".", ".JPEG"]


class Files(Source[SourceConfig]):
    """A source of the items that it is given, in the order in which they are."""

    def __init__(self, url: str, items: list[Item], *, size: int, limits: Limits) -> None:
        super().__init__(SourceConfig(url=url), shard_size=size)
        self._items = items
        self.limits = limits

    def items(self) -> Iterator[Item]:
        return iter(self._items)

    def read(self, item: Item) -> Iterator[Reading]:
        raise NotImplementedError


class Packs(Files):
    """A source of tars."""

    is_packed = True


class World:
    """Sources that change from listing to listing."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.size = self.random.choice([1, 2, 3, 7, 50])
        self.limits = Limits(max_shard_bytes=self.random.choice([100, 1 << 40]))
        self.kinds = [self.random.choice([Files, Packs]) for _ in range(self.random.randint(1, 4))]
        self.urls = [f"s3://{self.random.choice('ab')}" for _ in self.kinds]
        self.items: list[list[Item]] = [[] for _ in self.kinds]
        self.is_sorted = self.random.random() < 0.6
        for _ in range(3):
            self.change()

    def item(self) -> Item:
        parts = self.random.choices(_PARTS, k=self.random.randint(1, 3))
        name = "/".join(parts) + self.random.choice(_SUFFIXES)
        if self.random.random() < 0.5:
            name = f"{self.random.randint(0, 30)}{name}"
        start = self.random.choice([0, 0, 0, 10])
        return Item(
            location=name,
            signature=f"v{self.random.randint(0, 5)}",
            start=start,
            stop=start and start + 10,
            size=self.random.choice([0, 1, 40, 99, 100, 101]),
        )

    def change(self) -> None:
        """Add, remove, move and change items; let some be listed twice."""
        chance = self.random.random
        for items in self.items:
            items += [self.item() for _ in range(self.random.choice([0, 1, 20]))]
            share = self.random.choice([0, 0.1, 0.9])
            items[:] = [one for one in items if chance() >= share]
            if chance() < 0.2 and items:
                items.append(self.random.choice(items))
            if chance() < 0.3:
                items[:] = [
                    Item(location=one.location, signature="new", start=one.start, stop=one.stop)
                    if chance() < 0.3
                    else one
                    for one in items
                ]
            if self.is_sorted:
                items.sort(key=lambda one: (one.location, one.start))
            elif chance() < 0.3:
                self.random.shuffle(items)
        if chance() < 0.1:
            self.urls.reverse()
            self.kinds.reverse()
            self.items.reverse()

    def sources(self) -> list[Source[Any]]:
        made = zip(self.kinds, self.urls, self.items, strict=True)
        return [
            kind(url, list(items), size=self.size, limits=self.limits) for kind, url, items in made
        ]


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("rows", [7, 65_536])
def test_a_partition_is_that_of_the_simple_one(
    seed: int, rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module, name in ((index, "GROUP"), (known_inputs, "BUCKET")):
        monkeypatch.setattr(module, name, rows)
    monkeypatch.setattr("florilegium.engine.planning.partition.GROUP", rows)
    monkeypatch.setattr(known_inputs, "MOST_BUCKETS", 3)
    monkeypatch.setattr("florilegium.engine.sources.source.LISTED", rows)
    world = World(seed)
    now: Partition | None = None
    expected: list[ShardSpec] = []
    for _ in range(6):
        sources = world.sources()
        before = [entry for spec in expected for entry in spec.entries]
        expected = simple_partition(sources, before)
        previous = now.index if now else None
        now = partition(sources, previous)
        assert list(now) == expected
        assert [(one.number, one.source, one.inputs, one.is_packed) for one in now.shards()] == [
            (one.number, one.source, len(one.entries), one.is_packed) for one in expected
        ]
        assert [one.inputs_digest for one in now.shards()] == [
            one.inputs_digest for one in expected
        ]
        assert [one.location for one in now.shards()] == [
            one.entries[0].item.location for one in expected
        ]
        is_same = [entry for spec in expected for entry in spec.entries] == before
        assert (now.index is previous) == is_same or previous is None
        world.change()


def test_files_that_are_open_together_are_few_however_many_inputs_changed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(known_inputs, "BUCKET", 1)
    monkeypatch.setattr(index, "GROUP", 2)
    limits = Limits()

    def of(signature: str) -> list[Source[Any]]:
        items = [Item(location=f"{number:04d}", signature=signature) for number in range(1000)]
        return [Files("s3://a", items, size=1, limits=limits)]

    before = partition(of("v1"))
    opened: list[object] = []
    make = tempfile.TemporaryFile
    monkeypatch.setattr(tempfile, "TemporaryFile", lambda: opened.append(0) or make())
    after = partition(of("v2"), before.index)
    assert {entry.item.signature for entry in after.index.entries()} == {"v2"}
    assert len(opened) <= known_inputs.MOST_BUCKETS + 1  # and the new index

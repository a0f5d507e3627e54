"""Which slice makes which shards, and what slices have in common."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from florilegium.engine.core.errors import ConfigError, StorageError, UsageError
from florilegium.engine.planning.slices import Division, Slice, read_division
from florilegium.engine.storage.folder import Folder
from florilegium.engine.storage.lease import DIVISION

DIVISION_OF_4 = Division(
    slices=4,
    recipe="a" * 32,
    shard_size=256,
    layers="",
    sources=("s3://bucket/photos#1",),
    readings=("b" * 16,),
    inputs="c" * 32,
    remarks=("1 file has no row",),
)


def test_slices_are_numbered_from_1_as_the_tasks_of_an_array() -> None:
    assert Slice.parse("3/16") == Slice(number=3, of=16)
    assert str(Slice.parse("16/16")) == "16/16"
    assert Slice.parse("1/1").has(7)


@pytest.mark.parametrize("text", ["0/16", "17/16", "3", "3/0", "-1/4", "1/4/2", "a/b", "1/4 ", ""])
def test_what_is_no_slice_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(UsageError, match=r"is no slice: give .* from 1/16 to 16/16"):
        Slice.parse(text)


@pytest.mark.parametrize("of", [1, 2, 3, 7, 40])
def test_each_shard_is_of_one_slice_and_neighbours_are_of_different_ones(of: int) -> None:
    slices = [Slice(number=number, of=of) for number in range(1, of + 1)]
    owners = [[one for one in slices if one.has(shard)] for shard in range(23)]
    assert owners == [[Slice.with_shard(shard, of=of)] for shard in range(23)]
    sizes = [sum(one.has(shard) for shard in range(23)) for one in slices]
    assert max(sizes) - min(sizes) <= 1
    assert sizes[0] == -(-23 // of)


def test_a_division_is_read_as_it_was_written(tmp_path: Path) -> None:
    output = Folder(str(tmp_path))
    assert read_division(output) is None
    output.publish(DIVISION, DIVISION_OF_4.to_json())
    assert read_division(output) == DIVISION_OF_4


@pytest.mark.parametrize("data", [b"{}", b"[", b'{"slices": 0}', b"null1"])
def test_a_damaged_division_is_an_error_with_the_cure(tmp_path: Path, data: bytes) -> None:
    output = Folder(str(tmp_path))
    output.publish(DIVISION, data)
    with pytest.raises(StorageError, match=r"division.json is damaged: .* --drop-slices"):
        read_division(output)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"slices": 8}, r"another number of slices \(8\): give"),
        ({"recipe": "d" * 32}, "other stages or thresholds: give"),
        ({"shard_size": 64}, "another shard_size: give"),
        ({"layers": "s3://bucket/layers"}, "another folder of layers: give"),
        ({"sources": ("s3://bucket/other#1",)}, "other sources: give"),
        ({"readings": ("e" * 16,)}, "other options of sources, limits or takedown list: give"),
        (
            {"slices": 8, "shard_size": 64},
            r"another number of slices \(8\) and another shard_size: give",
        ),
    ],
)
def test_another_division_is_refused_with_what_is_different(
    tmp_path: Path, change: dict[str, Any], words: str
) -> None:
    other = DIVISION_OF_4.model_copy(update=change)
    with pytest.raises(ConfigError, match=rf"in 4 slices, and this command has {words}"):
        DIVISION_OF_4.refuse_others(other, Folder(str(tmp_path)))


def test_what_a_slice_cannot_know_makes_no_difference(tmp_path: Path) -> None:
    other = DIVISION_OF_4.model_copy(update={"inputs": "", "remarks": ()})
    DIVISION_OF_4.refuse_others(other, Folder(str(tmp_path)))

from __future__ import annotations

import re
from collections.abc import Iterable

import pytest

from florilegium.engine.core.keys import KEY_BYTES, Keys, packed_key, slug, unique_key


def keys_in(pack: str, *names: str) -> list[str]:
    taken: dict[str, int] = {}
    return [packed_key(pack, name, taken) for name in names]


@pytest.mark.parametrize("name", ["a" * 200, "word " * 40, "a" * 79 + "_b", "_-_", "..", "x-2", ""])
def test_a_key_is_its_own_key(name: str) -> None:
    """Reading a shard looks at keys once more: they must come out as they went in."""
    first = unique_key(name, {})
    second = unique_key(name, {first: 1})
    assert re.fullmatch(r"[\w-]+", first)
    assert (unique_key(first, {}), unique_key(second, {})) == (first, second)
    assert slug(first) == first


def test_samples_of_two_tars_with_the_same_keys_have_keys_of_their_own() -> None:
    assert keys_in("t0", "000000", "000001") == ["t0--000000", "t0--000001"]
    assert keys_in("t1", "000000") == ["t1--000000"]


def test_keys_of_img2dataset_are_unique_and_stay() -> None:
    assert keys_in("00012", "000120000", "000120001") == ["000120000", "000120001"]
    assert keys_in("00012", "000130000", "cat") == ["00012--000130000", "00012--cat"]
    assert keys_in("000000", "0000001") == ["000000--0000001"], "not how img2dataset names tars"


def test_two_samples_of_one_name_in_one_tar_have_two_keys() -> None:
    assert len(set(keys_in("t", "x.y", "x y", "x.y"))) == 3


def test_a_pack_and_a_name_cannot_be_taken_for_another_pair() -> None:
    pairs = [("a", "b"), ("a-b", "c"), ("a", "b-c"), ("a", "-b"), ("a", "b--c"), ("a-", "b")]
    keys = Keys()
    found = [packed_key(keys.of_pack(pack), name, {}) for pack, name in pairs]
    assert len(set(found)) == len(pairs)
    assert all(key.count("--") == 1 for key in found)


def known(files: Iterable[str] = (), packs: Iterable[str] = ()) -> Keys:
    keys = Keys()
    for key in files:
        keys.add_file(key)
    for key in packs:
        keys.add_pack(key)
    return keys


def test_a_file_never_has_the_key_of_a_sample_in_a_tar() -> None:
    keys = known(packs=["t0", "00012"])
    assert keys.of_file("t0--000000.jpg") == "t0-000000_jpg"
    numbered = keys.of_file("000120001")
    assert numbered != "000120001"
    assert numbered.startswith("000120001-")


def test_a_tar_whose_samples_would_have_the_keys_of_files_is_named_otherwise() -> None:
    keys = known(["000120001"])
    pack = keys.of_pack("00012")
    assert pack.startswith("00012-")
    assert packed_key(pack, "000120001", {}) == f"{pack}--000120001"


def test_long_names_of_tars_leave_room_for_the_names_in_them() -> None:
    keys = Keys()
    one, two = (keys.of_pack(f"{'long' * 30}{number}") for number in range(2))
    assert one != two
    found = packed_key(one, "ä" * 100, {})
    assert found.startswith(f"{one}--ää")
    assert len(found.encode()) <= KEY_BYTES


def test_a_name_in_a_tar_of_another_script_leaves_room_within_the_limit() -> None:
    pack = Keys().of_pack("ä" * 20)
    assert len(pack.encode()) == 40
    found = packed_key(pack, "x" * 100, {})
    assert len(found.encode()) == KEY_BYTES
    assert found == f"{pack}--{'x' * 38}"


def test_the_number_of_a_tar_alone_is_no_key_of_img2dataset() -> None:
    assert keys_in("00012", "00012", "000121") == ["00012--00012", "000121"]


def test_known_keys_are_not_given_again() -> None:
    keys = known(["cat"], ["t"])
    assert keys.of_file("cat") != "cat"
    assert keys.of_pack("t") != "t"

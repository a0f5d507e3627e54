"""Keys of new files are those that a set of all keys would give, also where they collide."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import permutations

import pyarrow as pa
import pytest

from florilegium.engine.core.keys import slug
from florilegium.engine.planning.new_keys import slugs_of, stem_of
from florilegium.engine.planning.partition import partition
from tests.engine.planning.simple_partition import simple_partition
from tests.engine.planning.test_partition import Listed, Packed

_DIGEST = re.compile(r"cat-([0-9a-f]{8})")


@pytest.fixture(scope="module")
def derived() -> str:
    """The key that `cat.png` gets where `cat` is taken."""
    _, second = (one.key for one in next(iter(partition([Listed("cat.jpg", "cat.png")]))).entries)
    assert _DIGEST.fullmatch(second)
    return second


def in_order(*names: str, url: str = "photos") -> Listed:
    source = Listed(*names, url=url)
    source.items = lambda: (one for name in names for one in Listed(name).items())  # type: ignore[method-assign]
    return source


def assert_as_simple(*listings: Sequence[Listed]) -> None:
    """Divide one listing after the other, by objects and by columns."""
    index, expected = None, []
    for sources in listings:
        before = [entry for spec in expected for entry in spec.entries]
        expected = simple_partition(sources, before)
        shards = partition(sources, index)
        index = shards.index
        assert list(shards) == expected


def test_a_derived_key_that_another_input_has_as_its_slug_is_not_given_twice(derived: str) -> None:
    names = ("cat.jpg", "cat.png", f"{derived}.jpg")
    for order in permutations(names):
        assert_as_simple([in_order(*order)])
        assert_as_simple([in_order(order[0])], [in_order(*order)])
        assert_as_simple([in_order(*order[:2])], [in_order(*order)])
        assert_as_simple([in_order(order[0]), in_order(*order[1:], url="other")])
    keys = {one.key for spec in partition([in_order(*names)]) for one in spec.entries}
    assert keys > {"cat", derived}
    assert len(keys) == 3


def test_names_that_are_listed_many_times_are_counted_on_from_run_to_run() -> None:
    once, often = in_order(*["cat.jpg"] * 3), in_order(*["cat.jpg"] * 5, "cat.png", "cat-2.jpg")
    assert_as_simple([once], [once, often], [often, once])


def test_files_and_tars_of_img2dataset_never_share_keys() -> None:
    files, tars = Listed("000120001.jpg", "00013.jpg", "12.jpg"), Packed("00012.tar", "00013.tar")
    assert_as_simple([files, tars], [tars, files])
    assert_as_simple([tars, files])
    assert_as_simple([tars], [files, tars])


def test_a_slug_by_columns_is_that_of_the_name() -> None:
    names = ["a/b.jpg", "/a", "a/", ".tar", "x/.tar", "x.tar/", "a.b.tar.gz", "..", "a.", "_._", "",
             "-", "--a--b--", "q" * 100 + ".png", "x" * 79 + "__.jpg", "名前.jpg", "e\u0301",
             "a\nb.c", "*", "a b  c", "\x7f.jpg", "é" * 60]  # fmt: skip
    assert slugs_of(pa.array(names)).to_pylist() == [slug(stem_of(name)) for name in names]

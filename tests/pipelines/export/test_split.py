"""Parts by shares: stable, and about as large as they should be."""

from __future__ import annotations

from collections import Counter
from hashlib import sha256

import pytest

from florilegium.engine.core.errors import UsageError
from florilegium.pipelines.export.split import parse_split

DIGESTS = [sha256(str(number).encode()).hexdigest() for number in range(20_000)]


def test_parts_have_their_shares_to_three_standard_deviations() -> None:
    split = parse_split("train=.9, val=.0975,test=.0025")
    assert split.parts == ("train", "val", "test")
    counts = Counter(map(split.part_of, DIGESTS))
    for name, share in (("train", 0.9), ("val", 0.0975), ("test", 0.0025)):
        deviation = (share * (1 - share) * len(DIGESTS)) ** 0.5
        assert abs(counts[name] - share * len(DIGESTS)) < 3 * deviation


def test_a_part_that_grows_keeps_its_images() -> None:
    small, large = parse_split("a=.5,b=.5"), parse_split("a=.6,b=.4")
    moved = Counter((small.part_of(one), large.part_of(one)) for one in DIGESTS)
    assert not moved["a", "b"]
    assert moved["b", "a"] == pytest.approx(2000, abs=200)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("train=.9", "sum up to 0.9, not to 1"),
        ("train=.9,val=.2", "sum up to 1.1"),
        ("train=.9,train=.1", "names 'train' twice"),
        ("train=.90005,val=.09995", "at most 4 decimals"),
        ("train=1,val=0", "above 0"),
        ("train=nan,val=.1", "give a number"),
        ("train=inf,val=.1", "give a number"),
        ("train,val", "give a number"),
        ("../up=1", "no name of a part"),
    ],
)
def test_shares_that_make_no_split_are_refused(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        parse_split(text)

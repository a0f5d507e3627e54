from __future__ import annotations

import numpy as np
import pyarrow as pa

from florilegium.engine.core.hashes import hashes_of, is_among, numbered, repeated


def test_a_hash_is_that_of_the_text_wherever_it_stands() -> None:
    texts = ["", "a", "a\0", "b" * 7, "b" * 8, "b" * 9, "名前", "c" * 1000]
    whole = hashes_of(pa.array(texts))
    assert len(set(whole.tolist())) == len(texts)
    array = pa.array(["before", *texts, "after"])
    assert hashes_of(array.slice(1, len(texts))).tolist() == whole.tolist()
    assert hashes_of(pa.chunked_array([texts[:3], texts[3:]])).tolist() == whole.tolist()
    assert hashes_of(pa.array([], pa.string())).tolist() == []
    assert hashes_of(pa.array(["", ""])).tolist() == [whole[0]] * 2


def test_every_byte_and_number_counts() -> None:
    text = "0123456789abcdef_01"
    texts = [text[:n] + other + text[n + 1 :] for n in range(len(text)) for other in "xy"]
    assert len(set(hashes_of(pa.array([text, *texts])).tolist())) == 1 + len(texts)
    before = numbered(np.array([-1, 0, 1, 2**62]))
    assert len(set(hashes_of(pa.array([text] * 4), before).tolist())) == 4


def test_a_million_neighbours_have_hashes_of_their_own() -> None:
    texts = pa.array([f"{n // 1000:06d}/{n:09d}.jpg" for n in range(200_000)])
    hashes = hashes_of(texts)
    assert len(np.unique(hashes)) == len(texts)
    assert len(np.unique(hashes >> np.uint64(32))) > 0.9999 * len(texts), "the first half alone"


def test_hashes_are_found_among_others() -> None:
    hashes = np.array([5, 3, 9, 3, 7, 5], np.uint64)
    assert repeated(hashes).tolist() == [3, 5]
    assert is_among(hashes, np.array([3, 9], np.uint64)).tolist() == [0, 1, 1, 1, 0, 0]
    assert not is_among(hashes, np.array([], np.uint64)).any()

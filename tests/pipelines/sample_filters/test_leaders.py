from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np
import pytest

from florilegium.pipelines.sample_filters.bands import band_radii
from florilegium.pipelines.sample_filters.leaders import NONE, Leaders
from florilegium.pipelines.sample_filters.perceptual_hash import HashIndex
from florilegium.pipelines.sample_filters.vectors import VectorIndex, _axes, recall_of, with_keys

COUNT = 1600


def hashes_with_copies(seed: int) -> np.ndarray:
    """Random hashes, half of them an earlier one with up to 12 bits changed, in any place."""
    random = np.random.default_rng(seed)
    hashes = random.integers(0, 2**64, COUNT, dtype=np.uint64)
    for row in range(COUNT // 2, COUNT):
        bits = random.choice(64, random.integers(0, 13), replace=False).astype(np.uint64)
        flipped = np.bitwise_or.reduce(np.uint64(1) << bits, initial=np.uint64(0))
        hashes[row] = hashes[random.integers(0, row)] ^ flipped
    return random.permutation(hashes)


def one_after_the_other(distance: np.ndarray, radius: int) -> list[int]:
    """The rule itself: the earliest kept item within the radius."""
    kept: list[int] = []
    leaders = []
    for row in range(len(distance)):
        near = [one for one in kept if distance[row, one] <= radius]
        leaders.append(near[0] if near else NONE)
        if not near:
            kept.append(row)
    return leaders


@pytest.mark.parametrize("radius", [0, 3, 4, 7, 10])
@pytest.mark.parametrize("size", [500, COUNT])
def test_the_copies_are_those_of_all_pairs(radius: int, size: int, monkeypatch) -> None:
    monkeypatch.setattr("florilegium.pipelines.sample_filters.leaders._RECENT", 500)
    monkeypatch.setattr("florilegium.pipelines.sample_filters.bands._AT_ONCE", 1000)
    hashes = hashes_with_copies(seed=radius)
    distance = np.bitwise_count(hashes[:, None] ^ hashes)
    leaders = Leaders(partial(HashIndex, radius=radius))
    found = [leaders.add(hashes[at : at + size]) for at in range(0, COUNT, size)]
    wanted = one_after_the_other(distance, radius)
    assert np.concatenate(found).tolist() == wanted
    assert any(one != NONE for one in wanted)


def test_pairs_of_close_items_do_not_grow_with_the_square_of_a_shard() -> None:
    pairs = []

    class AllClose:
        def __init__(self, items: np.ndarray) -> None:
            self.count = len(items)

        def near(self, items: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
            pairs.append(len(items) * self.count)
            yield tuple(np.indices((len(items), self.count)).reshape(2, -1))

    found = Leaders(AllClose).add(np.arange(4096))
    assert found.tolist() == [NONE, *[0] * 4095]
    assert sum(pairs) <= 1024**2 + 3 * 1024


def test_equal_vectors_are_close_by_any_cosine_in_whichever_call_they_come() -> None:
    vectors = np.random.default_rng(1).integers(-127, 128, (200, 64), dtype=np.int8)
    leaders = Leaders(partial(VectorIndex, least_cosine=1.0))
    assert leaders.add(with_keys(vectors)).tolist() == [NONE] * 200
    assert leaders.add(with_keys(vectors)).tolist() == list(range(200))


@pytest.mark.parametrize("radius", range(11))
def test_no_pair_within_the_radius_differs_more_in_every_band(radius: int) -> None:
    """Pigeonhole: bits beyond what each band allows need one bit more than the radius."""
    assert sum(allowed + 1 for allowed in band_radii(radius)) == radius + 1


def test_close_vectors_are_found_and_others_are_not() -> None:
    random = np.random.default_rng(0)
    vectors = random.standard_normal((2000, 64))
    noise = random.standard_normal((1000, 64))
    vectors[1000:] = vectors[:1000] + noise * random.uniform(0.1, 0.6, (1000, 1))
    codes = np.rint(vectors / np.abs(vectors).max(axis=1, keepdims=True) * 127).astype(np.int8)
    unit = codes / np.linalg.norm(codes, axis=1, keepdims=True)
    cosine = unit @ unit.T
    leaders = Leaders(partial(VectorIndex, least_cosine=0.9))
    found = np.concatenate([leaders.add(with_keys(part)) for part in np.split(codes, 4)])
    wanted = np.array(one_after_the_other(-cosine, -0.9))
    assert (wanted != NONE).sum() > 400
    is_missed = found != wanted
    assert is_missed.sum() <= (1 - recall_of(0.9)) * 1000 + 3
    assert (found[is_missed] == NONE).all()


def test_the_search_of_vectors_is_nearly_complete_where_it_is_used() -> None:
    assert recall_of(0.95) > 0.9999
    assert recall_of(0.9) > 0.99
    assert recall_of(0.5) < 0.2


def test_the_keys_of_a_vector_are_the_same_in_any_company() -> None:
    vectors = np.random.default_rng(3).integers(-127, 128, (50, 512), dtype=np.int8)
    alone = np.concatenate([with_keys(vectors[n : n + 1]) for n in range(len(vectors))])
    assert np.array_equal(with_keys(vectors), alone)
    turned = _axes(512)[::-1]
    products = vectors.astype(np.float64) @ _axes(512)
    assert np.array_equal(products, vectors[:, ::-1].astype(np.float64) @ turned)

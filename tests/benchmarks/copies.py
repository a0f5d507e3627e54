"""How long does it take to find the copies among a million images?

The images are made up: random hashes and vectors, of which a tenth are changed copies, in shards of
256.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np

from florilegium.engine.core.peak_memory import peak_mib
from florilegium.pipelines.sample_filters.leaders import NONE, Leaders
from florilegium.pipelines.sample_filters.perceptual_hash import HashIndex
from florilegium.pipelines.sample_filters.personal_text import personal_kinds
from florilegium.pipelines.sample_filters.vectors import VectorIndex, with_keys
from tests.benchmarks.table import Row

IMAGES = 1_000_000
LIMIT_S = 60.0
_SHARD = 256
_WIDTH = 512


def measure(_: Path, images: int | None) -> Iterator[Row]:
    """Measure seconds and memory of both searches, and microseconds for a line of text."""
    count = images or IMAGES
    yield from _hashes(count)
    yield from _vectors(count // 20)
    yield _personal_texts()


def _hashes(count: int) -> list[Row]:
    random = np.random.default_rng(0)
    hashes = random.integers(0, 2**64, count, dtype=np.uint64)
    copies = random.permutation(count)[: count // 10]
    bits = random.integers(0, 64, (2, len(copies))).astype(np.uint64)
    hashes[copies] = hashes[random.integers(0, count, len(copies))]
    for one in bits:
        hashes[copies] ^= np.uint64(1) << one
    before_mb = peak_mib()
    seconds, found = _searched(Leaders(partial(HashIndex, radius=4)), hashes)
    limit = LIMIT_S if count <= IMAGES else None
    return [
        Row(what=f"{count:,} hashes within 4 bits", value=seconds, unit="s", limit=limit),
        Row(what="copies that were found", value=found, how=f"{len(copies):,} were made"),
        Row(what="memory beyond the hashes", value=peak_mib() - before_mb, unit="MB"),
    ]


def _vectors(count: int) -> list[Row]:
    random = np.random.default_rng(1)
    vectors = random.integers(-40, 40, (count, _WIDTH)).astype(np.int8)
    copies = count // 2 + random.permutation(count // 2)[: count // 10]
    noise = random.integers(-8, 9, (len(copies), _WIDTH)).astype(np.int8)
    vectors[copies] = vectors[random.integers(0, count // 2, len(copies))] + noise
    leaders = Leaders(partial(VectorIndex, least_cosine=0.95))
    seconds, found = _searched(leaders, vectors, with_keys)
    return [
        Row(what=f"{count:,} vectors with a cosine of 0.95", value=seconds, unit="s"),
        Row(what="copies that were found", value=found, how=f"{len(copies):,} were made"),
    ]


def _searched(
    leaders: Leaders, items: np.ndarray, prepared: Callable[[np.ndarray], np.ndarray] = np.asarray
) -> tuple[float, int]:
    """Return the seconds of a search in shards, and how many copies it finds."""
    start = time.perf_counter()
    shards = (items[first : first + _SHARD] for first in range(0, len(items), _SHARD))
    found = sum(int((leaders.add(prepared(shard)) != NONE).sum()) for shard in shards)
    return time.perf_counter() - start, found


def _personal_texts() -> Row:
    lines = ["OPEN DAILY 9-17", "jane@example.org", "+1 202-555-0143", "4111 1111 1111 1111"] * 500
    start = time.perf_counter()
    for line in lines:
        personal_kinds(line)
    seconds = time.perf_counter() - start
    return Row(what="personal text", value=1e6 * seconds / len(lines), unit="us", how="a line")

"""Lists of images that must not be trained on: those of benchmarks, by digest or by hash.

    # a text file has one entry on each line
    9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08    SHA-256 of the file's bytes
    c3d2e1f0a5b69788                                                    perceptual hash

A Parquet file has columns `sha256`, `perceptual_hash`, or both: the shards of a finished dataset
have the first, the layers of `duplicates` the second. A folder stands for all such files in it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq

from florilegium.engine.core.errors import ConfigError
from florilegium.specialists.words.files import read_text

SHA256, HASH = "sha256", "perceptual_hash"
_ENTRY = re.compile(r"[0-9a-f]{64}|[0-9a-f]{16}")


@dataclass(frozen=True, kw_only=True, eq=False)
class BenchmarkList:
    """Digests, and hashes as uint64, shape (n,), sorted."""

    digests: frozenset[bytes]
    hashes: np.ndarray

    @cached_property
    def digest(self) -> str:
        """The identity of the list, whatever its order and its files (16 hex digits)."""
        whole = sha256(b"".join(sorted(self.digests)))
        whole.update(b"|" + self.hashes.tobytes())
        return whole.hexdigest()[:16]


def read_benchmarks(paths: Sequence[str]) -> BenchmarkList:
    """Read all lists together.

    Raises:
        ConfigError: one is missing, or is no list.
    """
    entries = {entry for path in paths for entry in _entries(path)}
    hashes = sorted(int(entry, 16) for entry in entries if len(entry) == 16)
    return BenchmarkList(
        digests=frozenset(bytes.fromhex(entry) for entry in entries if len(entry) == 64),
        hashes=np.array(hashes, np.uint64),
    )


def _entries(path: str) -> Iterator[str]:
    place = Path(path).expanduser()
    if place.is_dir():
        files = [file for file in sorted(place.rglob("*.parquet")) if _columns(file)]
        if not files:
            raise ConfigError(
                f"benchmarks: in {path} is no Parquet file with a column {SHA256!r} or {HASH!r}"
            )
        for file in files:
            yield from _of_parquet(file)
    elif place.suffix == ".parquet" and place.is_file():
        yield from _of_parquet(place)
    else:
        yield from _of_text(path)


def _of_text(path: str) -> Iterator[str]:
    text, location = read_text(path, "list of benchmark images")
    for number, line in enumerate(text.splitlines(), start=1):
        entry = line.partition("#")[0].strip().casefold()
        if not entry:
            continue
        if not _ENTRY.fullmatch(entry):
            raise ConfigError(
                f"benchmarks: {location}, line {number}: {entry[:80]!r} is neither a SHA-256 of 64 "
                "hexadecimal digits nor a perceptual hash of 16"
            )
        yield entry


def _of_parquet(file: Path) -> Iterator[str]:
    columns = _columns(file)
    if not columns:
        raise ConfigError(f"benchmarks: {file} has no column {SHA256!r} or {HASH!r}")
    for batch in pq.ParquetFile(file).iter_batches(columns=columns):
        for name in columns:
            for entry in pc.unique(batch.column(name)).to_pylist():
                if entry and not _ENTRY.fullmatch(str(entry)):
                    raise ConfigError(f"benchmarks: {file} has {entry!r:.80} as {name}")
                if entry:
                    yield entry


def _columns(file: Path) -> list[str]:
    try:
        names = pq.read_schema(file).names
    except Exception as error:  # pyarrow raises many kinds
        raise ConfigError(f"benchmarks: {file} is no Parquet file: {error}") from error
    return [name for name in (SHA256, HASH) if name in names]

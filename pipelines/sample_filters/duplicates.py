"""Drops copies of images: the same bytes, or the same picture in another size or compression.

Copies are looked for in the whole run, and in lists of benchmark images. The first is kept: that of
the earliest shard, within a shard the largest.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property, partial
from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field

from florilegium.engine.core.errors import SampleError
from florilegium.engine.core.judgement import SampleColumns, Verdicts
from florilegium.engine.core.sample import Sample
from florilegium.engine.core.stage import CONTENT, THRESHOLD, SampleFilter, StageConfig
from florilegium.pipelines.sample_filters.benchmark_lists import (
    HASH,
    BenchmarkList,
    read_benchmarks,
)
from florilegium.pipelines.sample_filters.first_copy import EXACT, LISTED, NEAR, FirstCopies
from florilegium.pipelines.sample_filters.perceptual_hash import (
    MAX_RADIUS,
    HashIndex,
    perceptual_hash,
)

REASONS = {EXACT: "exact_duplicate", NEAR: "near_duplicate", LISTED: "in_benchmark"}


class DuplicatesConfig(StageConfig):
    """Options of `duplicates`."""

    perceptual: bool = True
    """Whether images are hashed, and compared by their hashes, or by their bytes alone."""
    radius: Annotated[int, THRESHOLD] = Field(default=4, ge=0, le=MAX_RADIUS)
    """Bits of 64 in which the perceptual hashes of copies may differ. Among
    a million random hashes, about 0.02 pairs are within 4 by chance, 2 within 6, and 140 within 8.
    """
    across_run: Annotated[bool, THRESHOLD] = True
    """Whether the images of the run are compared with each other, and not only with the lists."""
    benchmarks: Annotated[tuple[str, ...], CONTENT] = ()
    """Lists of images that must not be in the dataset: text files, Parquet files, or folders of
    these, with SHA-256 digests and perceptual hashes. The content counts, not the path."""


class Duplicates(SampleFilter[DuplicatesConfig]):
    """Compare digests and perceptual hashes of all images of a run.

    An image without contrast has no hash, and only its bytes are compared.
    """

    Config: ClassVar[type[StageConfig]] = DuplicatesConfig
    measured_texts: tuple[str, ...] = (HASH,)
    compares = True
    compared_texts: tuple[str, ...] = ("copy_of", "copy")

    def __init__(self, config: DuplicatesConfig) -> None:
        super().__init__(config)
        self.measured_texts = (HASH,) if config.perceptual else ()
        self.compares = config.across_run
        self.compared_texts = self.compared_texts if config.across_run else ()

    def revision(self) -> str:
        """Name the lists of benchmarks.

        Raises:
            ConfigError: one is missing, or is no list.
        """
        return f"benchmarks {self._benchmarks.digest}" if self.config.benchmarks else ""

    def measure(self, samples: Sequence[Sample]) -> list[dict[str, str] | SampleError]:
        """Hash each image."""
        return [_hashed(sample) for sample in samples]

    def compare(self, shards: Iterable[SampleColumns]) -> Iterator[dict[str, list[str]]]:
        copies = self._first_copies()
        for samples in shards:
            found = copies.add(samples, *_hashes(samples))
            yield {"copy_of": found.copy_of.tolist(), "copy": found.kind.tolist()}

    def judge(self, samples: SampleColumns) -> Verdicts:
        """Drop copies, and images on the lists."""
        if self.config.across_run:
            return judged_copies(samples, REASONS)
        verdicts = Verdicts(len(samples))
        is_listed = self._lists.listed(samples, *_hashes(samples))
        verdicts.drop(is_listed, REASONS[LISTED])
        return verdicts

    def _first_copies(self) -> FirstCopies:
        index = partial(HashIndex, radius=self.config.radius)
        return FirstCopies(
            index if self.config.perceptual else None,
            listed_digests=self._benchmarks.digests,
            listed=self._benchmarks.hashes,
        )

    @cached_property
    def _lists(self) -> FirstCopies:
        return self._first_copies()

    @cached_property
    def _benchmarks(self) -> BenchmarkList:
        return read_benchmarks(self.config.benchmarks)


def judged_copies(samples: SampleColumns, reasons: dict[str, str]) -> Verdicts:
    """Drop samples whose text `copy` names a kind of copy, for the reason of that kind."""
    verdicts = Verdicts(len(samples))
    for kind, reason in reasons.items():
        verdicts.drop(np.equal(samples.texts["copy"], kind).astype(bool), reason)
    return verdicts


def _hashes(samples: SampleColumns) -> tuple[np.ndarray, np.ndarray]:
    """Return the hashes of the samples that have one, uint64, and which these are."""
    texts = samples.texts.get(HASH, np.full(len(samples), "", object))
    has_hash = np.array([bool(one) for one in texts], bool)
    return np.array([int(one, 16) for one in texts[has_hash]], np.uint64), has_hash


def _hashed(sample: Sample) -> dict[str, str] | SampleError:
    try:
        found = perceptual_hash(sample.image)
    except SampleError as error:
        return error
    return {} if found is None else {HASH: f"{found:016x}"}

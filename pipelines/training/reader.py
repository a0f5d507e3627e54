"""An endless stream of training examples from the shards of a finished dataset, by WebDataset.

Each epoch shuffles shards and samples, seeded. Each consumer (a loader process of a worker) reads
its own shards, or, if there are fewer shards than consumers, its own samples. A stream that starts
at batch n gives the same batches as one that starts at 0 and skips n.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import count, islice
from random import Random

from florilegium.engine.core.counted import counted
from florilegium.engine.core.errors import UsageError
from florilegium.engine.core.sample import fold_of, is_in_share
from florilegium.engine.results.dataset import Dataset
from florilegium.engine.results.dataset_sample import DatasetSample
from florilegium.pipelines.training.collate import Encoded
from florilegium.pipelines.training.config import TrainConfig
from florilegium.pipelines.training.examples import Example

_BUCKETS = 1000
"""Resolution of `validation_share`."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """The part of a dataset to train on: a share of the samples, without the held-out fold and the
    validation samples."""

    fold: int | None = None
    folds: int = 1
    validation_share: float = 0.0
    sample_share: float = 1.0

    def is_held_out(self, sha256: str) -> bool:
        """Whether a sample lies in the held-out fold, or beyond the share."""
        is_of_fold = self.fold is not None and fold_of(sha256, self.folds) == self.fold
        return is_of_fold or not is_in_share(sha256, self.sample_share)

    def is_for_validation(self, sha256: str) -> bool:
        """Whether a sample is for validation; other digits of its hash decide than for the fold."""
        return fold_of(sha256[12:], _BUCKETS) < self.validation_share * _BUCKETS

    def trains(self, sha256: str) -> bool:
        """Whether a sample is trained on."""
        return not self.is_held_out(sha256) and not self.is_for_validation(sha256)

    def validates(self, sha256: str) -> bool:
        """Whether a sample is used for the validation loss."""
        return not self.is_held_out(sha256) and self.is_for_validation(sha256)


@dataclass(frozen=True, kw_only=True)
class WorkerRank:
    """The rank of a worker, and the number of workers."""

    rank: int = 0
    workers: int = 1


@dataclass(frozen=True, kw_only=True)
class Reader:
    """Reads examples of a dataset.

    `draw` makes an example from a sample and an epoch, `encode` its tokens; samples for which
    either returns `None` are skipped.
    """

    dataset: Dataset
    config: TrainConfig
    part: Part
    draw: Callable[[DatasetSample, int], Example | None]
    encode: Callable[[Example], Encoded | None]

    def batches(self, *, consumer: int, consumers: int, skip: int = 0) -> Iterator[list[Encoded]]:
        """Yield batches without end, after the first `skip`.

        The examples of `length_pool` batches are sorted by length, for less padding.

        Raises:
            UsageError: an epoch had no example.
            StorageError: a shard cannot be read.
        """
        size, pooled = self.config.batch_size, self.config.length_pool
        first, within = divmod(skip, pooled)
        examples = islice(self._epochs(consumer, consumers), first * pooled * size, None)
        for number in count(first):
            pool = sorted(islice(examples, pooled * size), key=lambda one: one.length)
            batches = [pool[start : start + size] for start in range(0, len(pool), size)]
            Random(f"{self.config.seed}/{consumer}/{number}").shuffle(batches)
            yield from batches[within:]
            within = 0

    def for_validation(self, *, at_most: int) -> Iterator[Encoded]:
        """Yield the validation examples, always the same."""
        stream = self._stream(self.dataset.shards, 0, is_wanted=self.part.validates, take=(0, 1))
        return islice(stream, at_most)

    def _epochs(self, consumer: int, consumers: int) -> Iterator[Encoded]:
        shards = self.dataset.shards
        for epoch in count():
            order = Random(f"{self.config.seed}/{epoch}").sample(shards, len(shards))
            takes_shards = len(shards) >= consumers
            own = order[consumer::consumers] if takes_shards else order
            take = (0, 1) if takes_shards else (consumer, consumers)
            is_empty = True
            for encoded in self._stream(own, epoch, is_wanted=self.part.trains, take=take):
                is_empty = False
                yield encoded
            if is_empty:
                raise UsageError(
                    f"no sample of {self.dataset.folder.url} gives an example of "
                    f"{', '.join(self.config.tasks)} in a whole epoch (fold {self.part.fold} of "
                    f"{self.part.folds} held out, {counted(len(own), 'shard')}): check `tasks`, "
                    f"`ambiguous` and `max_target_tokens`, or take more samples, fewer workers or "
                    f"folds"
                )

    def _stream(
        self,
        shards: Sequence[str],
        epoch: int,
        *,
        is_wanted: Callable[[str], bool],
        take: tuple[int, int],
    ) -> Iterator[Encoded]:
        """Yield the examples of some shards; `take` is (first, step) of the samples to read."""
        import webdataset as wds

        shuffle = wds.detshuffle(
            bufsize=self.config.shuffle_buffer,
            initial=self.config.shuffle_buffer,
            seed=self.config.seed,
            epoch=epoch - 1,  # detshuffle adds 1 before it shuffles
        )
        pipeline = wds.DataPipeline(
            partial(_samples, self.dataset, shards),
            partial(_every, *take),
            wds.select(lambda sample: is_wanted(sample.sha256)),
            shuffle,
            wds.map(lambda sample: self.draw(sample, epoch)),
            wds.select(lambda example: example is not None),
            wds.map(self.encode),
            wds.select(lambda encoded: encoded is not None),
        )
        yield from pipeline


def _samples(dataset: Dataset, shards: Sequence[str]) -> Iterator[DatasetSample]:
    for shard in shards:
        yield from dataset.samples(shard)


def _every(first: int, every: int, samples: Iterator[DatasetSample]) -> Iterator[DatasetSample]:
    return islice(samples, first, None, every)

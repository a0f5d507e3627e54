"""Reading examples from shards: order, shards of consumers, folds, and resuming."""

from __future__ import annotations

import shutil
from dataclasses import replace
from itertools import islice

import numpy as np
import pytest

from florilegium.engine.core.errors import StorageError, UsageError
from florilegium.engine.core.sample import fold_of, is_in_share
from florilegium.engine.results.dataset import open_dataset
from florilegium.pipelines.training.reader import Part, Reader
from tests.building import shard_file
from tests.pipelines.training.labels import contents, encode
from tests.pipelines.training.test_collate import example


def read(reader: Reader, batches: int, **place: int) -> list[list[tuple[str, str]]]:
    place = {"consumer": 0, "consumers": 1, **place}
    return [contents(batch) for batch in islice(reader.batches(**place), batches)]


def keys(batches) -> list[str]:
    return [key for batch in batches for key, _ in batch]


def test_every_epoch_has_each_sample_once_in_another_order(reader):
    seen = keys(read(reader(length_pool=1), 14))
    first, second = seen[:14], seen[14:]
    assert sorted(first) == sorted(second) == sorted(set(first))
    assert first != second != sorted(second)


def test_the_samples_of_a_shard_are_shuffled_anew_each_epoch_and_by_the_seed(reader):
    def orders(**options) -> list[tuple[str, ...]]:
        made = reader(**options)
        shard = made.dataset.shards[0]
        return [
            tuple(
                one.example.key
                for one in made._stream([shard], epoch, is_wanted=lambda _: True, take=(0, 1))
            )
            for epoch in range(6)
        ]

    found = orders()
    assert {tuple(sorted(order)) for order in found} == {tuple(sorted(found[0]))}
    assert len(set(found)) > 2
    assert found == orders() != orders(seed=1)


def test_batches_of_a_pool_are_shuffled_by_seed_consumer_and_number(reader, monkeypatch):
    """Were it not so, the shortest examples of all workers would come in one step."""
    word = example("caption", "", "", b"")
    stream = [encode(replace(word, target="x" * length)) for length in range(48)]
    monkeypatch.setattr(Reader, "_epochs", lambda *_: iter(stream))

    def order(consumer: int = 0, **options) -> tuple[int, ...]:
        made = reader(batch_size=1, length_pool=24, **options)
        batches = islice(made.batches(consumer=consumer, consumers=2), 48)
        return tuple(one.length for batch in batches for one in batch)

    found = order()
    assert sorted(found) == [one.length for one in stream]
    first, second = found[:24], [length - 24 for length in found[24:]]
    assert list(first) != second, "each pool has an order of its own"
    assert len({found, order(1), order(seed=1), order(1, seed=1)}) == 4


def test_shards_come_in_an_order_of_each_seed_and_epoch(reader, monkeypatch):
    def orders(seed: int) -> list[tuple[str, ...]]:
        seen: list[tuple[str, ...]] = []

        def stream(_, shards, epoch, **__):
            seen.append(tuple(shards))
            yield from [epoch]

        monkeypatch.setattr(Reader, "_stream", stream)
        assert list(islice(reader(seed=seed)._epochs(0, 1), 4)) == [0, 1, 2, 3]
        return seen

    found = orders(0)
    assert len(set(found)) > 2
    assert {tuple(sorted(order)) for order in found} == {tuple(sorted(found[0]))}
    assert found == orders(0)
    assert found != orders(1)


def test_the_same_seed_reads_the_same_and_another_does_not(reader):
    assert read(reader(), 9) == read(reader(), 9)
    assert read(reader(), 9) != read(reader(seed=1), 9)


@pytest.mark.parametrize("skip", [1, 3, 4, 9, 17])
def test_a_stream_with_skip_gives_the_same_batches(reader, skip):
    assert read(reader(length_pool=4), 20)[skip:] == read(
        reader(length_pool=4), 20 - skip, skip=skip
    )


@pytest.mark.parametrize("consumers", [2, 3, 5, 8])
def test_consumers_share_an_epoch_without_overlap(reader, consumers):
    """Five shards: with eight consumers each takes samples of all of them."""
    shared = reader(batch_size=1, length_pool=1)
    draw = shared.draw
    described = replace(
        shared, draw=lambda sample, epoch: replace(draw(sample, epoch), target=str(epoch))
    )
    first_epoch = [
        key
        for number in range(consumers)
        for batch in read(described, 14, consumer=number, consumers=consumers)
        for key, epoch in batch
        if epoch == "0"
    ]
    assert sorted(first_epoch) == [f"{number:06d}" for number in range(14)]


def test_lengths_within_a_batch_are_similar(reader):
    def spread(batches) -> float:
        return float(np.mean([np.ptp([len(target) for _, target in batch]) for batch in batches]))

    assert spread(read(reader(length_pool=7), 35)) < 0.5 * spread(read(reader(length_pool=1), 35))


def test_a_held_out_fold_is_never_read_and_the_others_all_are(reader, scenes):
    folds = {one.key: fold_of(one.sha256, 3) for one in open_dataset(str(scenes))}
    seen = set(keys(read(reader(Part(fold=1, folds=3)), 21)))
    assert seen == {key for key, fold in folds.items() if fold != 1}


def test_only_a_share_of_the_samples_is_trained_on_and_measured(reader, scenes):
    samples = list(open_dataset(str(scenes)))
    share = {one.key for one in samples if is_in_share(one.sha256, 0.5)}
    assert 0 < len(share) < len(samples)
    split = reader(Part(validation_share=0.3, sample_share=0.5))
    trained = set(keys(read(split, 30)))
    measured = {one.example.key for one in split.for_validation(at_most=99)}
    assert trained
    assert trained | measured == share


def test_validation_samples_are_not_trained_on(reader):
    split = reader(Part(validation_share=0.3))
    measured = {one.example.key for one in split.for_validation(at_most=99)}
    assert measured
    assert measured.isdisjoint(keys(read(split, 30)))
    assert len(measured | set(keys(read(split, 30)))) == 14


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_the_share_of_validation_samples_in_a_thousand_is_exact(share):
    part = Part(validation_share=share)
    digests = [f"{'0' * 12}{number:012x}" for number in range(1000)]
    assert sum(map(part.validates, digests)) == 1000 * share
    assert sum(map(part.trains, digests)) == 1000 - 1000 * share


def test_validation_samples_are_neither_trained_on_nor_held_out(reader, scenes):
    samples = list(open_dataset(str(scenes)))
    part = Part(fold=1, folds=3, validation_share=0.4)
    held_out = {one.key for one in samples if fold_of(one.sha256, 3) == 1}
    to_measure = {one.key for one in samples if fold_of(one.sha256[12:], 1000) < 400}
    assert held_out & to_measure
    assert to_measure - held_out
    split = reader(part)
    measured = [one.example.key for one in split.for_validation(at_most=99)]
    assert sorted(measured) == sorted(to_measure - held_out)
    trained = set(keys(read(split, 30)))
    assert trained == {one.key for one in samples} - held_out - to_measure
    assert [one.example.key for one in split.for_validation(at_most=2)] == measured[:2]


def test_an_epoch_without_examples_is_an_error_with_a_cause(reader):
    empty = reader(Part(fold=0, folds=1))
    with pytest.raises(UsageError, match=r"no sample .* gives an example.*fold 0 of 1"):
        read(empty, 1)
    with pytest.raises(UsageError, match="max_target_tokens"):
        read(reader(encode=lambda example: None), 1)


def test_a_cut_shard_is_an_error_that_names_its_file(reader, scenes, tmp_path):
    shutil.copytree(scenes, tmp_path / "copy")
    shard = shard_file(tmp_path / "copy", ".tar", 2)
    shard.write_bytes(shard.read_bytes()[:1500])
    with pytest.raises(StorageError, match=r"copy/shards/000002-\w+\.tar cannot be read"):
        read(reader(dataset=tmp_path / "copy"), 20)

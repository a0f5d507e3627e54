"""The estimates: unbiased, with intervals that hold the truth as often as they say."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from florilegium.pipelines.audit.estimate import Share, kappa, precision, recall
from florilegium.pipelines.audit.pool import Pool
from florilegium.pipelines.audit.queue import turn
from tests.pipelines.audit.pools import pool

TIMES = 400
RANDOM = np.random.default_rng(7)
CERTAINTY = RANDOM.uniform(size=1200)
POOL = pool(CERTAINTY)


def drawn(again: int, count: int) -> tuple[Pool, np.ndarray]:
    """Return the pool in another random order, and the first rows that are asked."""
    order = np.random.default_rng([1, again]).random(len(POOL))
    other = replace(POOL, order=order)
    is_sampled = np.zeros(len(POOL), dtype=bool)
    is_sampled[np.lexsort((order, turn(other)))[:count]] = True
    return other, is_sampled


@pytest.mark.parametrize(("power", "count"), [(1.0, 80), (0.05, 60), (3.0, 150)])
def test_precision_is_unbiased_and_covered(power: float, count: int) -> None:
    value = (np.random.default_rng(3).uniform(size=len(POOL)) < CERTAINTY**power).astype(float)
    found = [precision(*drawn(again, count), value, 0) for again in range(TIMES)]
    shares = np.array([one.share for one in found])
    error = shares.std() / np.sqrt(TIMES)
    assert shares.mean() == pytest.approx(value.mean(), abs=3 * error)
    covered = np.mean([one.low <= value.mean() <= one.high for one in found])  # type: ignore[operator]
    assert covered >= 0.93


def test_strata_make_the_interval_narrower_than_a_simple_sample() -> None:
    value = (CERTAINTY > 0.5).astype(float)
    found = [precision(*drawn(again, 80), value, 0) for again in range(50)]
    simple = 2 * 1.96 * 0.5 / np.sqrt(80)
    assert np.mean([one.high - one.low for one in found]) < 0.75 * simple  # type: ignore[operator]


def test_how_many_more_are_needed_is_about_right() -> None:
    value = (np.random.default_rng(3).uniform(size=len(POOL)) < 0.8).astype(float)
    early = precision(*drawn(0, 200), value, 0)
    assert early.more > 0
    late = precision(*drawn(0, 200 + early.more), value, 0)
    assert late.low is not None
    assert late.high is not None
    assert (late.high - late.low) / 2 == pytest.approx(0.02, abs=0.004)


def test_all_answered_leaves_no_doubt() -> None:
    value = (CERTAINTY > 0.3).astype(float)
    found = precision(POOL, np.ones(len(POOL), dtype=bool), value, 0)
    assert found.share == found.low == found.high == pytest.approx(value.mean())
    assert found.more == 0


def test_nothing_answered_is_no_number() -> None:
    unsure = np.full(len(POOL), np.nan)
    other, is_sampled = drawn(0, 10)
    found = precision(other, is_sampled, unsure, 0)
    assert (found.share, found.answered, found.unsure) == (None, 0, 10)
    assert recall(
        other, is_sampled, unsure, task="object_detection", missing=[0], images=40
    ) == Share(of=40)


@pytest.mark.parametrize("rate", [0.3, 2.0])
def test_recall_is_about_right_and_covered(rate: float) -> None:
    value = (np.random.default_rng(3).uniform(size=len(POOL)) < CERTAINTY).astype(float)
    missing = np.random.default_rng(4).poisson(rate, size=300)
    truth = value.sum() / (value.sum() + missing.sum())
    found = []
    for again in range(TIMES):
        other, is_sampled = drawn(again, 120)
        seen = np.random.default_rng([2, again]).permutation(missing)[:30].tolist()
        found.append(
            recall(other, is_sampled, value, task="object_detection", missing=seen, images=300)
        )
    assert np.mean([one.share for one in found]) == pytest.approx(truth, abs=0.01)  # type: ignore[arg-type]
    covered = np.mean([one.low <= truth <= one.high for one in found])  # type: ignore[operator]
    assert covered >= 0.92


def test_a_thing_that_two_specialists_found_counts_once() -> None:
    box = np.repeat(np.arange(100), 2)[:, None] * 100 + np.array([0.0, 0.0, 10.0, 10.0])
    twice = pool(np.full(200, 0.5), images=1, specialists=("dfine", "owl"), box=box)
    everything = np.ones(200, dtype=bool)
    found = recall(
        twice, everything, np.ones(200), task="object_detection", missing=[100], images=1
    )
    assert found.share == pytest.approx(0.5)


def test_recall_waits_until_every_specialist_was_asked_about() -> None:
    two = pool(np.full(200, 0.5), specialists=("dfine", "owl"))
    is_sampled = np.zeros(200, dtype=bool)
    is_sampled[:40:2] = True  # of the first one alone
    value = np.ones(200)

    def found() -> Share:
        return recall(two, is_sampled, value, task="object_detection", missing=[5] * 40, images=40)

    assert found().share is None
    is_sampled[1] = True
    assert found().share == pytest.approx(0.5)
    value[1] = np.nan  # unsure: as the others of the task
    assert found().share == pytest.approx(0.5)


def test_no_more_statements_are_wanted_than_are_left() -> None:
    value = (CERTAINTY > 0.5).astype(float)
    value[:100] = np.nan
    everything = np.ones(len(POOL), dtype=bool)
    assert precision(POOL, everything, value, 0).more == 0
    other, is_sampled = drawn(0, 100)
    half = np.where(RANDOM.uniform(size=len(POOL)) < 0.5, np.nan, value)
    some = precision(other, is_sampled, half, 0)
    assert some.answered + some.unsure + some.more <= len(POOL)
    assert some.more > precision(other, is_sampled, value, 0).more


def test_nothing_missing_in_few_images_leaves_doubt() -> None:
    value = np.ones(len(POOL))
    other, is_sampled = drawn(0, 60)
    few, many = (
        recall(other, is_sampled, value, task="object_detection", missing=[0] * count, images=900)
        for count in (5, 200)
    )
    assert few.share == many.share == few.high == 1
    assert few.low is not None
    assert many.low is not None
    assert few.low < many.low < 1


def test_kappa_is_that_of_cohen() -> None:
    """Of 50, both say yes to 20 and no to 15: kappa is (0.7 - 0.5) / (1 - 0.5)."""
    first = ["yes"] * 25 + ["no"] * 25
    second = ["yes"] * 20 + ["no"] * 5 + ["yes"] * 10 + ["no"] * 15
    assert kappa(first, second) == pytest.approx(0.4)


def test_kappa_of_one_answer_alone_is_undefined() -> None:
    assert kappa(["True"] * 5, ["True"] * 5) is None
    assert kappa([], []) is None

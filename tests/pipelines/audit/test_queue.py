"""The two queues: in which order they ask, and that neither disturbs the other."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from florilegium.pipelines.audit.pool import Pool
from florilegium.pipelines.audit.queue import (
    Asked,
    QueueName,
    expected_gain,
    for_all,
    next_row,
    sampled,
)
from tests.pipelines.audit.pools import pool

POOL = pool(np.linspace(0, 1, 120), specialists=("dfine", "owl"))


def answer(asked: Asked, row: int, queue: QueueName, value: float = 1.0) -> None:
    (asked.by_gain if queue == "gain" else asked.by_random)[row] = True
    asked.own[row], asked.value[row] = True, value


def ask(statements: Pool, asked: Asked, queue: QueueName, count: int) -> list[int]:
    rows = []
    for _ in range(count):
        row = next_row(statements, asked, queue)
        if row is None:
            break
        answer(asked, row, queue)
        rows.append(row)
    return rows


def test_the_random_queue_asks_about_all_kinds_and_strata_alike() -> None:
    rows = ask(POOL, Asked.nothing(len(POOL)), "random", 24)
    assert np.bincount(POOL.kind[rows]).tolist() == [12, 12]
    assert np.bincount(POOL.stratum[rows]).tolist() == [4] * 6
    assert sorted(POOL.rank[rows].tolist()) == sorted([0, 1, 2, 3] * 6)


def test_the_random_queue_ends_when_all_is_asked() -> None:
    asked = Asked.nothing(len(POOL))
    assert len(ask(POOL, asked, "random", 1000)) == len(POOL)
    assert sampled(POOL, asked).all()


def test_what_gain_asked_never_enters_the_sample() -> None:
    asked = Asked.nothing(len(POOL))
    gained = ask(POOL, asked, "gain", 30)
    drawn = ask(POOL, asked, "random", 1000)
    assert not set(gained) & set(drawn)
    is_sampled = sampled(POOL, asked)
    assert set(np.flatnonzero(is_sampled)) <= set(drawn)
    assert not is_sampled[gained].any()


def test_gain_changes_nothing_about_the_first_half_of_the_random_order() -> None:
    alone, beside = Asked.nothing(len(POOL)), Asked.nothing(len(POOL))
    ask(POOL, beside, "gain", 30)
    assert ask(POOL, alone, "random", 40) == ask(POOL, beside, "random", 40)


def test_gain_leaves_a_stratum_alone_that_random_has_half_asked() -> None:
    asked = Asked.nothing(len(POOL))
    ask(POOL, asked, "random", len(POOL) * 2 // 3)
    assert next_row(POOL, asked, "gain") is None


def test_a_gap_ends_the_sample_of_its_stratum() -> None:
    asked = Asked.nothing(len(POOL))
    rows = ask(POOL, asked, "random", 24)
    gap = rows[0]
    asked.by_random[gap] = False
    missing = np.flatnonzero(~sampled(POOL, asked)[rows])
    assert {int(POOL.stratum[rows[at]]) for at in missing} == {int(POOL.stratum[gap])}
    assert len(missing) == 4


def test_two_people_share_the_work_but_for_the_overlap() -> None:
    asked = Asked.nothing(len(POOL))
    ask(POOL, asked, "random", 60)
    second = replace(asked, own=np.zeros(len(POOL), dtype=bool))
    again = [row for row in ask(POOL, second, "random", 60) if asked.own[row]]
    assert again
    assert for_all(POOL)[again].all()
    assert (for_all(POOL) & asked.own).sum() == len(again)


def test_what_another_person_looks_at_is_not_asked() -> None:
    asked = Asked.nothing(len(POOL))
    first = next_row(POOL, asked, "random")
    assert first is not None
    asked.held[first] = True
    assert next_row(POOL, asked, "random") != first


def test_gain_prefers_what_is_uncertain_disputed_and_new() -> None:
    box = np.tile([0.0, 0.0, 10.0, 10.0], (4, 1))
    box[2:] += [[100], [200]]
    # Two specialists agree on the first thing; the others were found by one of them each.
    statements = pool(
        np.array([0.5, 0.5, 0.5, 0.99]), images=1, specialists=("dfine", "owl"), box=box
    )
    gain = expected_gain(statements, Asked.nothing(4))
    assert gain[2] > gain[0] == gain[1]
    assert gain[2] > gain[3]
    asked = Asked.nothing(4)
    asked.by_gain[2] = True
    assert expected_gain(statements, asked)[3] < gain[3]

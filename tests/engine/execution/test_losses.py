from __future__ import annotations

import pytest

from florilegium.engine.core.errors import RunError
from florilegium.engine.core.sample import DeadLetter
from florilegium.engine.execution.answer import BUDGET_EXHAUSTED
from florilegium.engine.execution.losses import MANY, Ledger, lines_of, refuse_losses
from florilegium.engine.planning.partition import ShardSummary
from florilegium.engine.results.manifest import Manifest
from florilegium.engine.results.publication import ShardStats
from tests.engine.by_hand import planned, stats_of


def letter(number: int, stage: str = "sharpness", reason: str = "invalid_output") -> DeadLetter:
    return DeadLetter(
        key=f"image_{number}", source="x.jpg", stage=stage, reason=reason, message="no `label`"
    )


def shard(number: int, samples: int, *letters: DeadLetter) -> ShardStats:
    return stats_of(samples, *letters, number=number)


def spec(number: int, inputs: int, *, is_packed: bool = False) -> ShardSummary:
    return ShardSummary(number, 0, inputs, is_packed, "", f"{number}/0")


def stop(specs: list[ShardSummary], stats: list[ShardStats], max_share: float = 0.1) -> str:
    """Return why a run is given up when these shards are finished, or nothing."""
    ledger = Ledger(specs, max_share)
    try:
        for one in stats:
            ledger.add(one)
            ledger.check()
    except RunError as error:
        return str(error)
    return ""


def refusal(max_share: float, *stats: ShardStats) -> str:
    """Return why a finished dataset of these shards is refused, or nothing."""
    try:
        refuse_losses(Manifest.of(planned(), ["photos"], stats), max_share)
    except RunError as error:
        return str(error)
    return ""


def test_the_first_failing_images_of_thousands_stop_nothing() -> None:
    letters = [letter(number) for number in range(150)]
    assert (
        stop([spec(0, 256), *(spec(n, 256) for n in range(1, 9))], [shard(0, 106, *letters)]) == ""
    )


def test_a_run_that_cannot_keep_to_the_limit_is_given_up() -> None:
    letters = [letter(number) for number in range(150)]
    specs = [spec(0, 256), spec(1, 256), spec(2, 256)]
    lines_of = stop(specs, [shard(0, 106, *letters)])
    assert (
        "150 of 768 images failed (invalid_output 150), more than max_dead_letter_share = 0.1 "
        in lines_of
    )
    assert "  image_0, sharpness: invalid_output: no `label`" in lines_of
    assert stop(specs, [shard(0, 106, *letters)], 0.2) == ""


@pytest.mark.parametrize(("lost", "is_refused"), [(100, False), (101, True)])
def test_a_run_on_its_way_may_lose_just_the_share_that_is_allowed(
    lost: int, is_refused: bool
) -> None:
    specs = [spec(number, 250) for number in range(4)]
    lines_of = stop(specs, [shard(0, 250 - lost, *map(letter, range(lost)))], 0.1)
    assert bool(lines_of) == is_refused


def test_a_stage_that_fails_on_everything_ends_a_run_of_thousands_soon() -> None:
    specs = [spec(number, 256) for number in range(40)]
    letters = [letter(number) for number in range(MANY)]
    assert f"all of the first {MANY} images failed" in stop(specs, [shard(0, 0, *letters)])
    assert stop(specs, [shard(0, 0, *letters[1:])]) == ""
    assert stop(specs, [shard(0, 1, *letters)]) == ""
    assert stop(specs, [shard(0, 0, *letters)], 1) == ""


def test_a_source_that_begins_with_broken_files_goes_on() -> None:
    specs = [spec(number, 256) for number in range(40)]
    letters = [letter(number, stage="source", reason="empty_file") for number in range(256)]
    assert stop(specs, [shard(0, 0, *letters)]) == ""


def test_a_tar_that_is_not_read_yet_may_be_as_large_as_the_others() -> None:
    letters = [letter(number) for number in range(150)]
    tars = [spec(number, 1, is_packed=True) for number in range(3)]
    assert stop(tars, [shard(0, 1000, *letters)]) == ""
    assert "150 of 1350 images" in stop(tars, [shard(0, 300, *letters)])


def test_a_small_run_comes_to_its_end() -> None:
    assert stop([spec(0, 12), spec(1, 12)], [shard(0, 0, *map(letter, range(12)))]) == ""


@pytest.mark.parametrize(
    ("lost", "samples", "max_share", "is_refused"),
    [
        (0, 5, 0.0, False),
        (1, 99, 0.0, True),
        (1, 9, 0.1, False),
        (2, 9, 0.1, True),
        (29, 71, 0.29, False),
        (30, 70, 0.29, True),
        (9, 1, 1.0, False),
    ],
)
def test_a_finished_run_is_judged_from_the_first_input(
    lost: int, samples: int, max_share: float, is_refused: bool
) -> None:
    lines_of = refusal(max_share, shard(0, samples, *map(letter, range(lost))))
    assert bool(lines_of) == is_refused
    assert not lines_of or lines_of.startswith(
        f"{lost} of {lost + samples} images failed (invalid_output {lost}), more than "
    )


def test_a_dataset_of_which_nothing_is_left_is_refused_whatever_the_limit() -> None:
    assert refusal(1.0, shard(0, 0, letter(0), letter(1))).startswith(
        "all 2 images failed (invalid_output 2): mend"
    )
    assert refusal(1.0) == ""


def test_what_the_budget_did_not_reach_is_not_lost() -> None:
    unpaid = [letter(number, reason=BUDGET_EXHAUSTED) for number in range(50)]
    assert refusal(0.1, shard(0, 10, *unpaid)) == ""
    assert "all 50 images failed" in refusal(0.1, shard(0, 0, *unpaid))


def test_reasons_are_told_by_number_with_an_image_of_each() -> None:
    letters = [letter(0, reason="rare"), letter(1), letter(2)]
    assert lines_of(letters) == [
        "  invalid_output 2: image_1, sharpness: no `label`",
        "  rare 1: image_0, sharpness: no `label`",
    ]

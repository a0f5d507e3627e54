"""The benchmark of models on a device: its loops by hand say what the stages say."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.benchmarks.gpu.compare import AtLeast, compare
from tests.benchmarks.gpu.engine_side import Moment, through
from tests.benchmarks.gpu.jobs import JOBS

LOCAL = {"kind": "in_process"}


@pytest.mark.parametrize("stage", JOBS)
def test_loops_by_hand_say_as_much_as_the_stage(stage: str, tmp_path: Path) -> None:
    rows = {row.what: row for row in compare(stage, tmp_path, 3, is_real=False, runner=LOCAL)}
    assert rows["annotations more or less than by hand"].value == 0
    assert rows["by hand, batches of 8"].value > 0
    assert rows["engine"].value > 0


def test_images_count_once_they_are_through_all_stages() -> None:
    moments = [
        Moment(stage="fast", answered=8, time_s=1.0),
        Moment(stage="slow", answered=4, time_s=2.0),
        Moment(stage="other", answered=8, time_s=3.0),
        Moment(stage="slow", answered=8, time_s=4.0),
    ]
    counted = [(one.answered, one.time_s) for one in through(moments, ["fast", "slow"])]
    assert counted == [(4, 2.0), (8, 4.0)]


def test_what_must_not_be_small_breaks_its_limit_below_it() -> None:
    assert AtLeast(what="ratio", value=0.9, limit=0.95).is_broken
    assert not AtLeast(what="ratio", value=1.9, limit=0.95).is_broken

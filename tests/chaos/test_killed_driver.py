"""A driver of Ray is killed: the test is that of a driver of local workers."""

from __future__ import annotations

import pytest

from tests.end_to_end.conftest import written
from tests.end_to_end.test_killed import (
    test_a_driver_that_is_killed_stops_its_workers_and_the_next_one_completes,
)

__all__ = ["test_a_driver_that_is_killed_stops_its_workers_and_the_next_one_completes", "written"]


@pytest.fixture
def runner() -> str:
    return "ray"

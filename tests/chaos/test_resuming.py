"""What a run on Ray asks for again: the tests are those of local workers."""

from __future__ import annotations

import pytest

from tests.contract.test_resuming import *  # noqa: F403
from tests.contract.test_runners import Runner


@pytest.fixture
def runner(ray_cluster: None) -> Runner:
    return {"kind": "ray", "workers": 1}

"""The contract kit finds nothing in sound stages, and names what is wrong with broken ones."""

from __future__ import annotations

import pytest

from florilegium.testing import ContractBroken, check_stage
from tests.stages import BrightEnough, Brightest, Describe


@pytest.mark.parametrize("stage_class", [Brightest, Describe, BrightEnough])
def test_a_sound_stage_passes_and_its_cost_is_measured(stage_class: type) -> None:
    report = check_stage(stage_class)
    assert report.rows > 0
    assert report.image_s > 0
    assert report.peak_mb > 10


def test_what_is_no_stage_is_refused() -> None:
    with pytest.raises(ContractBroken, match="derive a class from Specialist or Filter"):
        check_stage(dict)  # type: ignore[arg-type]

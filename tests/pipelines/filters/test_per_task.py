from __future__ import annotations

import pytest
from pydantic import BaseModel

from florilegium.pipelines.filters.per_task import over_defaults


class Limits(BaseModel):
    low: float = 0.0
    high: float | None = 1.0


DEFAULTS = {"ocr": Limits(low=0.25), "caption": Limits(high=0.75)}


def test_what_is_given_changes_only_what_it_names():
    expected = {"ocr": {"low": 0.25, "high": 0.5}, "caption": {"low": 0.0, "high": 0.75}}
    for given in ({"high": 0.5}, Limits(high=0.5)):
        assert over_defaults({"ocr": given}, DEFAULTS) == expected
    assert over_defaults({"ocr": Limits(high=None)}, DEFAULTS)["ocr"]["high"] is None


def test_what_is_no_mapping_is_left_to_be_refused():
    assert over_defaults({"ocr": 3}, DEFAULTS)["ocr"] == 3
    assert over_defaults([1], DEFAULTS) == [1]
    with pytest.raises(ValueError, match="unknown task 'orc': did you mean 'ocr'"):
        over_defaults({"orc": {}}, DEFAULTS)

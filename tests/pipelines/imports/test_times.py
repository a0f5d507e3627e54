"""Times of other programs."""

from __future__ import annotations

import pytest

from florilegium.pipelines.imports.times import utc


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("2026-01-31 12:00:00.5+02:00", "2026-01-31T10:00:00Z"),
        ("2026-01-31", "2026-01-31T00:00:00Z"),
        ("0001-01-01T00:00:00+14:00", ""),
        ("0999-01-01", ""),
        ("soon", ""),
        (7, ""),
    ],
)
def test_a_time_is_in_utc_to_the_second_or_nothing(text: object, time: str) -> None:
    assert utc(text) == time

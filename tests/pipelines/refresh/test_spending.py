"""What a version cost."""

from __future__ import annotations

from pathlib import Path

from pipelines.dataset.refreshed import VersionCost
from tests.pipelines.refresh.pictures import put, refresh

PAID = {"paid": {"use": "tests.pipelines.refresh.paid:Paid"}}


def test_images_requests_tokens_and_money_are_those_of_this_version(tmp_path: Path) -> None:
    put(tmp_path / "source", *range(5))
    first = refresh(tmp_path / "source", tmp_path / "out", specialists=PAID)
    assert first.spent == VersionCost(
        asked={"paid": 5}, requests={"paid": 5}, tokens={"paid": 500}, money={"paid": 1.25}
    )
    put(tmp_path / "source", 20, 21)
    second = refresh(tmp_path / "source", tmp_path / "out", specialists=PAID)
    assert (second.spent.asked, second.spent.total_money) == ({"paid": 2}, 0.5)
    assert refresh(tmp_path / "source", tmp_path / "out", specialists=PAID).spent == VersionCost()


def test_a_version_that_cost_too_much_waits_and_costs_nothing_more(tmp_path: Path) -> None:
    put(tmp_path / "source", *range(5))
    refresh(tmp_path / "source", tmp_path / "out", specialists=PAID)
    put(tmp_path / "source", *range(20, 25))
    config = {"specialists": PAID, "refresh": {"limits": {"max_money": 1}}}
    for _ in range(2):  # the next night, too: it is the same version
        held = refresh(tmp_path / "source", tmp_path / "out", **config)
        assert held.outcome == "held_back"
        assert [one.line for one in held.exceeded] == ["max_money: 1.25, the limit is 1"]
    accepted = refresh(tmp_path / "source", tmp_path / "out", accept=True, **config)
    assert (accepted.outcome, accepted.spent.total_money) == ("published", 1.25)


def test_sums_are_by_stage() -> None:
    one = VersionCost(asked={"a": 1}, money={"a": 0.1})
    both = one + VersionCost(asked={"a": 2, "b": 3}, money={"b": 0.2})
    assert both == VersionCost(asked={"a": 3, "b": 3}, money={"a": 0.1, "b": 0.2})
    assert both.total_money == 0.3

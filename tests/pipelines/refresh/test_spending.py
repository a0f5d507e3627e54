"""What a version cost."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from florilegium.engine.core.errors import RunError, StorageError
from florilegium.engine.execution.observer import CallFinished, WorkersStarted
from florilegium.engine.storage.folder import Folder
from florilegium.pipelines.dataset.files import SPENT
from florilegium.pipelines.dataset.refreshed import VersionCost, read_spent
from florilegium.pipelines.refresh import spending
from florilegium.pipelines.refresh.spending import Spending
from florilegium.pipelines.telemetry.progress_file import LOCAL_S
from florilegium.pipelines.verify.verify import verify_dataset
from tests.pipelines.refresh.pictures import put, refresh
from tests.pipelines.telemetry.facts import FACTS

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


(PAID_CALL,) = (fact for fact in FACTS if isinstance(fact, CallFinished))
"""A call that cost 0.5."""


def raising(error: BaseException) -> Callable[..., None]:
    def fail(*_: Any) -> None:
        raise error

    return fail


@pytest.mark.parametrize("error", [RunError("no workers"), KeyboardInterrupt()])
def test_what_runs_spent_that_failed_or_were_stopped_is_part_of_what_the_version_cost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    source, output = tmp_path / "source", tmp_path / "out"
    put(source, *range(5))
    refresh(source, output, specialists=PAID)
    put(source, *range(20, 25))
    with monkeypatch.context() as patch:
        patch.setattr("florilegium.pipelines.refresh.refresh.compare_versions", raising(error))
        for _ in range(2):  # the second one asks for nothing, and loses nothing
            with pytest.raises(type(error)):
                refresh(source, output, specialists=PAID)
    stored = read_spent(Folder(str(output)))
    assert stored
    assert stored.spent.total_money == 1.25
    assert list(verify_dataset(Folder(str(output)))) == []
    put(source, 30)
    record = refresh(source, output, specialists=PAID)
    assert (record.outcome, record.spent.asked["paid"], record.spent.total_money) == (
        "published",
        6,
        1.5,
    )
    assert not (output / SPENT).exists()
    assert refresh(source, output, specialists=PAID).spent == VersionCost()


def test_what_a_run_spent_is_stored_while_it_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As of a run that is killed: it stores nothing at its end."""
    output = Folder(str(tmp_path))
    now_s = [100.0]
    monkeypatch.setattr(spending.time, "monotonic", lambda: now_s[0])
    first = Spending(output)
    first.resume("a")
    seen = []
    for seconds in (0, 1, 1, LOCAL_S):
        now_s[0] += seconds
        first.observe(PAID_CALL)
        seen.append(read_spent(output).spent.total_money)  # type: ignore[union-attr]
    assert seen == [0.5, 0.5, 0.5, 2.0]
    first.observe(PAID_CALL)
    now_s[0] += LOCAL_S
    first.observe(WorkersStarted())
    second = Spending(output)
    second.resume("a")
    assert second.spent == first.spent
    assert second.spent.requests == {"tagger": 100}


def test_what_was_spent_for_a_version_that_was_published_is_not_counted_again(
    tmp_path: Path,
) -> None:
    first = Spending(Folder(str(tmp_path)))
    first.resume("a")
    first.observe(PAID_CALL)
    second = Spending(Folder(str(tmp_path)))
    second.resume("b")
    assert second.spent == VersionCost()


def test_a_file_that_was_changed_is_named(tmp_path: Path) -> None:
    put(tmp_path / "source", 1)
    refresh(tmp_path / "source", tmp_path / "out", specialists=PAID)
    (tmp_path / "out" / SPENT).write_text('{"since": "", "spent": {}}', "utf-8")
    (problem,) = verify_dataset(Folder(str(tmp_path / "out")))
    assert "spent.json is damaged" in problem
    with pytest.raises(StorageError, match="what was spent so far is not counted"):
        refresh(tmp_path / "source", tmp_path / "out", specialists=PAID)


def test_sums_are_by_stage() -> None:
    one = VersionCost(asked={"a": 1}, money={"a": 0.1})
    both = one + VersionCost(asked={"a": 2, "b": 3}, money={"b": 0.2})
    assert both == VersionCost(asked={"a": 3, "b": 3}, money={"a": 0.1, "b": 0.2})
    assert both.total_money == 0.3

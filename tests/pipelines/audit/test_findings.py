"""What several people's answers come to, and the file that `refine` reads."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from florilegium.engine.core.errors import ConfigError
from florilegium.engine.storage.folder import Folder
from florilegium.pipelines.audit.events import StatementJudged, Undone
from florilegium.pipelines.audit.findings import (
    AUDIT,
    Findings,
    agreements,
    verdict,
    write_audit,
)
from florilegium.pipelines.merge.learning.audit import read_audit
from tests.pipelines.audit.pools import pool
from tests.pipelines.audit.test_log import judged

POOL = pool(np.full(40, 0.5))
NAMES = POOL.ids.to_pylist()
BY_RANK = [NAMES[row] for row in np.argsort(POOL.rank)]


def rows(folder: Path) -> dict[str, dict[str, object]]:
    lines = (folder / AUDIT).read_text("utf-8").splitlines()
    return {row["id"]: row for row in map(json.loads, lines)}


def found(**people: dict[str, str]) -> Findings:
    """Return findings: by person, the answers by id."""
    return Findings.of(
        {
            person: [judged(name, answer) for name, answer in answers.items()]
            for person, answers in people.items()
        }
    )


@pytest.mark.parametrize(
    ("answers", "is_right"),
    [
        ("right", True),
        ("unsure", None),
        ("right wrong", None),
        ("right wrong wrong", False),
        ("right unsure", True),
        ("wrong unsure unsure", False),
    ],
)
def test_the_majority_decides_and_a_tie_is_unsure(answers: str, is_right: bool | None) -> None:
    people = {str(row): judged("a", one) for row, one in enumerate(answers.split())}
    assert verdict(people) is is_right


def test_refine_reads_the_answers(tmp_path: Path) -> None:
    first, second, third = BY_RANK[:3]
    findings = found(Ada={first: "right", second: "wrong", third: "unsure"})
    write_audit(Folder(str(tmp_path)), POOL, findings)
    assert read_audit(str(tmp_path / AUDIT)).right == {first: True, second: False}
    row = rows(tmp_path)[first]
    assert (row["queue"], row["inclusion"], row["people"]) == ("random", 3 / 40, {"Ada": "right"})
    assert row["key"] == "ä cat"


def test_what_gain_asked_has_no_inclusion_probability(tmp_path: Path) -> None:
    gained = judged(BY_RANK[-1], queue="gain")
    findings = Findings.of({"Ada": [judged(BY_RANK[0]), gained]})
    write_audit(Folder(str(tmp_path)), POOL, findings)
    assert rows(tmp_path)[gained.id]["inclusion"] is None
    assert rows(tmp_path)[gained.id]["queue"] == "gain"
    assert rows(tmp_path)[BY_RANK[0]]["inclusion"] == 1 / 40


def test_what_was_written_by_hand_is_kept(tmp_path: Path) -> None:
    by_refine = {"id": BY_RANK[0], "right": None, "key": "cat", "says": "cat", "by": "dfine"}
    by_hand = {"id": "another", "right": True}
    lines = "".join(json.dumps(one) + "\n" for one in (by_refine, by_hand))
    (tmp_path / AUDIT).write_text(lines)
    folder = Folder(str(tmp_path))
    write_audit(folder, POOL, found(Ada={BY_RANK[0]: "right"}))
    assert rows(tmp_path)[BY_RANK[0]]["says"] == "cat"
    assert rows(tmp_path)["another"] == by_hand
    taken_back = Undone(at="2026-02-01T00:00:00Z", id=BY_RANK[0], key="ä cat")
    write_audit(folder, POOL, Findings.of({"Ada": [judged(BY_RANK[0]), taken_back]}))
    assert rows(tmp_path)[BY_RANK[0]]["right"] is None
    assert rows(tmp_path)["another"] == by_hand


def test_a_malformed_file_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    (tmp_path / AUDIT).write_text('{"id": "a", "right": "yes"}\n')
    with pytest.raises(ConfigError, match="line 1"):
        write_audit(Folder(str(tmp_path)), POOL, found(Ada={BY_RANK[0]: "right"}))
    assert (tmp_path / AUDIT).read_text() == '{"id": "a", "right": "yes"}\n'


def test_people_are_compared_where_both_answered() -> None:
    ada = dict(zip(NAMES[:4], ["right", "right", "wrong", "wrong"], strict=True))
    bob = dict(zip(NAMES[1:5], ["right", "wrong", "right", "right"], strict=True))
    (both,) = agreements(found(Ada=ada, Bob=bob))
    assert (both.first, both.second, both.statements) == ("Ada", "Bob", 3)
    assert both.kappa == pytest.approx((2 / 3 - 4 / 9) / (1 - 4 / 9))


def test_a_statement_is_of_the_queue_that_asked_first() -> None:
    late = judged("x", queue="random", at="2026-02-01T00:00:00Z")
    early: StatementJudged = judged("x", queue="gain")
    name = NAMES[0]
    events = {"Ada": [late.model_copy(update={"id": name})]}
    events |= {"Bob": [early.model_copy(update={"id": name})]}
    asked = Findings.of(events).asked(POOL)
    assert asked.by_gain.sum() == 1
    assert not asked.by_random.any()

"""What all people's answers come to: one verdict for each statement, and the file `refine` reads.

    audit.jsonl    {"id": "9f2c...", "right": true, "key": "cat", "task": "object_detection",
                    "by": "dfine", "queue": "random", "stratum": "...", "inclusion": 0.04,
                    "people": {"Ada": "right"}}

`inclusion` is the probability with which the statement came into the random sample, `null` for one
that is in none. Where people differ, the majority decides; a tie is unsure, `null`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

from florilegium.engine.storage.documents import parse_json
from florilegium.engine.storage.folder import Folder
from florilegium.pipelines.audit.estimate import kappa
from florilegium.pipelines.audit.events import ImageSearched, StatementJudged, in_force
from florilegium.pipelines.audit.log import Events
from florilegium.pipelines.audit.pool import Pool
from florilegium.pipelines.audit.queue import Asked, sampled
from florilegium.pipelines.dataset.takedown_lines import AUDIT
from florilegium.pipelines.merge.learning.audit import answers_in


@dataclass(frozen=True, kw_only=True)
class Findings:
    """The answers in force, by annotation or by key of the image, then by person; `ever` are the
    annotations that were ever judged, also where that was taken back."""

    statements: Mapping[str, Mapping[str, StatementJudged]]
    images: Mapping[str, Mapping[str, ImageSearched]]
    ever: frozenset[str] = frozenset()

    @classmethod
    def of(cls, events: Mapping[str, Events]) -> Findings:
        """Return the answers of all people."""
        statements: dict[str, dict[str, StatementJudged]] = {}
        images: dict[str, dict[str, ImageSearched]] = {}
        for person, own in sorted(events.items()):
            for one in in_force(own):
                if isinstance(one, StatementJudged):
                    statements.setdefault(one.id, {})[person] = one
                else:
                    images.setdefault(one.key, {})[person] = one
        ever = frozenset(
            one.id for own in events.values() for one in own if isinstance(one, StatementJudged)
        )
        return cls(statements=statements, images=images, ever=ever)

    def asked(self, pool: Pool, person: str = "", held: Sequence[int] = ()) -> Asked:
        """Return the answers as columns of a pool, as the person sees them who is asked next."""
        asked = Asked.nothing(len(pool))
        asked.held[list(held)] = True
        for name, answers in self.statements.items():
            row = pool.row_of.get(name)
            if row is None:
                continue
            first = min(answers.values(), key=lambda one: one.at)
            (asked.by_gain if first.queue == "gain" else asked.by_random)[row] = True
            right = verdict(answers)
            asked.value[row] = np.nan if right is None else right
            asked.own[row] = person in answers
        return asked


def verdict(answers: Mapping[str, StatementJudged]) -> bool | None:
    """Return whether a statement is right by the majority of those who are sure; `None` for a
    tie."""
    right = sum(one.right is True for one in answers.values())
    wrong = sum(one.right is False for one in answers.values())
    return None if right == wrong else right > wrong


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """How two people agree: both answered `statements`, with this kappa, `None` if undefined."""

    first: str
    second: str
    statements: int
    kappa: float | None


def agreements(findings: Findings) -> Iterator[Agreement]:
    """Yield the agreement of each two people who answered the same statements."""
    people = sorted({person for answers in findings.statements.values() for person in answers})
    for first, second in combinations(people, 2):
        both = [
            (str(one[first].right), str(one[second].right))
            for one in findings.statements.values()
            if first in one and second in one
        ]
        if both:
            ours, theirs = zip(*both, strict=True)
            value = kappa(ours, theirs)
            yield Agreement(first=first, second=second, statements=len(both), kappa=value)


def write_audit(root: Folder, pool: Pool, findings: Findings) -> None:
    """Publish `audit.jsonl`. Lines that a person wrote into the file by hand are kept, as far as
    they are about other annotations.

    Raises:
        ConfigError: the file that is there is malformed.
        StorageError: it cannot be written.
    """
    earlier = root.read(AUDIT) or b""
    answers_in(earlier, root.path(AUDIT))  # refuses what `refine` would
    rows: dict[str, dict[str, Any]] = {}
    for line in filter(bytes.strip, earlier.split(b"\n")):
        row = parse_json(line.removeprefix(b"\xef\xbb\xbf"))
        if not ("people" in row or row["id"] in findings.ever):
            rows[row["id"]] = row
        elif "says" in row:  # `refine` made the line, to be filled in
            own = {name: value for name, value in row.items() if name not in _OURS}
            rows[row["id"]] = own | {"right": None}
    asked = findings.asked(pool)
    is_sampled = sampled(pool, asked)
    in_sample = np.bincount(pool.stratum[is_sampled], minlength=len(pool.in_stratum))
    for name, answers in findings.statements.items():
        rows[name] = rows.get(name, {"id": name}) | _row(pool, name, answers, is_sampled, in_sample)
    lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in rows.values())
    root.publish(AUDIT, "".join(lines).encode())


_OURS = ("queue", "stratum", "inclusion", "people")


def _row(
    pool: Pool,
    name: str,
    answers: Mapping[str, StatementJudged],
    is_sampled: np.ndarray,
    in_sample: np.ndarray,
) -> dict[str, Any]:
    first = min(answers.values(), key=lambda one: one.at)
    row = pool.row_of.get(name)
    inclusion = None
    task, specialist = "", ""
    if row is not None:
        task, specialist = pool.kinds[int(pool.kind[row])]
        if is_sampled[row] and first.queue == "random":
            stratum = int(pool.stratum[row])
            inclusion = float(in_sample[stratum] / pool.in_stratum[stratum])
    found = {"task": task, "by": specialist} if task else {}
    return {
        "right": verdict(answers),
        "key": first.key,
        **found,
        "queue": first.queue,
        "stratum": first.stratum,
        "inclusion": inclusion,
        "people": {person: one.answer for person, one in sorted(answers.items())},
    }

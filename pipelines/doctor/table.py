"""Findings for the terminal, and as JSON."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from itertools import groupby
from typing import Any

from rich.table import Table
from rich.text import Text

from florilegium.engine.core.counted import counted
from florilegium.pipelines.doctor.finding import ABSENT, OK, PROBLEM, WARNING, Finding

_STYLES = {OK: "green", ABSENT: "dim", WARNING: "yellow", PROBLEM: "bold red"}
_FEW = 4
"""Findings of a topic that are all right and have a line each; more are one paragraph."""


def topic_tables(findings: Iterable[Finding]) -> Iterator[Table]:
    """Yield a table for each topic: what is to be done first, with its cure."""
    for topic, group in groupby(findings, key=lambda one: one.topic):
        own = list(group)
        table = Table(
            title=topic, title_justify="left", title_style="bold", box=None, show_header=False,
            pad_edge=False,
        )  # fmt: skip
        for column in ("level", "text"):
            table.add_column(column, overflow="fold")
        for level in (PROBLEM, WARNING, ABSENT, OK):
            for text in _texts(level, [one for one in own if one.level == level]):
                table.add_row(Text(level, style=_STYLES[level]), text)
        yield table


def _texts(level: str, findings: Sequence[Finding]) -> Iterator[str]:
    """Yield the findings of a level: each with its cure, or together where many are fine."""
    if level == OK and len(findings) > _FEW:
        yield f"{len(findings)}: " + ", ".join(f"{one.name} {one.text}" for one in findings)
        return
    for one in findings:
        cures = [f"-> {line}" for line in one.cure.splitlines()]
        yield "\n".join((f"{one.name}: {one.text}", *cures))


def conclusion(findings: Sequence[Finding], name: str) -> str:
    """Return whether the config can be built, in a line."""
    problems = [one for one in findings if one.level == PROBLEM]
    warnings = sum(one.level == WARNING for one in findings)
    more = f", {counted(warnings, 'warning')}" if warnings else ""
    if problems:
        return f"{name} cannot be built: {counted(len(problems), 'problem')}{more}"
    return f"{name} can be built{more}"


def to_json(findings: Sequence[Finding]) -> dict[str, Any]:
    """Return all findings, and whether none of them is a problem."""
    return {
        "is_ready": all(one.level != PROBLEM for one in findings),
        "findings": [asdict(one) for one in findings],
    }

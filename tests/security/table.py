"""A pytest plugin: the attacks of each kind, tried and held, as a table at the end of the run.

Where `ATTACKS_TABLE` names a file, the table is written there too, in Markdown.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

KINDS = {
    "files": "files of strangers: links, archives, sheets, JSON, images",
    "text": "text that would steer a terminal, a page or a card",
    "configs": "configs, names and paths",
    "network": "services, redirects and answers",
    "secrets": "credentials that would be written or printed",
    "models": "checkpoints with code in them",
    "hangs": "what would never end",
    "memory": "what would take all memory",
    "changes": "edits and damage of a finished dataset",
    "faults": "kills, full disks and clocks",
}
HEADER = "| kind | attacks | tried | held |\n|---|---|---:|---:|"
FILE = "ATTACKS_TABLE"
"""The environment variable that names the file for the table in Markdown."""
_KIND = "attack"
"""The property of a report that has the kind; other properties are what a test recorded."""
_TRIED: dict[str, set[str]] = {kind: set() for kind in KINDS}
_FAILED: dict[str, set[str]] = {kind: set() for kind in KINDS}
_RECORDED: dict[str, Counter[str]] = {}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Read the kind of each attack.

    Raises:
        pytest.UsageError: a test marks a kind that the table does not have.
    """
    for item in items:
        mark = item.get_closest_marker("attack")
        kind = mark.args[0] if mark and mark.args else ""
        if mark and kind not in KINDS:
            raise pytest.UsageError(f"{item.nodeid}: no kind of attack is called {kind!r}")
        if kind:
            item.user_properties.append((_KIND, kind))


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Count an attack as tried, and as failed where it was not held; tests may run side by side."""
    recorded = dict(report.user_properties)
    kind = str(recorded.pop(_KIND, ""))
    if not kind or report.skipped:
        return
    if report.failed:
        _FAILED[kind].add(report.nodeid)
    if report.failed or report.when == "call":
        _TRIED[kind].add(report.nodeid)
    if report.when == "call":
        for name, value in recorded.items():
            _RECORDED.setdefault(name, Counter())[str(value)] += 1


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the table, and how often tests recorded what, such as where a build was killed."""
    tried = {kind: len(tests) for kind, tests in _TRIED.items()}
    failed = {kind: len(tests) for kind, tests in _FAILED.items()}
    terminalreporter.section("attacks")
    for kind, meaning, count, held in rows(tried, failed):
        terminalreporter.write_line(f"{kind:<9} {count:>5} tried {held:>5} held   {meaning}")
    for name, counts in _RECORDED.items():
        line = ", ".join(f"{value} {count}" for value, count in sorted(counts.items()))
        terminalreporter.write_line(f"{name}: {line}")
    if path := os.environ.get(FILE):
        Path(path).write_text(markdown(tried, failed), encoding="utf-8")


def rows(
    tried: Mapping[str, int], failed: Mapping[str, int]
) -> Iterator[tuple[str, str, int, int]]:
    """Yield kind, meaning, tried and held; the sums last."""
    for kind, meaning in KINDS.items():
        yield kind, meaning, tried[kind], tried[kind] - failed[kind]
    yield "all", "", sum(tried.values()), sum(tried.values()) - sum(failed.values())


def markdown(tried: Mapping[str, int], failed: Mapping[str, int]) -> str:
    """Return the table as `docs/explanation/reliability.md` quotes it."""
    lines = (
        f"| {kind} | {what} | {count} | {held} |" for kind, what, count, held in rows(tried, failed)
    )
    return "\n".join((HEADER, *lines)) + "\n"

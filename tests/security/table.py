"""A pytest plugin: the attacks of each kind, tried and held, as a table at the end of the run.

Where `ATTACKS_TABLE` names a file, the table is written there too, in Markdown.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Generator, Iterator
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
_TRIED: Counter[str] = Counter()
_FAILED: Counter[str] = Counter()
_RECORDED: dict[str, Counter[str]] = {}
_KINDS = pytest.StashKey[str]()


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
        item.stash[_KINDS] = kind


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Count an attack once, as tried and as held or not; and what a test recorded of it."""
    report = yield
    kind = item.stash.get(_KINDS, "")
    if not kind or report.skipped:
        return report
    is_first_failure = report.failed and not item.stash.get(_HAS_FAILED, False)
    if report.when == "call" or (report.when == "setup" and report.failed):
        _TRIED[kind] += 1
        for name, value in item.user_properties:
            _RECORDED.setdefault(name, Counter())[str(value)] += 1
    if is_first_failure:
        item.stash[_HAS_FAILED] = True
        _FAILED[kind] += 1
    return report


_HAS_FAILED = pytest.StashKey[bool]()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the table, and how often tests recorded what, such as where a build was killed."""
    terminalreporter.section("attacks")
    for kind, meaning, tried, held in rows(_TRIED, _FAILED):
        terminalreporter.write_line(f"{kind:<9} {tried:>5} tried {held:>5} held   {meaning}")
    for name, counts in _RECORDED.items():
        told = ", ".join(f"{value} {count}" for value, count in sorted(counts.items()))
        terminalreporter.write_line(f"{name}: {told}")
    if path := os.environ.get(FILE):
        Path(path).write_text(markdown(_TRIED, _FAILED), encoding="utf-8")


def rows(tried: Counter[str], failed: Counter[str]) -> Iterator[tuple[str, str, int, int]]:
    """Yield kind, meaning, tried and held; the sums last."""
    for kind, meaning in KINDS.items():
        yield kind, meaning, tried[kind], tried[kind] - failed[kind]
    yield "all", "", tried.total(), tried.total() - failed.total()


def markdown(tried: Counter[str], failed: Counter[str]) -> str:
    """Return the table as README quotes it."""
    lines = (f"| {kind} | {what} | {n} | {held} |" for kind, what, n, held in rows(tried, failed))
    return "\n".join((HEADER, *lines)) + "\n"

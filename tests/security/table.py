"""A pytest plugin: the attacks of each kind, tried and held, as a table at the end of the run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator

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
_TRIED: Counter[str] = Counter()
_FAILED: Counter[str] = Counter()
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
    """Count an attack when it was tried, and when it was not held."""
    report = yield
    kind = item.stash.get(_KINDS, "")
    if kind and report.when == "call" and not report.skipped:
        _TRIED[kind] += 1
    if kind and report.failed:
        _FAILED[kind] += 1
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the table."""
    terminalreporter.section("attacks")
    for kind, meaning in KINDS.items():
        held = _TRIED[kind] - _FAILED[kind]
        terminalreporter.write_line(f"{kind:<9} {_TRIED[kind]:>5} tried {held:>5} held   {meaning}")
    tried, failed = _TRIED.total(), _FAILED.total()
    terminalreporter.write_line(f"{'all':<9} {tried:>5} tried {tried - failed:>5} held")

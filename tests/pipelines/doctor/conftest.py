"""Installed packages as files of metadata, in a folder that Python searches first."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import pytest

from florilegium.pipelines.doctor.finding import Finding

Install = Callable[..., Path]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Install a package: its version, what it requires, its extras and entry points by group."""
    site = tmp_path / "site"
    site.mkdir()
    monkeypatch.syspath_prepend(str(site))

    def package(
        name: str,
        version: str,
        *,
        requires: Iterable[str] = (),
        extras: Iterable[str] = (),
        python: str = ">=3.11",
        points: Mapping[str, str] | None = None,
    ) -> Path:
        folder = site / f"{name.replace('-', '_')}-{version}.dist-info"
        folder.mkdir()
        lines = [
            "Metadata-Version: 2.4",
            f"Name: {name}",
            f"Version: {version}",
            f"Requires-Python: {python}",
            *(f"Provides-Extra: {one}" for one in extras),
            *(f"Requires-Dist: {one}" for one in requires),
        ]
        (folder / "METADATA").write_text("\n".join(lines) + "\n")
        sections = (f"[{group}]\n{text}\n" for group, text in (points or {}).items())
        (folder / "entry_points.txt").write_text("".join(sections))
        return site

    return package


def by_name(findings: Iterable[Finding]) -> dict[str, Finding]:
    """Return findings by their names, which differ."""
    listed = list(findings)
    found = {finding.name: finding for finding in listed}
    assert len(found) == len(listed)
    return found

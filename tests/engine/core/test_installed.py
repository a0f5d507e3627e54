"""Entry points: read once, and again when a package was installed."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path

import pytest

from florilegium.engine.core.installed import entry_points


def install(folder: Path, name: str) -> None:
    """Install a package with one entry point of the group `kinds`."""
    info = folder / f"{name}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[kinds]\n{name} = {name}:Kind\n")


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with one installed package."""
    install(tmp_path, "first")
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def names() -> set[str]:
    return {point.name for point in entry_points("kinds")}


def test_a_package_that_is_installed_later_is_found(site: Path) -> None:
    assert names() == {"first"}
    install(site, "second")
    assert names() == {"first", "second"}


def test_a_folder_that_is_added_or_removed_is_noticed(
    site: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path_factory.mktemp("other")
    install(other, "second")
    with monkeypatch.context() as patch:
        patch.syspath_prepend(str(other))
        assert names() == {"first", "second"}
    assert names() == {"first"}


def test_what_has_not_changed_is_not_read_again(
    site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = names()
    monkeypatch.setattr(metadata, "entry_points", None)
    assert names() == before

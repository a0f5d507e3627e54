from __future__ import annotations

from pathlib import Path

import pytest

from florilegium.engine.core.errors import ConfigError
from florilegium.specialists.words.files import read_text
from tests.conftest import ROOT

SHIPPED = "package://florilegium/configs/blacklist.txt"


def test_a_file_of_the_package_is_found_from_any_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shipped, location = read_text(SHIPPED, "word list")
    assert shipped == (ROOT / "configs" / "blacklist.txt").read_text("utf-8")
    assert location.endswith("florilegium/configs/blacklist.txt")


def test_a_file_of_a_project_is_its_own_and_never_stands_in_for_one_of_the_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=f"did you mean '{SHIPPED}'"):
        read_text("configs/blacklist.txt", "word list")
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "blacklist.txt").write_text("gizmo")
    assert read_text("configs/blacklist.txt", "word list")[0] == "gizmo"
    assert "gizmo" not in read_text(SHIPPED, "word list")[0].split()


def test_a_file_that_is_not_there_is_an_error_with_the_nearest_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=f"did you mean '{SHIPPED}'"):
        read_text("configs/blaklist.txt", "word list")
    with pytest.raises(ConfigError, match=r"has no 'configs/blaklist.txt'.*'blacklist.txt'"):
        read_text(SHIPPED.replace("blacklist", "blaklist"), "word list")
    (tmp_path / "other.txt").touch()
    with pytest.raises(ConfigError, match="check the path"):
        read_text(str(tmp_path / "nowhere.txt"), "word list")
    with pytest.raises(ConfigError, match="check the path"):
        read_text("no/such/file.txt", "word list")

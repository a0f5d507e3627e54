from __future__ import annotations

from pathlib import Path

import pytest

from florilegium.engine.core.errors import ConfigError
from florilegium.specialists.words.files import read_text


def test_a_file_is_looked_for_here_and_then_in_the_installation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shipped, _ = read_text("configs/blacklist.txt", "word list")
    assert shipped
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "blacklist.txt").write_text("mine")
    assert read_text("configs/blacklist.txt", "word list")[0] == "mine"


def test_a_file_that_is_not_there_is_told_with_the_nearest_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"did you mean 'configs/blacklist\.txt'"):
        read_text("configs/blaklist.txt", "word list")
    (tmp_path / "other.txt").touch()
    with pytest.raises(ConfigError, match="check the path"):
        read_text(str(tmp_path / "nowhere.txt"), "word list")
    with pytest.raises(ConfigError, match="check the path"):
        read_text("no/such/file.txt", "word list")

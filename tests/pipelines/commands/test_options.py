"""Options that several commands share, by real command lines."""

from __future__ import annotations

from pathlib import Path

import pytest

from florilegium.pipelines.commands.main import main


@pytest.mark.parametrize("url", ["s3://bucket/out", "file:///tmp/out", "simplecache::s3://b/out"])
@pytest.mark.parametrize(
    "command",
    [["export", "dataset", "--format", "coco"], ["train", "dataset", "train.yaml"]],
    ids=["export", "train"],
)
def test_a_command_that_writes_a_local_folder_refuses_a_url(
    command: list[str],
    url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["florilegium", *command, "--output", url])
    with pytest.raises(SystemExit) as exited:
        main()
    assert exited.value.code == 2
    message = " ".join(capsys.readouterr().err.split())
    assert f"--output '{url}' is a URL" in message
    assert "give a path" in message
    assert list(tmp_path.iterdir()) == []

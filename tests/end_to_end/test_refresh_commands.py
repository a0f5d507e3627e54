"""`refresh` as a user calls it: what it prints, and the code it exits with."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.building import contents
from tests.end_to_end.conftest import Command
from tests.pipelines.refresh.pictures import put

Write = Callable[..., Path]


@pytest.fixture
def config(tmp_path: Path, written: Write) -> Path:
    """A config whose source is ten pictures, with a limit and a hook that writes a file."""
    put(tmp_path / "source", *range(10))
    hook = "import sys; open(sys.argv[1], 'ab').write(sys.stdin.buffer.read() + b'\\0')"
    refresh = {
        "limits": {"max_dropped_share": 0.2, "min_images": 8},
        "notify": {"command": [sys.executable, "-c", hook, str(tmp_path / "hook")]},
    }
    return written(tmp_path / "source", tmp_path / "out", refresh=refresh)


def test_a_version_is_published_held_back_and_accepted(
    florilegium: Command, config: Path, tmp_path: Path
) -> None:
    first = florilegium("refresh", config)
    assert first.code == 0
    assert f"dataset  {tmp_path / 'out'}" in first.out
    again = florilegium("refresh", config)
    assert again.code == 0
    assert "nothing is new: the dataset is as it was" in again.out
    assert "no version is held back" in florilegium("refresh", config, "--accept").err
    for number in range(3):
        (tmp_path / "source" / f"{number:03d}.png").unlink()
    before = contents(tmp_path / "out")
    held = florilegium("refresh", config)
    assert held.code == 4
    assert "max_dropped_share: 0.3, the limit is 0.2" in held.err
    assert "min_images: 7, the limit is 8" in held.err
    assert f"{tmp_path / 'out'}/held_back.html" in held.err
    assert f"florilegium refresh {config} --accept" in held.err
    assert before.items() <= contents(tmp_path / "out").items()
    accepted = florilegium("refresh", config, "--accept")
    assert accepted.code == 0
    assert "7 images = 7 samples + 0 dead letters" in accepted.out
    assert florilegium("verify", tmp_path / "out").code == 0
    notices = [json.loads(one) for one in (tmp_path / "hook").read_bytes().split(b"\0") if one]
    assert [one["outcome"] for one in notices] == ["published", "held_back", "published"]
    assert notices[-1]["is_accepted"] is True


def test_another_version_than_the_one_that_was_held_back_is_not_accepted(
    florilegium: Command, config: Path, tmp_path: Path
) -> None:
    florilegium("refresh", config)
    for number in range(4):
        (tmp_path / "source" / f"{number:03d}.png").unlink()
    assert florilegium("refresh", config).code == 4
    (tmp_path / "source" / "005.png").unlink()
    held = florilegium("refresh", config, "--accept")
    assert held.code == 4
    assert "is another one than the version that was held back before" in held.err


def test_a_build_takes_the_same_config_and_calls_no_hook(
    florilegium: Command, config: Path, tmp_path: Path
) -> None:
    assert florilegium("build", config).code == 0
    assert not (tmp_path / "hook").exists()
    before = contents(tmp_path / "out")
    assert "nothing is new" in florilegium("refresh", config).out
    assert contents(tmp_path / "out") == before
    assert "refresh" not in (tmp_path / "out" / "run.yaml").read_text("utf-8")


def test_a_hook_that_fails_is_a_warning(
    florilegium: Command, tmp_path: Path, written: Write
) -> None:
    put(tmp_path / "source", 1)
    hook = {"command": [sys.executable, "-c", "import sys; sys.exit('no mail')"], "attempts": 1}
    config = written(tmp_path / "source", tmp_path / "out", refresh={"notify": hook})
    result = florilegium("refresh", config)
    assert result.code == 0
    assert "warning the hook" in result.err
    assert "it ended with 1: no mail" in result.err
    assert (tmp_path / "out" / "manifest.json").exists()


def test_a_dry_run_writes_nothing_and_calls_no_hook(
    florilegium: Command, config: Path, tmp_path: Path
) -> None:
    assert florilegium("refresh", config, "--dry-run").code == 0
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / "hook").exists()


def test_a_program_of_a_config_is_refused_where_plugins_are(
    florilegium: Command, tmp_path: Path
) -> None:
    put(tmp_path / "source", 1)
    config = tmp_path / "run.yaml"
    config.write_text(
        f"source: {tmp_path / 'source'}\noutput: {tmp_path / 'out'}\n"
        "specialists: {rapidocr: }\nrefresh: {notify: {command: [rm, -r]}}\n",
        encoding="utf-8",
    )
    result = florilegium("refresh", config, "--no-plugins")
    assert result.code == 2
    assert "refresh.notify.command" in result.err
    assert not (tmp_path / "out").exists()


def test_a_refinement_is_refused(florilegium: Command, tmp_path: Path, written: Write) -> None:
    refine = {"students": {"florence2": {"tasks": ["caption"]}}, "train": {"model": "m"}}
    config = written(tmp_path / "source", tmp_path / "out", refine=refine)
    result = florilegium("refresh", config)
    assert result.code == 2
    assert "describes a refinement, and `refresh` makes no rounds" in result.err

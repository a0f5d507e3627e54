"""A build in slices on the command line: what the commands print, and the codes they exit with."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.building import BRIGHT_ENOUGH, DESCRIBED, build, contents
from tests.end_to_end.conftest import Command

Write = Callable[..., Path]


def test_slices_and_their_end_make_the_dataset_of_one_build(
    album: Path, tmp_path: Path, written: Write, florilegium: Command
) -> None:
    keys = {"specialists": DESCRIBED, "filters": BRIGHT_ENOUGH, "shard_size": 5}
    build(album, tmp_path / "one", **keys)
    out = tmp_path / "out"
    config = written(album, out, **keys)
    first = florilegium("build", config, "--slice", "1/2")
    assert first.code == 0
    assert f"slice    1/2 of {out}: 2 shards; `--finish` when all slices" in first.out
    table = florilegium("status", out).out
    assert "slice 1/2" in table
    assert "0 of 1 shard" in table
    assert json.loads(florilegium("status", out, "--json").out)["slices"] == [
        {"slice": "1/2", "shards": 2, "shards_done": 2},
        {"slice": "2/2", "shards": 1, "shards_done": 0},
    ]
    early = florilegium("build", config, "--finish")
    assert early.code == 1
    assert "1 of 3 shards are missing" in early.err
    assert "--slice 2/2: 1 shard (000001)" in early.err
    assert florilegium("build", config).code == 3
    assert florilegium("build", config, "--slice", "2/3").code == 2
    assert florilegium("build", config, "--slice", "2/2").code == 0
    last = florilegium("build", config, "--finish")
    assert last.code == 0
    assert f"dataset  {out}" in last.out
    assert contents(out) == contents(tmp_path / "one")
    for again in (["--finish"], ["--slice", "2/2"]):
        done = florilegium("build", config, *again)
        assert (done.code, done.out) == (0, f"nothing is new: {out} is finished\n")


def test_slices_are_dropped_on_demand(
    album: Path, tmp_path: Path, written: Write, florilegium: Command
) -> None:
    config = written(album, tmp_path / "out")
    assert "is not being built in slices" in florilegium("build", config, "--drop-slices").out
    florilegium("build", config, "--slice", "1/2")
    dropped = florilegium("build", config, "--drop-slices")
    assert (dropped.code, "the slices of" in dropped.out) == (0, True)
    assert florilegium("build", config).code == 0


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--slice", "0/4"), "from 1/16 to 16/16"),
        (("--slice", "1/4", "--finish"), "--slice and --finish do not go together"),
        (("--finish", "--drop-slices"), "--finish and --drop-slices do not go together"),
        (("--finish", "--dry-run"), "so --dry-run has no meaning"),
        (("--finish", "--replace"), "so --replace has no meaning"),
        (("--drop-slices", "--retry-dead-letters"), "so --retry-dead-letters has no meaning"),
        (("--finish",), "is not being built in slices: begin with"),
    ],
)
def test_options_that_have_no_meaning_are_wrong_usage(
    album: Path,
    tmp_path: Path,
    written: Write,
    florilegium: Command,
    options: tuple[str, ...],
    words: str,
) -> None:
    done = florilegium("build", written(album, tmp_path / "out"), *options)
    assert done.code == 2
    assert words in " ".join(done.err.split())
    assert not (tmp_path / "out" / "shards").exists()


def test_a_dry_run_of_a_slice_prints_the_plan_and_writes_nothing(
    album: Path, tmp_path: Path, written: Write, florilegium: Command
) -> None:
    done = florilegium("build", written(album, tmp_path / "out"), "--slice", "1/2", "--dry-run")
    assert (done.code, "bright" in done.out) == (0, True)
    assert not (tmp_path / "out").exists()


def test_a_slice_fails_when_too_much_of_it_is_lost_and_the_end_judges_the_whole(
    album: Path, tmp_path: Path, written: Write, florilegium: Command
) -> None:
    trouble = {"use": "tests.stages:Trouble", "key": "astronaut"}
    keys = {"specialists": {"trouble": trouble}, "shard_size": 2}
    config = written(album, tmp_path / "out", **keys)
    first = florilegium("build", config, "--slice", "1/3", "--max-dead-letter-share", "0.2")
    assert first.code == 1
    assert "1 of 4 images failed" in first.err
    for text in ("2/3", "3/3"):
        assert florilegium("build", config, "--slice", text).code == 0
    last = florilegium("build", config, "--finish", "--max-dead-letter-share", "0.2")
    assert last.code == 0
    assert "12 images = 11 samples + 1 dead letter" in last.out

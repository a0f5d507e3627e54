"""The Python of README and of `docs/how-to/read.md` gives what it should."""

from __future__ import annotations

import ast
import json
import re
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow.dataset as ds
import pytest
import yaml

from tests.building import build, shard_file
from tests.end_to_end.conftest import ROOT
from tests.security.table import KINDS, markdown

README = (ROOT / "README.md").read_text("utf-8")
READ = (ROOT / "docs" / "how-to" / "read.md").read_text("utf-8")
RELIABILITY = (ROOT / "docs" / "explanation" / "reliability.md").read_text("utf-8")
READING, SELECTING, LOADING = "open_dataset(", "dataset.select(", "load_dataset("


def block(page: str, mark: str) -> str:
    """Return the one block of Python in a page with these letters in it."""
    blocks = re.findall(r"^```python\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)
    (found,) = [one for one in blocks if mark in one]
    return found


@pytest.fixture
def mine(quickstart: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The quickstart's dataset where the documentation has it."""
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").symlink_to(quickstart)
    monkeypatch.chdir(tmp_path)
    return quickstart


def test_a_dataset_is_read_as_the_documentation_reads_it(
    mine: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    exec(block(READ, READING) + block(READ, SELECTING), {})
    totals = json.loads((mine / "manifest.json").read_bytes())["totals"]
    lines = capsys.readouterr().out.splitlines()
    samples, tables = lines[: totals["samples"]], lines[totals["samples"] :]
    tasks = Counter(task for line in samples for task in re.findall(r"'(\w+)'", line))
    assert tasks == {task: n["kept"] for task, n in totals["tasks"].items() if n["kept"]}
    dropped = [row for line in tables for row in ast.literal_eval(line)]
    assert len(dropped) == totals["tasks"]["object_detection"]["dropped"] > 0
    assert {frozenset(row) for row in dropped} == {frozenset(["key", "label", "score", "verdicts"])}


@pytest.mark.filterwarnings(
    # the streaming of datasets leaves files to the garbage collector
    "ignore:unclosed file",
    "ignore:Exception ignored in",
)
def test_datasets_reads_it_as_the_documentation_has_it(
    mine: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    exec(block(READ, LOADING), {})
    totals = json.loads((mine / "manifest.json").read_bytes())["totals"]
    assert len(capsys.readouterr().out.splitlines()) == totals["annotations_kept"]


def test_the_specialist_of_readme_says_tags_that_other_stages_read(
    album: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = block(README, "(Specialist)")
    path = tmp_path / re.match(r"# (\S+)\n", code)[1]  # type: ignore[index]
    path.parent.mkdir()
    path.write_text(code, "utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "modules", dict(sys.modules))
    stanza: dict[str, Any] = yaml.safe_load(re.search(r"`(sharpness: \{.*?\})`", README)[1])  # type: ignore[index]
    manifest = build(album, tmp_path / "out", specialists={**stanza, "template_caption": {}})
    assert (manifest.totals.samples, manifest.totals.dead_letters) == (12, 0)
    rows = ds.dataset(shard_file(tmp_path / "out", ".parquet")).to_table().to_pylist()
    tags = {row["key"]: row["label"] for row in rows if row["task"] == "tag"}
    captions = {row["key"]: row["text"] for row in rows if row["task"] == "caption"}
    assert len(tags) > 6
    assert set(tags.values()) == {"sharp"}
    assert captions.keys() == tags.keys()
    assert all("sharp" in text for text in captions.values())


def test_the_table_of_attacks_has_every_kind_that_is_counted() -> None:
    header, *lines = markdown(dict.fromkeys(KINDS, 0), dict.fromkeys(KINDS, 0)).rstrip().split("\n")
    table = RELIABILITY[RELIABILITY.index(header) :].partition("\n\n")[0].split("\n")
    assert table[0] == header
    assert len(table) == len(lines) + 1
    for quoted, line in zip(table[1:], lines, strict=True):
        assert re.sub(r"\d+", "0", quoted) == line

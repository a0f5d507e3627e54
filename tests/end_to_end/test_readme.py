"""The Python of README does what README says."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import pyarrow.dataset as ds
import pytest
import yaml

from tests.building import build, shard_file
from tests.end_to_end.conftest import ROOT

README = (ROOT / "README.md").read_text("utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)
READING, PLUGIN = "load_dataset(", "(Specialist)"


def block(mark: str) -> str:
    """Return the one block of Python in README with these letters in it."""
    (found,) = [one for one in BLOCKS if mark in one]
    return found


def test_every_block_of_python_has_a_test() -> None:
    assert len(BLOCKS) == 2
    assert block(READING) != block(PLUGIN)


@pytest.mark.filterwarnings(
    # the streaming of datasets leaves files to the garbage collector
    "ignore:unclosed file",
    "ignore:Exception ignored in",
)
def test_a_dataset_is_read_as_readme_reads_it(
    quickstart: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").symlink_to(quickstart)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    exec(block(READING), {})
    totals = json.loads((quickstart / "manifest.json").read_bytes())["totals"]
    assert len(capsys.readouterr().out.splitlines()) == totals["annotations_kept"]


def test_the_specialist_of_readme_says_tags_that_other_stages_read(
    album: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = block(PLUGIN)
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

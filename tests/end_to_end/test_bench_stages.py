"""The stages of `make bench` give annotations that the engine takes: the benchmark itself takes
minutes, and nothing else would notice."""

from __future__ import annotations

from pathlib import Path

from tests.benchmarks.photographs import print_copies, take_photographs
from tests.benchmarks.resume import Trial
from tests.building import build


def test_every_image_is_counted_by_each_stage_and_nothing_is_lost(tmp_path: Path) -> None:
    album = take_photographs(tmp_path / "album", 2, side=64)
    trial = Trial(folder=tmp_path, source=print_copies(album, tmp_path / "copies", 4))
    document = {**trial.document("once"), "runner": "in_process"}

    manifest = build(document.pop("source"), Path(document.pop("output")), **document)

    assert manifest.totals.failures == {}
    assert manifest.totals.tasks == {
        "caption": {"kept": 4, "dropped": 0},
        "tag": {"kept": 8, "dropped": 0},
    }
    stages = ("tagger", "captioner", "other", "strong")
    assert trial.calls("once") == trial.all_calls(stages)

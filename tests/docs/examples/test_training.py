"""A script that reads the output with webdataset and torch learns from it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

NAME = "train_with_webdataset/train.py"
Script = Callable[[str], ModuleType]
pytestmark = pytest.mark.filterwarnings(
    # webdataset leaves files to the garbage collector
    "ignore:unclosed file",
    "ignore:Exception ignored in",
)


def test_the_classifier_names_shapes_that_it_was_not_trained_on(
    script: Script, scenes: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train = script(NAME)
    options = ["--labels", "9", "--steps", "80"]
    share = train.train(train.arguments_of([str(scenes), *options]))
    assert share > 0.4  # the most frequent label alone would be right for 0.23
    out = capsys.readouterr().out
    assert "step 50: loss" in out
    assert f"{share:.1%} of the crops in 2 other shards" in out


def test_every_worker_of_every_rank_reads_shards_of_its_own(
    script: Script, scenes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from torch.utils.data import DataLoader

    train = script(NAME)
    tars, _ = train.shards_of(scenes)
    read: list[list[str]] = []
    monkeypatch.setattr(train, "crops_of", keys)
    for rank in range(2):
        monkeypatch.setenv("RANK", str(rank))
        monkeypatch.setenv("WORLD_SIZE", "2")
        pairs = train.pairs_of(tars, ["circle"], is_training=True).with_epoch(140)
        names = set(DataLoader(pairs, batch_size=None, num_workers=2))
        read.append(sorted(names))
    assert len(tars) == 14
    assert not set(read[0]) & set(read[1])
    assert len(read[0]) == len(read[1]) == 70


def keys(_: Any, sample: dict[str, Any], labels: list[str]) -> list[str]:
    """In place of the crops of a sample: its key."""
    return [sample["key"]]


def test_too_few_shards_for_the_workers_are_refused(script: Script, scenes: Path) -> None:
    train = script(NAME)
    with pytest.raises(SystemExit, match="14 shards cannot be shared by 1 ranks with 20"):
        train.train(train.arguments_of([str(scenes), "--workers", "20"]))

"""A plain loop fine-tunes Florence-2 on what `export` writes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from tests.conftest import ROOT
from tests.docs.page import run_command

NAME = "finetune_transformers/finetune.py"


def test_the_validation_loss_falls_and_the_result_is_a_checkpoint(
    script: Callable[[str], ModuleType],
    scenes: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    export = ("florilegium", "export", str(scenes), "--format", "florence2")
    run_command(
        *export, "--output", str(tmp_path / "jsonl"), "--set", "tasks={object_detection: 1}"
    )
    finetune = script(NAME)
    options = [
        *("--model", str(ROOT / "specialists" / "tiny_florence2")),
        *("--output", str(tmp_path / "tuned"), "--epochs", "1", "--learning-rate", "1e-3"),
    ]
    losses = finetune.finetune(finetune.arguments_of([str(tmp_path / "jsonl"), *options]))
    assert losses[1] < 0.7 * losses[0]
    assert "epoch 1: validation loss" in capsys.readouterr().out
    folders = [str(tmp_path / name) for name in ("jsonl", "tuned", "again")]
    words = [folders[0], "--model", folders[1], "--output", folders[2], "--epochs", "0"]
    assert finetune.finetune(finetune.arguments_of(words)) == pytest.approx(losses[-1:])

"""Two ranks train together, as `torchrun` starts them."""

from __future__ import annotations

import os
import socket
from argparse import Namespace
from collections.abc import Callable
from contextlib import redirect_stdout
from multiprocessing import get_context
from pathlib import Path
from types import ModuleType

import pytest

NAME = "train_with_webdataset/train.py"
Script = Callable[[str], ModuleType]
pytestmark = pytest.mark.filterwarnings(
    # webdataset leaves files to the garbage collector
    "ignore:unclosed file",
    "ignore:Exception ignored in",
)


def test_two_ranks_train_together(script: Script, scenes: Path, tmp_path: Path) -> None:
    train = script(NAME)
    arguments = train.arguments_of([str(scenes), "--labels", "9", "--steps", "50"])
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        (tmp_path / "port").write_text(str(free.getsockname()[1]), "utf-8")
    fork = get_context("fork")  # what `torchrun` starts would import torch again
    ranks = [
        fork.Process(target=run_rank, args=(train, arguments, rank, tmp_path)) for rank in range(2)
    ]
    for process in ranks:
        process.start()
    for process in ranks:
        process.join()
    assert [process.exitcode for process in ranks] == [0, 0]
    first, second = ((tmp_path / str(rank)).read_text("utf-8") for rank in range(2))
    assert first.count("step 50: loss") == 1
    assert first.count("named right") == 1
    assert second == ""


def run_rank(train: ModuleType, arguments: Namespace, rank: int, folder: Path) -> None:
    """Train as one of two ranks, as `torchrun` tells them; what is printed goes into a file."""
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": "2"}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": (folder / "port").read_text("utf-8")}
    with (folder / str(rank)).open("w", encoding="utf-8") as out, redirect_stdout(out):
        train.train(arguments)

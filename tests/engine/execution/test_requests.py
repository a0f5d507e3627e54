"""What a build asks of object storage: each look costs a request there, and each request waits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import fsspec
import numpy as np
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from PIL import Image

from florilegium.engine.execution.preparation import prepare
from florilegium.engine.execution.progress import Progress
from florilegium.engine.execution.run import execute
from florilegium.engine.planning.config import RunConfig, validated
from florilegium.engine.results.manifest import Manifest
from tests.building import BRIGHT_ENOUGH, DESCRIBED

SHARDS = 100
STAGES = 3


class CountedFileSystem(MemoryFileSystem):
    """Object storage in memory that counts what it is asked, by operation and by path."""

    protocol = "counted"
    store: ClassVar[dict[str, Any]] = {}
    pseudo_dirs: ClassVar[list[str]] = [""]
    asked: ClassVar[list[tuple[str, str]]] = []

    def info(self, path: str, **options: Any) -> Any:
        self.asked.append(("info", path))
        return super().info(path, **options)

    def ls(self, path: str, detail: bool = True, **options: Any) -> Any:
        self.asked.append(("ls", path))
        return super().ls(path, detail=detail, **options)

    def exists(self, path: str, **options: Any) -> bool:
        self.asked.append(("exists", path))
        return bool(super().exists(path, **options))

    def _open(self, path: str, mode: str = "rb", **options: Any) -> Any:
        self.asked.append(("read" if "r" in mode else "write", path))
        return super()._open(path, mode, **options)

    def cat_file(self, path: str, *limits: Any, **options: Any) -> bytes:
        self.asked.append(("read", path))
        return bytes(super().cat_file(path, *limits, **options))


@pytest.fixture
def storage() -> Iterator[list[tuple[str, str]]]:
    """What is asked of a file system `counted://`."""
    fsspec.register_implementation("counted", CountedFileSystem, clobber=True)
    CountedFileSystem.asked.clear()
    yield CountedFileSystem.asked
    CountedFileSystem.store.clear()


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(SHARDS):
        pixels = np.full((8, 8, 3), number, np.uint8)
        pixels[number % 8] = 250
        Image.fromarray(pixels).save(folder / f"{number:03d}.png")
    return folder


def build(photos: Path) -> Manifest:
    """Build shards of one sample each, with three stages of which one reads another."""
    document = {
        "source": str(photos),
        "output": "counted://out",
        "layers": "counted://layers",
        "runner": {"kind": "in_process"},
        "specialists": DESCRIBED,
        "filters": BRIGHT_ENOUGH,
        "shard_size": 1,
    }
    return execute(prepare(validated(RunConfig, document, where="test")), Progress())


def of_layers(storage: list[tuple[str, str]]) -> Counter[str]:
    return Counter(
        operation for operation, path in storage if "layers" in path and "source-" not in path
    )


def test_a_build_looks_for_each_layer_once_and_writes_it_once(
    photos: Path, storage: list[tuple[str, str]]
) -> None:
    assert build(photos).totals.samples == SHARDS
    each = STAGES * SHARDS
    assert of_layers(storage) == {"read": each, "write": each, "ls": 1}, "other gates: one listing"
    assert len(storage) <= 11 * SHARDS + 20, (
        "shards, statistics, readings, layers; and the run itself"
    )


def test_shards_that_are_made_again_read_the_rows_of_each_layer_once(
    photos: Path, storage: list[tuple[str, str]]
) -> None:
    build(photos)
    for path in [path for path in CountedFileSystem.store if path.endswith("_stats.json")]:
        del CountedFileSystem.store[path]
    storage.clear()
    build(photos)
    assert of_layers(storage) == {"read": 2 * STAGES * SHARDS}, "a look at the end, then the rows"


def test_a_finished_build_asks_for_no_layer(photos: Path, storage: list[tuple[str, str]]) -> None:
    build(photos)
    storage.clear()
    build(photos)
    assert of_layers(storage) == {}
    assert len(storage) <= 2 * SHARDS + 10

"""What do listing and dividing millions of inputs cost? Memory and seconds of the driver alone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar

from florilegium.engine.core.peak_memory import peak_mib
from florilegium.engine.sources.source import Item, Reading, Source, SourceConfig
from tests.benchmarks.children import ENVIRONMENT, ROOT, TIMEOUT_S
from tests.benchmarks.table import Row

IMAGES = 1_000_000
GOAL_CPU_S = 6.0
"""For a million inputs; about half of it is what the source takes to make its items."""
LIMIT_CPU_S = 10.0
LIMIT_BYTES = 80.0
"""Of memory for each input, beyond what a driver with few inputs takes."""
FEW = 10_000


class SyntheticConfig(SourceConfig):
    """Options of a listing that is made up."""

    images: int
    """How many images were there at first."""
    is_later: bool = False
    """Whether of a hundred images one is gone, and another one is new."""


class Synthetic(Source[SyntheticConfig]):
    """A source that lists files which are nowhere, a thousand in each folder."""

    Config: ClassVar[type[SourceConfig]] = SyntheticConfig

    def items(self) -> Iterator[Item]:
        for number in range(self.config.images):
            if self.config.is_later and number % 100 == 7:
                continue
            yield self._item(number, "")
            if self.config.is_later and number % 100 == 50:
                yield self._item(number, "_new")

    def _item(self, number: int, suffix: str) -> Item:
        size = 100_000 + number % 50_000
        return Item(
            location=f"{number // 1000:06d}/{number:09d}{suffix}.jpg",
            signature=f"{size}-{1_700_000_000_000_000_000 + number}",
            size=size,
        )

    def read(self, item: Item) -> Iterator[Reading]:
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class Spent:
    """What a driver took to find out which shards there are."""

    cpu_s: float
    wall_s: float
    peak_bytes: int
    shards: int


def measure(folder: Path, images: int | None) -> Iterator[Row]:
    """Divide a listing, the same one again, and one of which a hundredth is gone and new."""
    count = images or IMAGES
    base = _spent(folder / "few", FEW).peak_bytes
    for what, is_later in (("first plan", False), ("nothing new", False), ("1 % new", True)):
        spent = _spent(folder / "many", count, is_later=is_later)
        millions = count / 1e6
        how = f"{count:,} inputs, {spent.shards:,} shards"
        yield Row(
            what=f"{what}: CPU of the driver, million inputs",
            value=spent.cpu_s / millions,
            unit="s",
            limit=LIMIT_CPU_S,
            how=f"{how}: {spent.cpu_s:.1f} s, {spent.wall_s:.1f} s by the clock; "
            f"the goal is {GOAL_CPU_S:g} s",
        )
        yield Row(
            what=f"{what}: memory for an input",
            value=(spent.peak_bytes - base) / count,
            unit="B",
            limit=LIMIT_BYTES,
            how=f"peak {spent.peak_bytes / 1e6:.0f} MB; {base / 1e6:.0f} MB with {FEW:,} inputs",
        )


def _spent(output: Path, images: int, *, is_later: bool = False) -> Spent:
    options = {"images": images, "is_later": is_later}
    document = {
        "source": {"url": "made_up", "kind": "tests.benchmarks.lists:Synthetic", **options},
        "output": str(output),
        "specialists": {"first": {"use": "tests.benchmarks.stages:Silent"}},
    }
    done = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks.lists", json.dumps(document)],
        cwd=ROOT,
        env={**os.environ, **ENVIRONMENT},
        stdout=subprocess.PIPE,
        timeout=TIMEOUT_S,
        check=True,
    )
    return Spent(**json.loads(done.stdout))


def _divide(document: dict[str, Any]) -> Spent:
    """Divide the sources of a config, as a build does before it makes any shard."""
    from florilegium.engine.execution.finished import divide
    from florilegium.engine.execution.preparation import prepare
    from florilegium.engine.planning.config import RunConfig, validated

    run = prepare(validated(RunConfig, document, where="benchmark"))
    began_s, began_cpu_s = time.perf_counter(), time.process_time()
    shards = divide(run, replace=False)
    return Spent(
        cpu_s=time.process_time() - began_cpu_s,
        wall_s=time.perf_counter() - began_s,
        peak_bytes=int(peak_mib() * 2**20),
        shards=len(shards),
    )


if __name__ == "__main__":
    sys.stdout.write(json.dumps(asdict(_divide(json.loads(sys.argv[1])))))

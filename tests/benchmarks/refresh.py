"""What does a refresh cost when nothing is new? On a storage that waits, with many shards."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from florilegium.engine.core.peak_memory import peak_mib
from florilegium.engine.core.sample import digest_of
from florilegium.engine.execution.finished import divide
from florilegium.engine.execution.preparation import Run, prepare
from florilegium.engine.execution.readings import Readings
from florilegium.engine.execution.unused_memory import let_arrow_use_malloc
from florilegium.engine.planning.config import RunConfig, validated
from florilegium.engine.results.finished_shards import list_shards
from florilegium.engine.results.manifest import DEAD_LETTERS, MANIFEST, Manifest
from florilegium.engine.results.publication import FileStats, ShardStats
from florilegium.engine.results.shard_table import ShardTable, TableOfShards
from florilegium.engine.results.versions import remember
from florilegium.pipelines.dataset.files import CARD, REPORT, RUN, STATISTICS
from florilegium.pipelines.dataset.resolved import resolved_config
from florilegium.pipelines.refresh.options import RefreshOptions
from florilegium.pipelines.refresh.refresh import refresh_dataset
from tests.benchmarks.table import Row
from tests.benchmarks.waiting_storage import asked, shard_name, waiting_storage
from tests.object_storage import reached_at

SHARDS = 100_000
WAIT_S = 0.03
LIMIT_S = 10.0
LIMIT_REQUESTS = 60
LIMIT_MB = 500
TASKS = 12
ONE_BYTE = FileStats(bytes=1, sha256="0" * 64)
"""The size that the storage lists for each file of a shard."""


def measure(folder: Path, images: int | None) -> Iterator[Row]:
    """Make what a build of so many shards of one image leaves, and refresh that."""
    shards = images or SHARDS
    source = folder / "source"
    source.mkdir()
    for number in range(shards):
        (source / f"{number:07d}.jpg").touch()
    with waiting_storage("out", shards, wait_s=WAIT_S) as address, reached_at(address):
        config = {
            "source": str(source),
            "output": "s3://bucket/out",
            "shard_size": 1,
            "runner": {"kind": "in_process"},
            "specialists": {"bright": {"use": "tests.stages:Brightest"}},
        }
        _fill(prepare(validated(RunConfig, config, where="benchmark")))
        asked(address)
        command = [sys.executable, "-m", __name__, json.dumps(config)]
        let_arrow_use_malloc()  # as the command line does
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        found = json.loads(done.stdout.splitlines()[-1])
        requests = asked(address)
    how = f"{shards} shards, {WAIT_S * 1000:.0f} ms a request"
    pages = sum(one.startswith("LIST out/shards") or one == "LIST " for one in requests)
    others = [one for one in requests if not one.startswith("LIST")]
    yield Row(what="nothing to do", value=found["seconds"], unit="s", limit=LIMIT_S, how=how)
    yield Row(what="of it, CPU", value=found["cpu_s"], unit="s")
    yield Row(what="pages of listings", value=pages)
    yield Row(what="other requests", value=len(others), limit=LIMIT_REQUESTS)
    yield Row(what="peak memory", value=found["peak_mb"], unit="MB", limit=LIMIT_MB)


def _fill(run: Run) -> None:
    """Write what a finished build leaves, but for the shards."""
    shards = divide(run, replace=False)
    made = _made(run, [shard.number for shard in shards.shards()])
    made = made.with_columns(Readings(run).inputs_of(shards))
    manifest = Manifest.of(run.graph, [source.url for source in run.config.source], made)
    files = {name: FileStats.of(memoryview(b"x")) for name in (CARD, REPORT, STATISTICS)}
    for name in files:
        run.output.publish(name, b"x")
    run.output.publish(DEAD_LETTERS, manifest.dead_letters_file)
    run.output.publish(RUN, resolved_config(run))
    files[DEAD_LETTERS] = FileStats.of(memoryview(manifest.dead_letters_file))
    manifest = replace(manifest, files=files)
    run.output.publish(MANIFEST, manifest.to_json())
    remember(run.output, manifest, list_shards(run.output, made))


def _made(run: Run, numbers: list[int]) -> ShardTable:
    table = TableOfShards()
    counts = {f"task_{number}": {"kept": number, "dropped": 1} for number in range(TASKS)}
    for number in numbers:
        stats = ShardStats(
            number=number,
            recipe=run.graph.recipe,
            samples_digest=digest_of([str(number)]),
            samples=1,
            annotations_kept=sum(range(TASKS)),
            annotations_dropped=TASKS,
            tasks=counts,
            specialists=counts,
            drops=dict.fromkeys(counts, 1),
            extensions={"jpg": 1},
            dead_letters=(),
            tar=ONE_BYTE,
            parquet=ONE_BYTE,
        )
        stats.know(name=shard_name(number), file=ONE_BYTE)
        table.add(stats)
    return table.whole()


def main() -> None:
    """Refresh once and print what that took."""
    run = prepare(validated(RunConfig, json.loads(sys.argv[1]), where="benchmark"))
    began_s, cpu_s = time.monotonic(), time.process_time()
    finished = refresh_dataset(run, RefreshOptions())
    if finished.record.outcome != "nothing":
        raise RuntimeError(f"there was something to do: {finished.record.outcome}")
    found = {
        "seconds": time.monotonic() - began_s,
        "cpu_s": time.process_time() - cpu_s,
        "peak_mb": peak_mib(),
    }
    sys.stdout.write(f"{json.dumps(found)}\n")


if __name__ == "__main__":
    main()

"""Is what is done done? Calls of stages after a kill, after a change, and when nothing is new."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import yaml

from florilegium.engine.execution.preparation import prepare
from florilegium.engine.execution.progress import Progress
from florilegium.engine.execution.run import execute
from florilegium.engine.planning.config import RunConfig, validated
from florilegium.engine.planning.index import read_index
from florilegium.engine.results.manifest import read_manifest
from florilegium.engine.storage.folder import Folder
from tests.benchmarks.children import DRIVER, ENVIRONMENT, marked, run, running
from tests.benchmarks.jobs import job
from tests.benchmarks.photographs import print_copies, take_photographs
from tests.benchmarks.table import Row

IMAGES = 2048
SHARD = 32
POLL_S = 0.01
REPEATS = 5
LIMIT_S = 0.5
STAGES: dict[str, dict[str, Any]] = {
    "tagger": {"use": "Counting"},
    "captioner": {"use": "CountingReader", "reads": ["tagger"]},
    "other": {"use": "Counting"},
}
FILTERS: dict[str, dict[str, Any]] = {"strong": {"use": "CountingFilter", "reads": ["tagger"]}}
DEPENDANTS = ("tagger", "captioner", "strong")
"""The tagger and all that read it."""

Calls = Counter[tuple[str, str]]
"""How often a stage was asked about an image, by stage name and key."""


def measure(folder: Path, images: int | None) -> Iterator[Row]:
    """Kill a build at half, finish it, change it, and run it again for nothing."""
    album = take_photographs(folder / "photographs", 8, side=64)
    count = images or IMAGES
    trial = Trial(folder=folder, source=print_copies(album, folder / "copies", count))
    published = trial.build_half(shards=count // SHARD // 2)
    calls = trial.build("resumed")
    done = trial.calls_of(published)
    how = f"{count} images in {count // SHARD} shards, {len(published)} layers before the kill"
    what = "calls of published layers made again"
    yield Row(what=what, value=(calls & done).total(), limit=0, how=how)
    missing = trial.all_calls([*STAGES, *FILTERS]) - done - calls
    yield Row(what="calls that were due and not made", value=missing.total(), limit=0)
    calls = trial.build("threshold", strong={"minimum": 0.9})
    yield Row(what="calls after another threshold", value=calls.total(), limit=0)
    yield from _nothing_to_do(trial, strong={"minimum": 0.9})
    calls = trial.build("changed", tagger={"word": "looked at"})
    due = trial.all_calls(DEPENDANTS)
    how = "the changed stage and its dependants are asked once for each image"
    what = "calls too many or too few after a change of one stage"
    yield Row(what=what, value=((calls - due) + (due - calls)).total(), limit=0, how=how)


def _nothing_to_do(trial: Trial, **changes: dict[str, Any]) -> Iterator[Row]:
    document = marked(trial.document("nothing", **changes), trial.folder / "nothing.marks")
    config = validated(RunConfig, document, where="benchmark")
    path = trial.folder / "nothing.yaml"
    path.write_text(yaml.safe_dump(document, sort_keys=False))
    command = [str(Path(sys.executable).with_name("florilegium")), "build", str(path)]
    options: dict[str, Any] = {
        "env": {**os.environ, **ENVIRONMENT},
        "check": True,
        "capture_output": True,
    }
    inside, whole = [], []
    for _ in range(REPEATS):
        ready = prepare(config)
        inside.append(_seconds(lambda: execute(ready, Progress())))  # noqa: B023
        whole.append(_seconds(lambda: subprocess.run(command, **options)))
    yield Row(what="nothing to do, after start-up", value=median(inside), unit="s", limit=LIMIT_S)
    yield Row(what="nothing to do, the whole command", value=median(whole), unit="s")


def _seconds(call: Callable[[], object]) -> float:
    started_s = time.monotonic()
    call()
    return time.monotonic() - started_s


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One dataset that is built again and again."""

    folder: Path
    source: Path

    @property
    def output(self) -> Path:
        """The folder of the dataset."""
        return self.folder / "out"

    def document(self, build: str, **changes: dict[str, Any]) -> dict[str, Any]:
        """Return a config whose stages write their calls into the logs of a build."""

        def section(stages: dict[str, dict[str, Any]]) -> dict[str, Any]:
            return {
                name: {
                    **options,
                    "use": f"tests.benchmarks.stages:{options['use']}",
                    "log": str(self.folder / f"{build}_{name}.log"),
                    **changes.get(name, {}),
                }
                for name, options in stages.items()
            }

        return job(
            self.source,
            self.output,
            shard_size=SHARD,
            specialists=section(STAGES),
            filters=section(FILTERS),
        )

    def build(self, name: str, **changes: dict[str, Any]) -> Calls:
        """Build to the end and return the calls that it took."""
        run(DRIVER, self.folder / name, self.document(name, **changes))
        return self.calls(name)

    def build_half(self, *, shards: int) -> set[tuple[str, str]]:
        """Kill the driver when some shards are there; return stage and shard of each layer."""
        with running(DRIVER, self.folder / "killed", self.document("killed")) as child:
            while sum(1 for _ in self.output.glob("shards/*_stats.json")) < shards:
                if child.process.poll() is not None:
                    raise RuntimeError(f"not killed in time: {child.messages.read_text()}")
                child.family.members()
                time.sleep(POLL_S)
            child.process.kill()
            while child.timeline.workers & child.family.cpu_s_by_pid().keys():
                time.sleep(POLL_S)  # a worker may still publish what it was about to
        layers = self.output.glob("layers/*/*.parquet")
        return {(path.parent.name.rpartition("-")[0], path.stem) for path in layers}

    def calls_of(self, layers: set[tuple[str, str]]) -> Calls:
        """Return one call for each image of each of these layers."""
        folder = Folder(str(self.output))
        shards = (read_manifest(folder) or {"shards": []})["shards"]
        digests = {shard["number"]: shard["samples_digest"] for shard in shards}
        index = read_index(folder)
        return Counter(
            (stage, entry.key)
            for stage, digest in layers
            for entry in (index.entries() if index is not None else ())
            if digests[entry.shard] == digest
        )

    def all_calls(self, stages: Iterable[str]) -> Calls:
        """Return one call of each stage for each image."""
        keys = [path.stem for path in self.source.iterdir()]
        return Counter((stage, key) for stage in stages for key in keys)

    def calls(self, build: str) -> Calls:
        """Return the calls that the logs of a build have."""
        calls: Calls = Counter()
        for name in (*STAGES, *FILTERS):
            log = self.folder / f"{build}_{name}.log"
            if log.exists():
                calls.update((name, key) for key in log.read_text().split())
        return calls

"""`python -m tests.chaos [--seeds N] [--kills N]`: build while things die, print one table.

Ends with 1 when a promise is broken: other bytes than those of the undisturbed build, an input that
is neither a sample nor a dead letter, a build that fails, or a call that is repeated and was not in
flight.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.benchmarks.children import ROOT
from tests.benchmarks.processes import load_average
from tests.chaos.calls import Strike, count_repeats
from tests.chaos.job import contents, draw_images, unaccounted, write_config
from tests.chaos.nodes import Nodes, cluster
from tests.chaos.run import KILLED, DisturbedBuild, Hung, plan_of
from tests.chaos.table import rows

KILLS = 20
"""Kills in a run, by default."""
SHARES = {"worker": 0.7, "node": 0.2, "driver": 0.1}
"""How the kills are divided; full memory and a node that joins come once beside them."""


@dataclass
class Seen:
    """All disturbances, the seconds that they cost, and the promises that were broken."""

    strikes: list[Strike] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)
    undisturbed_s: float = 0.0
    beyond_s: float = 0.0

    def breaks(self, promise: str) -> None:
        """Note and print a promise that was not kept."""
        self.broken.append(promise)
        _print(f"BROKEN {promise}")


def main() -> int:
    """Run all seeds, print the table and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seeds", type=int, default=10, help="runs, each with other kills")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--kills", type=int, default=KILLS, help="kills in each run")
    parser.add_argument("--only", metavar="KIND=N,...", help="these disturbances instead")
    parser.add_argument("--seconds", type=float, default=0.05, help="of a call for each image")
    parser.add_argument("--keep-s", type=float, default=0, help="runner.keep_s of the builds")
    parser.add_argument("--keep", type=Path, help="a new folder, short, for all that is made")
    options = parser.parse_args()
    before, began_s = load_average(), time.monotonic()
    seen = Seen()
    with _folder(options.keep) as folder:
        _prepare_environment(folder)
        _run(folder, options, seen)
    _report(seen, options.seeds)
    _print(
        f"{os.cpu_count()} cores; load average {before:.1f} before, {load_average():.1f} after; "
        f"{time.monotonic() - began_s:.0f} s"
    )
    return int(bool(seen.broken))


def _run(folder: Path, options: argparse.Namespace, seen: Seen) -> None:
    source = draw_images(folder / "images")
    with cluster(folder / "ray") as nodes:
        chaos = Chaos(nodes, folder, source, seen, options.seconds, options.keep_s)
        chaos.undisturbed()
        for seed in range(options.first, options.first + options.seeds):
            if not chaos.disturbed(seed, _kinds(options.only, options.kills)):
                break


class Chaos:
    """Builds on one cluster, one after the other, each from nothing."""

    def __init__(
        self,
        nodes: Nodes,
        folder: Path,
        source: Path,
        seen: Seen,
        seconds: float,
        keep_s: float,
    ) -> None:
        self._nodes = nodes
        self._folder = folder
        self._source = source
        self._seen = seen
        self._seconds = seconds
        self._keep_s = keep_s
        self._wanted: Mapping[str, bytes] = {}
        self._answers = 0

    def undisturbed(self) -> None:
        """Build once in peace."""
        build = self._build("undisturbed", random.Random(0))
        build.run([])
        asked = sum(len(call.keys) for call in build.calls.calls)
        self._answers = len(build.calls.answered)
        self._seen.undisturbed_s = build.seconds
        self._wanted = contents(self._folder / "undisturbed")
        _print(f"undisturbed: {build.seconds:.1f} s, {asked} calls")
        if asked != self._answers:
            self._seen.breaks("the undisturbed build has asked something twice")
        for failure in build.failures:
            self._seen.breaks(f"undisturbed: {failure}")

    def disturbed(self, seed: int, kinds: list[str]) -> bool:
        """Build while things die; tell whether the cluster can take another build."""
        name, seen = f"seed_{seed}", self._seen
        build = self._build(name, random.Random(seed))
        try:
            build.run(plan_of(random.Random(seed), kinds), answers=self._answers)
        except Hung as error:
            seen.breaks(f"{name}: not done in time: {error}")
            return False
        count_repeats(build.calls.calls, build.strikes)
        seen.strikes += build.strikes
        seen.beyond_s += build.seconds - seen.undisturbed_s
        kills = sum(one.kind in KILLED for one in build.strikes)
        repeated = sum(len(one.repeated) for one in build.strikes)
        _print(f"{name}: {build.seconds:.1f} s, {kills} kills, {repeated} calls repeated")
        excess = sum(len(one.excess) for one in build.strikes)
        if excess:
            seen.breaks(f"{name}: {excess} calls were repeated that were not in flight")
        for what in (*build.failures, *self._differences(name)):
            seen.breaks(f"{name}: {what}")
        return True

    def _build(self, name: str, chance: random.Random) -> DisturbedBuild:
        log = self._folder / f"{name}.log"
        config = write_config(
            self._folder / f"{name}.json",
            self._source,
            self._folder / name,
            log,
            seconds=self._seconds,
        )
        return DisturbedBuild(self._nodes, config, log, chance, keep_s=self._keep_s)

    def _differences(self, name: str) -> Iterator[str]:
        """Yield what is not as in the undisturbed build."""
        try:
            found = contents(self._folder / name)
        except OSError as error:
            yield f"a file is missing: {error}"
            return
        yield from unaccounted(self._folder / name)
        for path in sorted(found.keys() | self._wanted.keys()):
            if found.get(path) != self._wanted.get(path):
                yield f"{path} is not as in the undisturbed build"


def _kinds(only: str | None, kills: int) -> list[str]:
    """Return the disturbances of a run."""
    if only:
        counts = {kind: int(count) for kind, count in (one.split("=") for one in only.split(","))}
    else:
        counts = {kind: round(share * kills) for kind, share in SHARES.items()}
        counts |= {"worker": kills - counts["node"] - counts["driver"], "join": 1, "store": 1}
    return [kind for kind, count in counts.items() for _ in range(count)]


def _report(seen: Seen, seeds: int) -> None:
    for line in rows(seen.strikes):
        _print(line)
    kills = sum(one.kind in KILLED for one in seen.strikes)
    if kills:
        _print(
            f"\n{kills} kills in {seeds} builds of {seen.undisturbed_s:.0f} s; "
            f"{seen.beyond_s / kills:.1f} s more for each kill"
        )


def _prepare_environment(folder: Path) -> None:
    """Set what the nodes and drivers that are started inherit."""
    os.environ |= {
        "RAY_TMPDIR": str(folder),  # else other programs would take this Ray for the one to join
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": "1",
        "RAY_USAGE_STATS_ENABLED": "0",
        "PYTHONWARNINGS": "ignore",
    }


@contextmanager
def _folder(keep: Path | None) -> Iterator[Path]:
    """Give a folder with a short name: Ray puts sockets into it, whose names have a limit."""
    if keep:
        keep.mkdir(parents=True)
        yield keep
        return
    with tempfile.TemporaryDirectory(prefix="chaos_", dir="/tmp") as folder:
        yield Path(folder)


def _print(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())

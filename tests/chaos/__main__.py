"""`python -m tests.chaos [--seeds N] [--kills N]`: build while things die, print one table.

Ends with 1 when a promise is broken: other bytes than those of the undisturbed build, an input that
is neither a sample nor a dead letter, or a call that was repeated and was not in flight.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import tempfile
import time
from pathlib import Path

from tests.benchmarks.children import ROOT
from tests.chaos.calls import Strike, count_repeats
from tests.chaos.job import contents, draw_images, write_config
from tests.chaos.nodes import cluster
from tests.chaos.run import DisturbedBuild, Hung, plan_of
from tests.chaos.table import print_table

MIX = {"worker": 13, "node": 5, "driver": 2, "join": 1}


def main() -> int:
    """Run all seeds and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seeds", type=int, default=10, help="runs, each with its own kills")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--only", default="", metavar="KIND=N,...", help="other disturbances")
    parser.add_argument("--seconds", type=float, default=0.1, help="of a call for each image")
    parser.add_argument("--keep", type=Path, help="a short path for everything; it stays there")
    options = parser.parse_args()
    mix = dict(one.split("=") for one in options.only.split(",")) if options.only else MIX
    kinds = [kind for kind, count in mix.items() for _ in range(int(count))]
    os.environ |= {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "RAY_USAGE_STATS_ENABLED": "0"}
    os.environ["PYTHONWARNINGS"] = "ignore"
    os.environ["RAY_TMPDIR"] = "/tmp"
    with tempfile.TemporaryDirectory(prefix="chaos_", dir="/tmp") as temporary:
        folder = options.keep or Path(temporary)
        folder.mkdir(exist_ok=True)
        source = draw_images(folder / "images")
        strikes: list[Strike] = []
        failures: list[str] = []
        with cluster(folder / "ray") as nodes:
            reference = folder / "reference"
            log = folder / "reference.log"
            config = write_config(
                folder / "reference.json", source, reference, log, seconds=options.seconds
            )
            build = DisturbedBuild(nodes, config, log, random.Random(0))
            build.run([])
            undisturbed_s = build.seconds
            print(f"undisturbed: {undisturbed_s:.1f} s {build.failures}")
            count_repeats(build.calls.calls, [Strike(kind="none", at_s=0.0)])
            wanted = contents(reference)
            for seed in range(options.first, options.first + options.seeds):
                name = f"seed_{seed}"
                output, log = folder / name, folder / f"{name}.log"
                config = write_config(
                    folder / f"{name}.json", source, output, log, seconds=options.seconds
                )
                build = DisturbedBuild(nodes, config, log, random.Random(seed))
                started_s = time.monotonic()
                try:
                    build.run(plan_of(random.Random(seed), kinds))
                    failures += build.failures
                    if contents(output) != wanted:
                        failures.append(f"seed {seed}: other bytes")
                except Hung as error:
                    failures.append(f"seed {seed}: {error}")
                    break
                count_repeats(build.calls.calls, build.strikes)
                strikes += build.strikes
                print(f"seed {seed}: {build.seconds:.1f} s, {time.monotonic() - started_s:.1f}")
    print_table(strikes)
    for failure in failures:
        print(failure)
    return int(bool(failures) or any(one.excess for one in strikes))


if __name__ == "__main__":
    sys.exit(main())

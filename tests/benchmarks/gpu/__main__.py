"""`python -m tests.benchmarks.gpu [STAGE...] [--images N]`: measure, print one table.

Ends with 1 when a limit is broken. Without a GPU networks are tiny, and speed has no limits.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console

from tests.benchmarks.gpu import device, recipe
from tests.benchmarks.gpu.compare import compare
from tests.benchmarks.gpu.jobs import JOBS
from tests.benchmarks.processes import load_average
from tests.benchmarks.table import Row, print_table

RECIPE = "fld5b_small"
ENVIRONMENT = {
    "HF_HUB_OFFLINE": "1",
    "RAY_worker_niceness": "0",  # the loops do not step back for other processes either
}


def main() -> int:
    """Measure the stages that are named, or all and the recipe, and return the exit code."""
    names = [*JOBS, RECIPE]
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.gpu", description=__doc__)
    parser.add_argument("stages", nargs="*", metavar="STAGE", help=", ".join(names))
    parser.add_argument("--images", type=int, help="fewer or more images for each stage")
    options = parser.parse_args()
    if unknown := set(options.stages) - set(names):
        parser.error(f"unknown: {min(unknown)}; there are {', '.join(names)}")
    os.environ.update(ENVIRONMENT)
    device.choose_one()
    before = load_average()
    answers = {name: _measured(name, options.images) for name in options.stages or names}
    caption = (
        f"{device.name()}; {os.cpu_count()} cores; load average {before:.1f} before, "
        f"{load_average():.1f} after"
    )
    print_table(answers, caption=caption)
    return int(any(row.is_broken for rows in answers.values() for row in rows))


def _measured(name: str, images: int | None) -> list[Row]:
    started_s = time.monotonic()
    measure = recipe.measure if name == RECIPE else compare
    with tempfile.TemporaryDirectory(prefix=f"florilegium_{name}_") as folder:
        rows = list(measure(name, Path(folder), images, is_real=device.is_gpu()))
    Console(stderr=True).print(f"{name}: {time.monotonic() - started_s:.0f} s", highlight=False)
    return rows


if __name__ == "__main__":
    sys.exit(main())

"""`python -m tests.benchmarks [QUESTION...] [--images N]`: measure, print one table.

Ends with 1 when a limit is broken.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console

from tests.benchmarks import captions, memory, noop, orphans, overhead, pool, resume
from tests.benchmarks.processes import load_average
from tests.benchmarks.table import Row, print_table

QUESTIONS = {
    "captions": captions.measure,
    "noop": noop.measure,
    "resume": resume.measure,
    "orphans": orphans.measure,
    "memory": memory.measure,
    "pool": pool.measure,
    "overhead": overhead.measure,
}


def main() -> int:
    """Ask the questions that are named, or all, and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("questions", nargs="*", metavar="QUESTION", help=", ".join(QUESTIONS))
    parser.add_argument("--images", type=int, help="fewer or more images in each question")
    options = parser.parse_args()
    if unknown := set(options.questions) - set(QUESTIONS):
        parser.error(f"unknown: {min(unknown)}; the questions are {', '.join(QUESTIONS)}")
    before = load_average()
    answers = {name: _ask(name, options.images) for name in options.questions or QUESTIONS}
    caption = (
        f"{os.cpu_count()} cores; load average {before:.1f} before, {load_average():.1f} after"
    )
    print_table(answers, caption=caption)
    return int(any(row.is_broken for rows in answers.values() for row in rows))


def _ask(name: str, images: int | None) -> list[Row]:
    started_s = time.monotonic()
    with tempfile.TemporaryDirectory(prefix=f"florilegium_{name}_") as folder:
        rows = list(QUESTIONS[name](Path(folder), images))
    Console(stderr=True).print(f"{name}: {time.monotonic() - started_s:.0f} s", highlight=False)
    return rows


if __name__ == "__main__":
    sys.exit(main())

"""`python -m tests.benchmarks [QUESTION...] [--images N]`: measure, print one table a question.

Ends with 1 when a limit is broken.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

from tests.benchmarks import (
    browsing,
    captions,
    copies,
    curation,
    device,
    lengths,
    lists,
    memory,
    noop,
    orphans,
    overhead,
    pool,
    rate,
    refresh,
    resume,
)
from tests.benchmarks.first_impression import measuring as first_impression
from tests.benchmarks.processes import load_average
from tests.benchmarks.table import Row, print_table

QUESTIONS = {
    "browsing": browsing.measure,
    "captions": captions.measure,
    "copies": copies.measure,
    "curation": curation.measure,
    "first_impression": first_impression.measure,
    "lengths": lengths.measure,
    "noop": noop.measure,
    "rate": rate.measure,
    "resume": resume.measure,
    "refresh": refresh.measure,
    "orphans": orphans.measure,
    "lists": lists.measure,
    "memory": memory.measure,
    "pool": pool.measure,
    "overhead": overhead.measure,
    "device": device.measure,
}


def main() -> int:
    """Ask the questions that are named, or all, and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("questions", nargs="*", metavar="QUESTION", help=", ".join(QUESTIONS))
    parser.add_argument("--images", type=int, help="fewer or more images in each question")
    options = parser.parse_args()
    if unknown := set(options.questions) - set(QUESTIONS):
        parser.error(f"unknown: {min(unknown)}; the questions are {', '.join(QUESTIONS)}")
    rows = [row for name in options.questions or QUESTIONS for row in _ask(name, options.images)]
    return int(any(row.is_broken for row in rows))


def _ask(name: str, images: int | None) -> list[Row]:
    """Measure what a question asks, and print it."""
    before, started_s = load_average(), time.monotonic()
    with tempfile.TemporaryDirectory(prefix=f"florilegium_{name}_") as folder:
        rows = list(QUESTIONS[name](Path(folder), images))
    took = f"{time.monotonic() - started_s:.0f} s on {os.cpu_count()} cores"
    load = f"load average {before:.1f} before, {load_average():.1f} after"
    print_table({name: rows}, caption=f"{took}; {load}")
    return rows


if __name__ == "__main__":
    sys.exit(main())

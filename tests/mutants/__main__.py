"""`make mutants`: thousands of small wrong changes, and whether the tests notice them.

    make mutants                          all areas (an hour on two cores)
    make mutants ONLY=pipelines/merge     one of them

What no test notices is printed beside its reason, which stands in survivors.txt. The run fails
where one has none, or where less than `MIN_NOTICED` of an area's changes are noticed.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path

from tests.mutants.areas import AREAS
from tests.mutants.tool import Found, mutated

MIN_NOTICED = 0.95
REASONS = Path(__file__).with_name("survivors.txt")


def main() -> int:
    """Mutate the areas; the exit code tells whether enough was noticed and the rest explained."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutants")
    parser.add_argument("--only", default="", choices=["", *(area.name for area in AREAS)])
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args()
    reasons = read_reasons(REASONS.read_text("utf-8"))
    found: dict[str, Found] = {}
    for area in AREAS:
        if options.only in ("", area.name):
            with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
                found[area.name] = mutated(area, Path(folder), processes=options.processes)
    return report(found, reasons)


def read_reasons(text: str) -> dict[str, str]:
    """Return why each known survivor cannot or need not be noticed.

    A reason is a line; the changes that it is about follow it, indented.
    """
    reasons: dict[str, str] = {}
    reason = ""
    for line in text.splitlines():
        if line.startswith(" "):
            reasons[line.strip()] = reason
        elif line.strip() and not line.startswith("#"):
            reason = line.strip()
    return reasons


def report(found: dict[str, Found], reasons: dict[str, str]) -> int:
    """Print what came of each area; return 1 where it is not good enough, else 0."""
    is_good = True
    write = sys.stdout.write
    for name, one in found.items():
        write(f"\n{name}: {len(one.survivors)} changes that no test noticed\n")
        for survivor in one.survivors:
            write(f"  {survivor}\n      {reasons.get(survivor, 'NOT EXPLAINED')}\n")
            is_good &= survivor in reasons
    write(f"\n{'area':24}{'mutants':>9}{'noticed':>9}{'survivors':>11}{'percent':>9}\n")
    for name, one in found.items():
        noticed = one.made - len(one.survivors)
        share = noticed / max(one.made, 1)
        write(f"{name:24}{one.made:9}{noticed:9}{len(one.survivors):11}{100 * share:8.1f}%\n")
        is_good &= share >= MIN_NOTICED
    return 0 if is_good else 1


if __name__ == "__main__":
    sys.exit(main())

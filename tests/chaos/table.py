"""The table of what kills cost, by kind."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from tests.chaos.calls import Strike


def print_table(strikes: Sequence[Strike]) -> None:
    """Print a row for each kind, as Markdown."""
    print("| what dies | times | calls in flight | repeated | beyond | recovered, median | max |")
    print("|---|---:|---:|---:|---:|---:|---:|")
    for kind in dict.fromkeys(one.kind for one in strikes):
        of_kind = [one for one in strikes if one.kind == kind]
        recovered = [one.recovered_s for one in of_kind]
        print(
            f"| {kind} | {len(of_kind)} | {sum(len(one.in_flight) for one in of_kind)} | "
            f"{sum(len(one.repeated) for one in of_kind)} | "
            f"{sum(len(one.excess) for one in of_kind)} | "
            f"{median(recovered):.1f} s | {max(recovered):.1f} s |"
        )

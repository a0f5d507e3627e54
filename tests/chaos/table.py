"""The table of what disturbances cost, in Markdown, as `docs/explanation/reliability.md` has it."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from tests.chaos.calls import Strike

TITLES = {
    "worker": "a worker (SIGKILL)",
    "node": "a node, all processes of it",
    "driver": "the driver, started again",
    "store": "shared memory full for seconds, and the disk behind it",
    "join": "a node joins",
}
"""What happens, by kind."""
_HEAD = (
    "what happens",
    "times",
    "calls in flight",
    "repeated",
    "beyond",
    "until answered",
    "at most",
)


def rows(strikes: Sequence[Strike]) -> list[str]:
    """Return a row for each kind. Calls are counted for each stage and image."""
    lines = [_row(*_HEAD), _row("---", *["---:"] * (len(_HEAD) - 1))]
    for kind, title in TITLES.items():
        of_kind = [one for one in strikes if one.kind == kind]
        if not of_kind:
            continue
        recovered = [one.recovered_s for one in of_kind if one.in_flight]
        lines.append(
            _row(
                title,
                len(of_kind),
                sum(len(one.in_flight) for one in of_kind),
                sum(len(one.repeated) for one in of_kind),
                sum(len(one.excess) for one in of_kind),
                f"{median(recovered):.1f} s" if recovered else "",
                f"{max(recovered):.1f} s" if recovered else "",
            )
        )
    return lines


def _row(*cells: object) -> str:
    return f"| {' | '.join(map(str, cells))} |"

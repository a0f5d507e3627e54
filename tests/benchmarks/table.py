"""Rows of measured values with their limits, and how they are printed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table
from rich.text import Text


@dataclass(frozen=True, kw_only=True)
class Row:
    """One measured value. Without a limit it is there to compare with."""

    what: str
    value: float
    unit: str = ""
    limit: float | None = None
    """The largest value that is good enough."""
    how: str = ""

    @property
    def is_broken(self) -> bool:
        """Whether the value is beyond its limit."""
        return self.limit is not None and self.value > self.limit

    @property
    def verdict(self) -> Text:
        """Pass, fail, or nothing to say."""
        if self.limit is None:
            return Text("")
        return Text("fail", style="bold red") if self.is_broken else Text("pass", style="green")


def print_table(answers: Mapping[str, Sequence[Row]], *, caption: str) -> None:
    """Print the rows of all questions on standard output."""
    table = Table(caption=caption, caption_justify="left")
    table.add_column("question", style="bold")
    table.add_column("what is measured")
    table.add_column("measured", justify="right", no_wrap=True)
    table.add_column("limit", justify="right", no_wrap=True)
    table.add_column("")
    table.add_column("how", style="dim")
    for question, rows in answers.items():
        for number, row in enumerate(rows):
            table.add_row(
                question if number == 0 else "",
                row.what,
                _number(row.value, row.unit),
                "" if row.limit is None else _number(row.limit, row.unit),
                row.verdict,
                row.how,
            )
        table.add_section()
    Console().print(table)


def _number(value: float, unit: str) -> str:
    is_plain = value == int(value) or abs(value) >= 100
    return f"{value:.0f} {unit}".strip() if is_plain else f"{value:.3g} {unit}".strip()

"""What commands print on: a console that shows what is in a text, and obeys none of it.

Everything that is printed passes here: no markup is read, and what a terminal would take for a
command is written as in source code. Colours are ours alone.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rich.console import Console, RenderableType
from rich.segment import Segment
from rich.text import Text

from engine.safety.escaped import visible

LONGEST_LINE = 2000
"""Characters of a line of an error at most."""
MOST_LINES = 60
"""Lines of an error at most."""


class Terminal(Console):
    """Standard output or standard error."""

    def __init__(self, *, stderr: bool = False) -> None:
        super().__init__(stderr=stderr, markup=False, emoji=False, highlight=False)

    def render_str(self, text: str, **options: Any) -> Text:
        """Make plain text of a string; before rich does, which would drop characters unseen."""
        return super().render_str(visible(text, keep="\n"), **options)

    def render(self, renderable: RenderableType, options: Any = None) -> Iterable[Segment]:
        """Yield what is written, made visible, but for what rich itself tells the terminal."""
        for text, style, control in super().render(renderable, options):
            yield Segment(text if control else visible(text, keep="\n"), style, control)

    def say(self, line: str | Text, *, label: str = "", style: str = "") -> None:
        """Print a line that is never wrapped, perhaps after a coloured label."""
        if not label:
            self.print(line, soft_wrap=True)
            return
        text = visible(line, keep="\n") if isinstance(line, str) else line
        self.print(Text.assemble((f"{label} ", style), text), soft_wrap=True)

    def error(self, message: str) -> None:
        """Print what went wrong, cut to what somebody reads."""
        lines = message.split("\n")
        if len(lines) > MOST_LINES:
            lines[MOST_LINES:] = [f"... and {len(lines) - MOST_LINES} more lines"]
        self.say("\n".join(map(_cut, lines)), label="error", style="bold red")


ERR = Terminal(stderr=True)
"""The console on standard error: what is printed there while progress is shown stays above it."""


def _cut(line: str) -> str:
    if len(line) <= LONGEST_LINE:
        return line
    return f"{line[:LONGEST_LINE]}... ({len(line)} characters)"

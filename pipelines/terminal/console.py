"""The console that all commands print on; it never interprets the text that it prints.

Markup is printed as it is, and control characters are printed as escapes, as in source code. Only
this program sets colours.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rich.console import Console, RenderableType
from rich.segment import Segment
from rich.text import Text

from florilegium.engine.untrusted.escaped import visible

MAX_LINE_LENGTH = 2000
"""Maximum characters of a line of an error."""
MAX_LINES = 60
"""Maximum lines of an error."""


class Terminal(Console):
    """Standard output or standard error."""

    def __init__(self, *, stderr: bool = False) -> None:
        super().__init__(stderr=stderr, markup=False, emoji=False, highlight=False)

    def render_str(self, text: str, **options: Any) -> Text:
        """Make plain text of a string, before rich does: it would drop control characters
        silently."""
        return super().render_str(visible(text, keep="\n"), **options)

    def render(self, renderable: RenderableType, options: Any = None) -> Iterable[Segment]:
        """Yield the text with control characters escaped; rich's own control codes stay."""
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
        """Print an error message, cut to `MAX_LINES` lines of `MAX_LINE_LENGTH` characters."""
        lines = message.split("\n")
        if len(lines) > MAX_LINES:
            lines[MAX_LINES:] = [f"... and {len(lines) - MAX_LINES} more lines"]
        self.say("\n".join(map(_cut, lines)), label="error", style="bold red")


ERR = Terminal(stderr=True)
"""The console on standard error: what is printed there while progress is shown stays above it."""


def _cut(line: str) -> str:
    if len(line) <= MAX_LINE_LENGTH:
        return line
    return f"{line[:MAX_LINE_LENGTH]}... ({len(line)} characters)"

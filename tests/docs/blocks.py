"""The fenced blocks of a Markdown page, with the reasons why some are not run.

    <!-- not run: it needs a cluster -->
    ```console
    florilegium submit cluster --address http://HEAD:8265
    ```

A comment like this, directly before a block, says that its commands are checked and not run. The
reader knows fences of backticks and tildes, and directives of MyST; it runs nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.conftest import ROOT

_FENCE = re.compile(r"(?P<indent>[ >]*)(?P<fence>`{3,}|~{3,})(?P<info>[^`]*)")
_REASON = re.compile(r"<!-- not run: ((?:(?!-->).)*?)\s*-->\s*", re.DOTALL)
_CODE = ("{code-block}", "{code}", "{sourcecode}")
_SAME = {"bash": "console", "sh": "console", "shell": "console", "py": "python", "yml": "yaml"}


@dataclass(frozen=True, kw_only=True)
class Block:
    """A fenced block: its page, the lines of its fences, its language and its text.

    `reason` says why it is not run; it is empty for a block that is.
    """

    page: Path
    line: int
    end: int
    language: str
    text: str
    reason: str = ""

    @property
    def place(self) -> str:
        """The page and the line, as an editor opens them."""
        page = self.page.relative_to(ROOT) if self.page.is_relative_to(ROOT) else self.page
        return f"{page}:{self.line}"


def pages() -> list[Path]:
    """Return the pages that are written by hand: README, CONTRIBUTING, SECURITY and `docs/`.

    Those of `docs/reference` that are made from the code are not among them: git ignores them.
    """
    named = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md")]
    found = [*named, *sorted((ROOT / "docs").rglob("*.md"))]
    return [page for page in found if page.is_file() and not _is_made(page)]


def _is_made(page: Path) -> bool:
    under = page.relative_to(ROOT).parts
    return "_build" in under or (under[:2] == ("docs", "reference") and page.stem != "index")


def blocks_of(text: str, page: Path, first_line: int = 1) -> list[Block]:
    """Return the blocks of a page in their order, those within directives too.

    Raises:
        ValueError: a fence is not closed, or a reason has no block after it.
    """
    return list(_blocks(text, page, first_line))


def _blocks(text: str, page: Path, first_line: int) -> Iterator[Block]:
    lines = text.split("\n")
    number, outside = 0, 0
    while number < len(lines):
        opening = _FENCE.fullmatch(lines[number])
        if opening is None:
            number += 1
            continue
        end = _closing(lines, number, opening, f"{page}:{first_line + number}")
        reason = _reason_before("\n".join(lines[outside:number]), page)
        content = [line[len(opening["indent"]) :] for line in lines[number + 1 : end]]
        yield from _read(opening, content, reason, page, (first_line + number, first_line + end))
        number = outside = end + 1
    if found := _REASON.search("\n".join(lines[outside:])):
        raise ValueError(f"{page}: no block follows the comment {found[0].strip()!r}")


def _read(
    opening: re.Match[str], content: list[str], reason: str, page: Path, lines: tuple[int, int]
) -> Iterator[Block]:
    """Yield a block; of a directive that has text in it, the blocks in that text."""
    name, *rest = opening["info"].split() or [""]
    if name in _CODE:
        name = rest[0] if rest else ""
        content = _without_options(content)
    elif name.startswith("{"):
        yield from _blocks("\n".join(content), page, lines[0] + 1)
    yield Block(
        page=page,
        line=lines[0],
        end=lines[1],
        language=_SAME.get(name.lower(), name.lower()),
        text="\n".join(content),
        reason=reason,
    )


def _without_options(content: list[str]) -> list[str]:
    """Return the lines of a code block of MyST without options such as `:caption: a.py`."""
    while content and re.match(r":[\w-]+:", content[0]):
        content = content[1:]
    return content


def _closing(lines: list[str], start: int, opening: re.Match[str], place: str) -> int:
    """Return the number of the line that closes a fence: at least as long, and nothing after it."""
    fence = opening["fence"]
    for number in range(start + 1, len(lines)):
        line = lines[number].lstrip(" >").rstrip()
        if len(line) >= len(fence) and set(line) == {fence[0]}:
            return number
    raise ValueError(f"{place}: the fence {fence} is not closed")


def _reason_before(text: str, page: Path) -> str:
    """Return the reason in the comment that ends a text; none may stand anywhere else in it."""
    found = list(_REASON.finditer(text))
    if len(found) > 1 or (found and found[0].end() < len(text)):
        raise ValueError(f"{page}: no block follows the comment {found[0][0].strip()!r}")
    return " ".join(found[0][1].split()) if found else ""

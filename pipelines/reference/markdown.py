"""Pieces of Markdown (MyST) that the pages of the reference are made of."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from textwrap import indent

from florilegium.pipelines.reference.options import Option

_BAR = re.compile(r"(?<!\\)\|")
_MARKS = re.compile(r"[^a-z0-9]+")
_OUTSIDE_OF_CODE = re.compile(r"(`+)(?:(?!\1).)*\1(?!`)|[<>|]|\*(?=\w)|(?<!\w)_(?=\w)", re.S)


def anchor(*words: str) -> str:
    """Return the name of a place to link to."""
    return "-".join(_MARKS.sub("-", word.lower()).strip("-") for word in words)


def heading(depth: int, text: str, *words: str) -> str:
    """Return a heading that can be linked to by `anchor(*words)`."""
    place = f"({anchor(*words)})=\n" if words else ""
    return f"{place}{'#' * depth} {text}\n\n"


def link(text: str, *words: str) -> str:
    """Return a link to a heading of any page."""
    return f"[{text}](#{anchor(*words)})"


def code(text: str) -> str:
    """Return a text as code within a line."""
    return f"`` {text} ``" if "`" in text else f"`{text}`"


def block(text: str, language: str) -> str:
    """Return a text as a block of code."""
    return f"```{language}\n{text.rstrip()}\n```\n\n"


def prose(text: str) -> str:
    """Return a docstring with what Markdown takes for markup made plain, outside of code."""
    return _OUTSIDE_OF_CODE.sub(
        lambda found: found[0] if found[0].startswith("`") else f"\\{found[0]}", text
    )


def table(columns: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Return a table; a bar in a cell is escaped."""
    head = list(columns)
    lines = [head, ["---"] * len(head), *([*row] for row in rows)]
    return "".join(f"| {' | '.join(map(_cell, line))} |\n" for line in lines) + "\n"


def _cell(text: str) -> str:
    return _BAR.sub(r"\\|", text).replace("\n", " ")


def option_list(options: Iterable[Option]) -> str:
    """Return options as a list, nested ones as lists within."""
    return "".join(_items(options)) + "\n"


def _items(options: Iterable[Option], depth: int = 0) -> Iterator[str]:
    for option in options:
        default = f"default {code(option.default)}" if option.default else option.default_text
        change = f"; change: {option.change}" if option.change and not depth else ""
        text = f"* **{code(option.name)}**: {option.value}; {default}{change}\n"
        if option.doc:
            text += f"\n{indent(prose(option.doc), '  ')}\n"
        yield indent(f"{text}\n", "  " * depth)
        yield from _items(option.nested, depth + 1)

"""The links of a Markdown page: to files, to headings, to the web. Nothing is fetched."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

from tests.docs.blocks import blocks_of

_LINK = re.compile(r"\]\(\s*<?([^()\s>]+(?:\([^()]*\))?)")
_NAMED = re.compile(r"^\[[^\]]+\]:\s*<?(\S+?)>?(?:\s|$)", re.MULTILINE)
_HTML = re.compile(r"<(?:a|img|source)\b[^>]*?\b(?:href|src|srcset)=\"([^\"]+)\"")
_BARE = re.compile(r"<((?:https?|mailto):[^<>\s]*)>")
_INLINE_CODE = re.compile(r"(`+)(?!`).+?(?<!`)\1(?!`)", re.DOTALL)
_HEADING = re.compile(r"^#{1,6}\s+(.+?)\s*#*$", re.MULTILINE)
_TARGET = re.compile(r"^\(([\w.-]+)\)=$", re.MULTILINE)
_NAME_OF_HTML = re.compile(r"<a\s+(?:name|id)=\"([^\"]+)\"")
_LOOPBACK = ("localhost", "127.0.0.1")


def without_code(text: str, page: Path) -> str:
    """Return a page without its blocks, and without comments."""
    lines = text.split("\n")
    for block in blocks_of(text, page):
        if block.language.startswith("{"):  # a directive: there is text in it
            lines[block.line - 1] = lines[block.end - 1] = ""
        else:
            lines[block.line - 1 : block.end] = [""] * (block.end - block.line + 1)
    return re.sub(r"<!--.*?-->", "", "\n".join(lines), flags=re.DOTALL)


def links_of(text: str, page: Path) -> Iterator[str]:
    """Yield the targets of all links and images of a page, as they are written."""
    text = _INLINE_CODE.sub("code", without_code(text, page))
    for pattern in (_LINK, _NAMED, _HTML, _BARE):
        yield from pattern.findall(text)


def anchors_of(text: str, page: Path) -> set[str]:
    """Return the names of a page's headings, as GitHub and MyST make them, and its own targets."""
    plain = without_code(text, page)
    seen: Counter[str] = Counter()
    found = {*_TARGET.findall(plain), *_NAME_OF_HTML.findall(plain)}
    for heading in _HEADING.findall(plain):
        words = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
        name = re.sub(r"[^\w\- ]", "", words).replace(" ", "-")
        found.add(f"{name}-{seen[name]}" if seen[name] else name)
        seen[name] += 1
    return found


def problem_of(link: str, page: Path, others: dict[Path, str]) -> str:
    """Return what is wrong with a link of a page, or nothing. `others` are the texts of the pages
    that are made, by the path that they will have."""
    parts = urlsplit(link)
    if parts.scheme in ("http", "https"):
        is_local = parts.hostname in _LOOPBACK
        is_well_formed = parts.hostname is not None and "." in parts.hostname
        return (
            "" if is_local or (is_well_formed and parts.scheme == "https") else "no https address"
        )
    if parts.scheme == "mailto":
        return "" if "@" in parts.path else "no address of mail"
    if parts.scheme or link.startswith("/"):
        return "neither a relative path nor an https address"
    target = (page.parent / unquote(parts.path)).resolve() if parts.path else page
    if target in others:
        text = others[target]
    elif not target.exists():
        return "no such file"
    elif not parts.fragment or target.suffix != ".md":
        return ""
    else:
        text = target.read_text("utf-8")
    if parts.fragment and unquote(parts.fragment) not in anchors_of(text, target):
        return f"no heading of {target.name} has this name"
    return ""

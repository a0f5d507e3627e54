"""The description of a plugin as lines for a terminal, 80 columns wide."""

from __future__ import annotations

from collections.abc import Iterator
from textwrap import fill, indent

from florilegium.engine.core.documented import attribute_docs
from florilegium.pipelines.reference.model_schema import joined
from florilegium.pipelines.reference.options import Change, Option
from florilegium.pipelines.reference.plugin import Plugin

WIDTH = 80
_INDENT = "  "
_LABEL = 10


def lines_of(plugin: Plugin) -> Iterator[str]:
    """Yield what it is, its facts, its options, what a change costs, and a stanza to paste."""
    yield plugin.name
    yield from _paragraphs(plugin.doc)
    yield ""
    yield f"{'class':{_LABEL}}{plugin.path}"
    for name, lines in plugin.facts.items():
        yield from _fact(name, lines)
    if plugin.options:
        yield ""
        yield "options"
        for option in plugin.options:
            for one in option.all:
                yield from _option(one)
    changes = {one.change for option in plugin.options for one in option.all}
    if changes - {None}:
        yield ""
        yield "what a new value of an option costs"
        yield from change_lines()
    if plugin.stanza:
        yield ""
        yield "in a config"
        yield indent(plugin.stanza.rstrip(), _INDENT)


def change_lines() -> Iterator[str]:
    """Yield what each cost of a change means."""
    docs = attribute_docs(Change)
    for change in Change:
        yield f"{_INDENT}{change}"
        yield _wrapped(joined(docs[change.name]), first=_INDENT * 3, left=6)


def _fact(name: str, lines: tuple[str, ...]) -> Iterator[str]:
    if len(name) >= _LABEL:
        yield name
        name = ""
    text = "\n".join(lines) if any(" " in line for line in lines) else ", ".join(lines)
    for line in text.split("\n"):
        yield _wrapped(line, first=f"{name:{_LABEL}}", left=_LABEL)
        name = ""


def _option(option: Option) -> Iterator[str]:
    depth = _INDENT * (1 + option.name.count("."))
    yield _wrapped(
        f"{option.name}: {option.value}; {option.default_text}", first=depth, left=len(depth) + 4
    )
    doc = joined(option.doc)
    if option.change and "." not in option.name:
        doc = f"{doc} [{option.change}]" if doc else f"[{option.change}]"
    for paragraph in filter(None, doc.split("\n\n")):
        yield _wrapped(paragraph, first=f"{depth}    ", left=len(depth) + 4)


def _paragraphs(text: str) -> Iterator[str]:
    for paragraph in filter(None, text.split("\n\n")):
        yield _wrapped(paragraph, first=_INDENT, left=len(_INDENT))


def _wrapped(text: str, *, first: str, left: int) -> str:
    return fill(
        text,
        width=WIDTH,
        initial_indent=first,
        subsequent_indent=" " * left,
        break_long_words=False,
        break_on_hyphens=False,
    )

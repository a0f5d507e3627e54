"""XML from outside, by Python's expat: no entities, no document types, limits of size and depth.

A declared entity may grow to gigabytes or name a file of this machine, so a file with a document
type is refused. Elements are given one after the other; none is kept.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import IO, Literal
from xml.parsers import expat

MAX_BYTES = 1 << 28
"""Bytes of a document, at most."""
MAX_DEPTH = 64
"""Elements within each other, at most."""
_BLOCK = 1 << 16


@dataclass(frozen=True, kw_only=True, slots=True)
class Event:
    """The start or the end of an element. An end has the text that stands directly in it."""

    kind: Literal["start", "end"]
    tag: str
    attributes: Mapping[str, str]
    text: str = ""


def events(file: IO[bytes]) -> Iterator[Event]:
    """Yield the starts and ends of the elements of a document, in their order.

    Raises:
        ValueError: it is no XML, has a document type, or is too large or too deep.
    """
    found: list[Event] = []
    stack: list[tuple[str, dict[str, str], list[str]]] = []
    parser = expat.ParserCreate()
    parser.buffer_text = True

    def start(tag: str, attributes: dict[str, str]) -> None:
        if len(stack) >= MAX_DEPTH:
            raise ValueError(f"its elements are more than {MAX_DEPTH} deep in each other")
        stack.append((tag, attributes, []))
        found.append(Event(kind="start", tag=tag, attributes=attributes))

    def end(tag: str) -> None:
        _, attributes, texts = stack.pop()
        found.append(Event(kind="end", tag=tag, attributes=attributes, text="".join(texts)))

    def text(data: str) -> None:
        if stack:
            stack[-1][2].append(data)

    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.CharacterDataHandler = text
    parser.StartDoctypeDeclHandler = _refuse
    parser.EntityDeclHandler = _refuse
    parser.ExternalEntityRefHandler = _refuse
    size = 0
    try:
        while block := file.read(_BLOCK):
            size += len(block)
            if size > MAX_BYTES:
                raise ValueError(f"it has more than {MAX_BYTES} bytes")
            parser.Parse(block, False)
            yield from found
            found.clear()
        parser.Parse(b"", True)
    except expat.ExpatError as error:
        raise ValueError(f"it is not XML: {error}") from error
    yield from found


def _refuse(*_: object) -> int:
    raise ValueError("it declares a document type or an entity: delete that declaration")

"""CVAT: "CVAT for images 1.1", XML as it is or in the archive that CVAT gives.

A shape that is gone was rejected only where the file as it was exported is given, too. Tracks of
videos are refused.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, ClassVar
from zipfile import BadZipFile, ZipFile, is_zipfile

from florilegium.engine.untrusted.bounded_xml import Event, events
from florilegium.pipelines.imports.cvat_shapes import ID, OTHER_SHAPES, SHAPES, shape_of
from florilegium.pipelines.imports.importer import Importer, ReturnedImage, Shape
from florilegium.pipelines.imports.times import utc

MEMBER = "annotations.xml"
MAX_SHAPES = 100_000
"""Shapes of one image, at most."""
_MAX_SIDE = 1 << 24


class CvatImporter(Importer):
    """Reads the images of a task with their shapes."""

    tool: ClassVar[str] = "cvat"

    def read(self, path: Path) -> Iterator[ReturnedImage]:
        """Yield the images of a task.

        Raises:
            ValueError: it is no XML of "CVAT for images 1.1", or too large.
        """
        with _opened(path) as file:
            yield from _images(events(file))


@contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    if not is_zipfile(path):
        with path.open("rb") as file:
            yield file
        return
    try:
        with ZipFile(path) as archive, archive.open(MEMBER) as file:
            yield file
    except KeyError:
        raise ValueError(f"the archive has no {MEMBER}: export as CVAT for images 1.1") from None
    except (BadZipFile, EOFError, NotImplementedError, RuntimeError, zlib.error) as error:
        raise ValueError(f"the archive cannot be read: {error}") from error


@dataclass
class _Open:
    """The image and the shape whose elements are being read, and what the file says of itself."""

    meta: dict[str, str] = field(default_factory=dict)
    image: Mapping[str, str] | None = None
    shapes: list[Shape] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    unusable: set[str] = field(default_factory=set)
    attributes: dict[str, str] = field(default_factory=dict)
    attribute: str = ""


def _images(found: Iterator[Event]) -> Iterator[ReturnedImage]:
    state = _Open()
    path: list[str] = []
    for event in found:
        if event.kind == "start":
            path.append(event.tag)
            if path[0] != "annotations":
                raise ValueError("its first element is no <annotations>")
            _start(state, event)
            continue
        _end(state, event, tuple(path[1:]))
        if event.tag == "image" and state.image is not None:
            yield _image(state)
            state = _Open(meta=state.meta)
        path.pop()


def _start(state: _Open, event: Event) -> None:
    if event.tag == "track":
        raise ValueError("it has tracks of a video: export as CVAT for images 1.1")
    if event.tag == "image":
        state.image = event.attributes
    elif event.tag in SHAPES:
        state.attributes = {}
    elif event.tag == "attribute":
        state.attribute = event.attributes.get("name", "")


def _end(state: _Open, event: Event, path: tuple[str, ...]) -> None:
    if state.image is None:
        if path and path[0] == "meta":
            state.meta["/".join(path[1:])] = event.text.strip()
    elif event.tag == "attribute":
        state.attributes[state.attribute] = event.text
    elif event.tag in OTHER_SHAPES:
        state.problems.append(f"{event.tag}_has_no_meaning")
    elif event.tag in SHAPES:
        if len(state.shapes) >= MAX_SHAPES:
            raise ValueError(f"an image has more than {MAX_SHAPES} shapes")
        try:
            size_wh = _size(state.image)
            state.shapes.append(shape_of(event.tag, event.attributes, state.attributes, size_wh))
        except (KeyError, ValueError, OverflowError, MemoryError):
            state.problems.append(f"unusable_{event.tag}")
            state.unusable.add(state.attributes.get(ID, ""))


def _image(state: _Open) -> ReturnedImage:
    assert state.image is not None
    return ReturnedImage(
        name=state.image.get("name", ""),
        size_wh=_size(state.image),
        shapes=tuple(state.shapes),
        who=_first(state.meta, "username"),
        when=utc(_first(state.meta, "updated") or _first(state.meta, "dumped")),
        problems=tuple(state.problems),
        unusable=frozenset(state.unusable - {""}),
    )


def _first(meta: Mapping[str, str], name: str) -> str:
    """Return the first value of this name: of the assignee before the owner."""
    own = [path for path in meta if path.rpartition("/")[2] == name and meta[path]]
    own.sort(key=lambda path: "assignee" not in path)
    return meta[own[0]] if own else ""


def _size(image: Mapping[str, str]) -> tuple[int, int]:
    sides = [image.get(name, "") for name in ("width", "height")]
    if not all(one.isascii() and one.isdigit() and 0 < int(one) <= _MAX_SIDE for one in sides):
        raise ValueError(f"the image {image.get('name', '')!r:.200} has no width and height")
    return int(sides[0]), int(sides[1])

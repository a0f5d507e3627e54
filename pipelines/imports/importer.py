"""The interface of imports, which read what people changed in another program.

A format is one class with one method, found by an entry point of `florilegium.importers`. It says
what is in a file, image by image; `comparing` finds out what was changed.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from florilegium.engine.core.annotation import Annotation
from florilegium.engine.core.api import API_VERSION
from florilegium.engine.planning.registry import find_installed

IMPORTERS = "florilegium.importers"
MAX_BYTES = 1 << 28
"""Bytes of a file that is imported, at most."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Shape:
    """What a file has of one annotation: a box, a mask, a text.

    `id` is that of the annotation in the run, empty where the program made it. `fields` are those
    of `annotation` that the format states; the others stay as the run has them. A mask that
    was drawn from polygons is an `is_outline`: it stands for a mask that the format cannot hold
    exactly.
    """

    annotation: Annotation
    fields: tuple[str, ...]
    id: str = ""
    is_outline: bool = False


@dataclass(frozen=True, kw_only=True)
class ReturnedImage:
    """What a file has of one image.

    It is named by `sha256`, that of its bytes in the source, or by `key`; empty where the file does
    not have it. `size_wh` is the size that the shapes are relative to, of the upright image.
    `shown` are the ids of the annotations that people saw: those that are gone were rejected.
    `None`: the file does not say, and nothing is rejected. `who` and `when` are empty where the
    file does not say. `problems` are parts of the file that cannot be used, `unusable` the ids of
    the annotations that they are about, as far as they have some: nobody rejected those.
    """

    name: str
    sha256: str = ""
    key: str = ""
    size_wh: tuple[int, int] = (0, 0)
    shapes: tuple[Shape, ...] = ()
    shown: frozenset[str] | None = None
    who: str = ""
    when: str = ""
    problems: tuple[str, ...] = ()
    unusable: frozenset[str] = frozenset()


class Importer(ABC):
    """Reads files of one format, which nobody has checked."""

    tool: ClassVar[str] = ""
    """The program, as corrections name it."""
    api_version: ClassVar[int] = API_VERSION
    """The version of the plugin API that the class is written for; a class of another package gives
    the number, and is refused by a florilegium that has another one."""

    @abstractmethod
    def read(self, path: Path) -> Iterator[ReturnedImage]:
        """Yield the images that people worked on.

        Raises:
            ValueError: it is no file of the format, or exceeds a limit.
        """


def find_importer(name: str) -> type[Importer]:
    """Return the class of a format.

    Raises:
        ConfigError: there is no such format.
    """
    return find_installed(IMPORTERS, "import format", name, Importer)  # type: ignore[type-abstract]


def read_bounded(path: Path) -> bytes:
    """Return the bytes of a file.

    Raises:
        ValueError: it has more than `MAX_BYTES`.
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        data = file.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise ValueError(f"it has more than {MAX_BYTES} bytes: import it in parts")
    return data

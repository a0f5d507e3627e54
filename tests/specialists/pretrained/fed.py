"""Functions that feeders call in tests; a feeder imports them by this module's name."""

from __future__ import annotations

import ctypes
import os
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from florilegium.engine.core.errors import SampleError
from florilegium.engine.core.sample import Picture
from florilegium.specialists.pretrained import feeders
from florilegium.specialists.pretrained.feeders import Feeders


@dataclass(frozen=True)
class Part:
    """A part of a picture."""

    picture: Picture
    number: int


def process_of(item: Any) -> int:
    """Return the process in which the function is called."""
    return os.getpid()


def place_of(part: Part) -> tuple[int, int, int]:
    """Return the number of a part, and where its picture is."""
    return part.number, os.getpid(), id(part.picture)


def decoded(picture: Picture) -> Any:
    """Return the pixels of a picture; some bytes have others do something else."""
    data = bytes(picture._data)
    if data == b"segfault":
        os.kill(os.getpid(), signal.SIGSEGV)
    if data == b"no memory":
        raise MemoryError
    if data == b"cannot be pickled":
        return lambda: None
    if data == b"odd error":
        raise OddError(1, 2)
    return picture.pixels().copy()


def refuse(number: int) -> int:
    """Refuse all numbers but the first."""
    if number:
        raise SampleError("too_thin", f"number {number}")
    return number


class OddError(Exception):
    """An error that cannot be made again from what it holds."""

    def __init__(self, one: int, two: int) -> None:
        super().__init__(f"{one} and {two}")


def hang(path: str) -> None:
    """Write down the process, and give Python no turn any more."""
    Path(path).write_text(str(os.getpid()))
    ctypes.PyDLL(None).sleep(600)  # keeps Python's lock


def own_one_that_hangs(path: str) -> None:
    """Own a feeder that hangs."""
    feeders._MODULES = ()
    Feeders(1).prepare([path], hang)

"""The traceback of an error as text that becomes part of a dataset.

Its bytes are the same on every machine and bounded: files are named by their last two parts. What
is secret in it is masked.
"""

from __future__ import annotations

import os
import sysconfig
from collections.abc import Collection, Iterator
from itertools import dropwhile
from pathlib import Path, PurePath
from traceback import FrameSummary, StackSummary, extract_tb

from florilegium.engine.core.redaction import redacted

_ENGINE = str(Path(__file__).parents[1])
_PYTHON = sysconfig.get_path("stdlib")
_INSTALLED = ("site-packages", "dist-packages")
_MAX_FRAMES = 12
_MAX_CHARACTERS = 4000


def traceback_of(error: BaseException, *, above: Collection[str] = ()) -> str:
    """Return where an error came from and what caused it, the cause first, in bounded length.

    Frames of the files `above`, which only passed the call on, are left out.
    """
    blocks: list[str] = []
    one: BaseException | None = error
    while one is not None and len(blocks) < _MAX_FRAMES:
        blocks.insert(0, "\n".join((*_frames(extract_tb(one.__traceback__), above), _named(one))))
        one = one.__cause__ or (None if one.__suppress_context__ else one.__context__)
    text = redacted("\n\n".join(blocks)).encode("utf-8", "replace").decode()
    return text if len(text) <= _MAX_CHARACTERS else f"...{text[3 - _MAX_CHARACTERS :]}"


def _frames(stack: StackSummary, above: Collection[str]) -> Iterator[str]:
    frames = [frame for frame in stack if frame.filename not in above]
    if len(frames) > _MAX_FRAMES:
        yield f"  ... {len(frames) - _MAX_FRAMES} more"
    for frame in frames[-_MAX_FRAMES:]:
        name = "/".join(PurePath(frame.filename).parts[-2:])
        yield f"  {name}, line {frame.lineno}, in {frame.name}"
        if frame.line:
            yield f"    {frame.line}"


def plugin_trace(error: BaseException) -> str:
    """Return where in the code of a plugin an error came from, for its author: whole paths, as
    Python prints them, without what called the plugin; empty where none of its code was running.

    Not for datasets, as paths differ between machines.
    """
    frames: list[FrameSummary] = list(extract_tb(error.__traceback__))
    of_engine = [n for n, frame in enumerate(frames) if frame.filename.startswith(_ENGINE)]
    frames = list(dropwhile(_is_caller, frames[of_engine[0] if of_engine else 0 :]))
    lines = StackSummary.from_list(frames[-_MAX_FRAMES:]).format()
    return redacted("".join(lines).rstrip())


def unforeseen(error: BaseException) -> str:
    """Describe an error in the code of a plugin: its type, what it says, and below where it came
    from."""
    trace = plugin_trace(error)
    return "\n".join([_named(error), *([trace] if trace else [])])


def _is_caller(frame: FrameSummary) -> bool:
    """Whether a frame is of the engine or of Python's own library."""
    name = frame.filename
    is_installed = any(f"{os.sep}{folder}{os.sep}" in name for folder in _INSTALLED)
    return name.startswith((_ENGINE, "<frozen ")) or (name.startswith(_PYTHON) and not is_installed)


def message_of(error: BaseException) -> str:
    """Return what an error says; one that cannot be written says that."""
    try:
        return str(error)
    except Exception:
        return "(its message cannot be written)"


def _named(error: BaseException) -> str:
    return f"{type(error).__name__}: {message_of(error)}"

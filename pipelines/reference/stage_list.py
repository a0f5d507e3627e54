"""The list of installed stages for a terminal, 80 columns wide: three lines for each."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from textwrap import shorten
from typing import Any

from florilegium.engine.core.errors import MissingPackage, UsageError
from florilegium.engine.core.stage import Input, Stage
from florilegium.engine.planning.registry import (
    absent_packages,
    find_stage,
    require_packages,
    stage_names,
)
from florilegium.pipelines.reference.plugin import doc_of, title_of
from florilegium.pipelines.reference.stage import kind_of, made
from florilegium.pipelines.reference.text import WIDTH

_INDENT = "    "
_MOST_NAMED = 3
"""Tasks that have their names in the list; of more, there is the number."""


def stage_lines() -> Iterator[str]:
    """Yield of each stage its name, kind and what is missing to run it; what it does; what it reads
    and produces."""
    for name in stage_names():
        try:
            stage_class = find_stage(name)
        except UsageError as error:
            yield f"{name}  broken: {error}"
            continue
        result = made(stage_class)
        stage = None if isinstance(result, str) else result
        yield "; ".join((f"{name}  {kind_of(stage_class)}", *_missing(name, stage)))
        yield _short(title_of(doc_of(stage_class)))
        reads = stage_class.reads or (stage.reads if stage else ())
        produces = stage_class.produces or (stage.produces if stage else ()) or ("verdicts",)
        yield _short(f"{_inputs(reads)} -> {_tasks(produces)}")


def _missing(name: str, stage: Stage[Any] | None) -> Iterator[str]:
    """Yield what has to be installed before the stage runs."""
    if stage is None:
        try:
            require_packages(name, find_stage(name))
        except MissingPackage as error:
            yield f"needs {error.install}"
        return
    for install in dict.fromkeys(one.install for one in absent_packages(name, stage)):
        yield f"needs {install}"


def _inputs(reads: Iterable[Input]) -> str:
    """Return what a stage has to read; what it reads only where it is stands in its description."""
    needed = [one.tasks for one in reads if not one.optional]
    return ", ".join(["image", *map(_one_of, needed)])


def _one_of(tasks: Sequence[str]) -> str:
    return " or ".join(tasks) if len(tasks) < _MOST_NAMED else f"one of {len(tasks)} tasks"


def _tasks(tasks: Sequence[str]) -> str:
    return ", ".join(tasks) if len(tasks) <= _MOST_NAMED else f"{len(tasks)} tasks"


def _short(text: str) -> str:
    return _INDENT + shorten(text, WIDTH - len(_INDENT), placeholder=" ...")

"""Options per task, with defaults for each task.

A config names only what it changes: `tasks: {ocr: {iou: 0.4}}` keeps the defaults of other tasks
and of the other options of `ocr`. The result has all options, so reading it again gives the same.
This module knows no option by name.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, Field

from florilegium.engine.core.errors import nearest

Fraction = Annotated[float, Field(ge=0, le=1)]


def over_defaults(given: Any, defaults: Mapping[str, BaseModel]) -> Any:
    """Return the options of every task in `defaults`, with those in `given` replaced.

    Raises:
        ValueError: `given` names a task that `defaults` does not have.
    """
    if not isinstance(given, Mapping):
        return given  # pydantic reports what is wrong with it
    for task in given:
        if task not in defaults:
            raise ValueError(f"unknown task {task!r}: {nearest(str(task), defaults)}")
    return {
        task: _laid_over(options.model_dump(), given.get(task, {}))
        for task, options in defaults.items()
    }


def _laid_over(options: dict[str, Any], given: Any) -> Any:
    if isinstance(given, BaseModel):
        given = given.model_dump(exclude_unset=True)
    return {**options, **given} if isinstance(given, Mapping) else given

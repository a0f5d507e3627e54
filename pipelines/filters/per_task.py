"""Options per task, laid over each task's defaults.

A config names only what it changes: `tasks: {ocr: {iou: 0.4}}` leaves the other tasks, and the
other options of `ocr`, as they are. The result is complete, so it reads back as itself. This
module knows no option by name.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, Field

from engine.core.errors import nearest

Fraction = Annotated[float, Field(ge=0, le=1)]


def over_defaults(given: Any, defaults: Mapping[str, BaseModel]) -> Any:
    """Return the options of every task in `defaults`, changed where `given` says so.

    Raises:
        ValueError: `given` names a task that `defaults` does not have.
    """
    if not isinstance(given, Mapping):
        return given  # pydantic says what is wrong with it
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

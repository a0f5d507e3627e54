"""What formats that people correct in can do with a selection.

No classes: a label that is mapped to a class would come back as a change of every annotation. No
parts: a project or a task has all of its images.
"""

from __future__ import annotations

from florilegium.engine.core.errors import UsageError, nearest
from florilegium.engine.core.tasks import names_of
from florilegium.pipelines.export.exporter import SELECTING
from florilegium.pipelines.export.selected import SelectedDataset
from florilegium.pipelines.imports.label_studio_controls import control_of

CORRECTABLE = (SELECTING - {"classes"}) | {"images"}
"""The options of `Selection` that such formats do."""
KNOWN_TASKS = names_of(lambda task: bool(control_of(task)))
"""Tasks that people can correct."""


def checked_tasks(tasks: tuple[str, ...], missing: str) -> tuple[str, ...]:
    """Return tasks that are all known; `missing` says what the format has not for another one.

    Raises:
        ValueError: one is another.
    """
    for task in tasks:
        if task not in KNOWN_TASKS:
            raise ValueError(f"{task!r} has no {missing}, {nearest(task, KNOWN_TASKS)}")
    return tasks


def refuse_references(dataset: SelectedDataset) -> None:
    """Refuse images that lie within tars, which such programs do not open.

    Raises:
        UsageError: they are asked for.
    """
    if dataset.chosen.images == "reference":
        raise UsageError(
            "people look at files, not into the tars of shards: --images copy writes them, "
            "--images none leaves them out"
        )

"""What formats that people correct in can do with a selection.

No classes: a label that is mapped to a class would come back as a change of every annotation. No
parts: a project or a task has all of its images.
"""

from __future__ import annotations

from florilegium.engine.core.errors import UsageError
from florilegium.pipelines.export.exporter import SELECTING
from florilegium.pipelines.export.selected import SelectedDataset

CORRECTABLE = (SELECTING - {"classes"}) | {"images"}
"""The options of `Selection` that such formats do."""


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

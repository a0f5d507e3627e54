"""Which annotations of a finished dataset are read, and which are left out."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import pyarrow as pa
import pyarrow.compute as pc

from florilegium.engine.core.annotation import Annotation

VerdictChoice = Literal["kept", "dropped", "all"]


@dataclass(frozen=True, kw_only=True)
class Selection:
    """Which annotations of a dataset are read; `None` is no limit."""

    tasks: frozenset[str] | None = None
    specialists: frozenset[str] | None = None
    verdict: VerdictChoice = "kept"
    least_confidence: float | None = None

    @property
    def columns(self) -> list[str]:
        """The columns that tell whether an annotation is selected."""
        is_needed = {
            "task": self.tasks is not None,
            "specialist": self.specialists is not None,
            "kept": self.verdict != "all",
            "confidence": self.least_confidence is not None,
        }
        return [name for name, needed in is_needed.items() if needed]

    def of_rows(self, table: pa.Table) -> pa.Table:
        """Return the selected rows of a table that has these columns."""
        if self.verdict != "all":
            table = table.filter(pc.equal(table["kept"], self.verdict == "kept"))
        for column, names in (("task", self.tasks), ("specialist", self.specialists)):
            if names is not None:
                wanted = pa.array(sorted(names), pa.string())
                table = table.filter(pc.is_in(table[column], value_set=wanted))
        if self.least_confidence is not None:
            table = table.filter(pc.greater_equal(table["confidence"], self.least_confidence))
        return table

    def of_kept(self, annotations: Iterable[Annotation]) -> tuple[Annotation, ...]:
        """Return the selected ones of kept annotations."""
        least = self.least_confidence
        return tuple(
            one
            for one in annotations
            if (self.tasks is None or one.task in self.tasks)
            and (self.specialists is None or one.specialist in self.specialists)
            and (least is None or (one.confidence is not None and one.confidence >= least))
        )


ALL_KEPT = Selection()

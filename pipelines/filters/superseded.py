"""Drops annotations that a merged annotation replaces.

An annotation of a voter is dropped as `merged` when it is part of a merged annotation, and else as
`outvoted`; texts of the source for regions without a chosen text stay. Merged annotations with too
low a confidence are dropped as `unsure`. Other tasks are not judged. This module knows neither
rules nor calibrations.
"""

from __future__ import annotations

from typing import Annotated

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field, field_validator

from florilegium.engine.core.errors import nearest
from florilegium.engine.core.judgement import Statements, Verdicts
from florilegium.engine.core.names_among import NamesAmong
from florilegium.engine.core.stage import THRESHOLD, Filter, StageConfig, one_of
from florilegium.engine.core.tasks import TASKS
from florilegium.pipelines.filters.per_task import Fraction
from florilegium.specialists.regions.crops import WORDS_OF_BOXES

MERGED = "merged"
OUTVOTED = "outvoted"
UNSURE = "unsure"


class SupersededConfig(StageConfig):
    """Options of `Superseded`."""

    by: Annotated[dict[str, Annotated[tuple[str, ...], NamesAmong(TASKS)]], THRESHOLD] = Field(
        default={"merge": ("object_detection",)}, min_length=1
    )
    """For each merge stage, by its name, the tasks that it merged."""
    least_confidence: Annotated[dict[str, Fraction], THRESHOLD] = Field(default={})
    """Lowest confidence of a merged annotation, 0..1, by task; those without a confidence pass."""

    @field_validator("by")
    @classmethod
    def _known_tasks(cls, by: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
        merged: set[str] = set()
        for stage, tasks in by.items():
            for task in tasks:
                if task not in TASKS:
                    raise ValueError(f"{stage}: unknown task {task!r}, {nearest(task, TASKS)}")
                if task in merged:
                    raise ValueError(f"{stage}: {task!r} is merged by another stage already")
                merged.add(task)
        return by


class Superseded(Filter[SupersededConfig]):
    """Judge every row of a merged task: keep those of its merge stage."""

    Config = SupersededConfig
    judges_by = "task"
    reads = (one_of(*TASKS),)

    def __init__(self, config: SupersededConfig) -> None:
        super().__init__(config)
        self.required_stages = config.by  # a wrong name would drop everything

    @property
    def judged_tasks(self) -> frozenset[str]:
        return frozenset(task for tasks in self.config.by.values() for task in tasks)

    def judge(self, statements: Statements) -> Verdicts:
        """Keep annotations of the merge stages, drop those that they merged."""
        verdicts = Verdicts(len(statements))
        is_voter = np.zeros(len(statements), dtype=bool)
        is_merged = np.zeros(len(statements), dtype=bool)
        for stage, tasks in self.config.by.items():
            of_task = statements.of_tasks(tasks)
            is_own = statements.texts("specialist") == stage
            is_merged |= of_task & is_own
            is_voter |= of_task & ~is_own
        is_voter &= ~_without_chosen_text(statements, is_merged)
        is_named = _named_by(statements, is_merged)
        verdicts.is_judged |= is_merged
        confidence = statements.table.column("confidence").to_numpy(zero_copy_only=False)
        for task, least in self.config.least_confidence.items():
            is_unsure = confidence.astype(np.float64) < least
            verdicts.drop(is_merged & (statements.task == task) & is_unsure, UNSURE)
        verdicts.drop(is_voter & is_named, MERGED)
        verdicts.drop(is_voter, OUTVOTED)
        return verdicts


def _without_chosen_text(statements: Statements, is_merged: np.ndarray) -> np.ndarray:
    """Return which rows are texts that the source has for a region of which no other was chosen."""
    chosen = statements.parent[is_merged]
    is_text = np.isin(statements.task.astype(str), WORDS_OF_BOXES)
    return statements.is_of_source & is_text & ~np.isin(statements.parent, chosen[chosen >= 0])


def _named_by(statements: Statements, is_merged: np.ndarray) -> np.ndarray:
    """Return which rows a merged annotation of their sample has in `merged_from`, bool, shape
    (n,)."""
    table = statements.table.select(["id", "merged_from"]).combine_chunks()
    merged = np.flatnonzero(is_merged)
    lists = table.column("merged_from").combine_chunks().take(pa.array(merged))
    listed = pa.table(
        {
            "sample": statements.sample[merged][pc.list_parent_indices(lists).to_numpy()],
            "id": pc.list_flatten(lists),
        }
    )
    rows = pa.table(
        {
            "sample": statements.sample,
            "id": table.column("id"),
            "row": np.arange(len(statements)),
        }
    )
    named = rows.join(listed, ["sample", "id"], join_type="left semi").column("row").to_numpy()
    is_named = np.zeros(len(statements), dtype=bool)
    is_named[named] = True
    return is_named

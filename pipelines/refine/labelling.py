"""Labelling a round: run the voters, fit calibrations on their audit, build the merged dataset.

Merges are calibrated in order of dependence. The voters of one level run first, into a dataset of
candidates without filters; the final dataset reuses its layers, so no stage runs twice.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from florilegium.engine.execution.losses import refuse_losses
from florilegium.engine.execution.preparation import Run, prepare
from florilegium.engine.planning.config import RunConfig
from florilegium.engine.planning.graph import Graph
from florilegium.engine.results.dataset import Dataset
from florilegium.engine.storage.folder import Folder
from florilegium.pipelines.build import build_dataset
from florilegium.pipelines.dataset.lineage import CANDIDATES
from florilegium.pipelines.dataset.takedown import keys_taken_down
from florilegium.pipelines.merge.learning.fit import fit
from florilegium.pipelines.refine.audits import Auditor, FileAuditor
from florilegium.pipelines.refine.config import RefineConfig
from florilegium.pipelines.refine.stages import (
    Stages,
    levels,
    round_config,
    voters_of,
    with_calibrations,
)
from florilegium.pipelines.telemetry.observers import Parent

CALIBRATION = "calibration"
COMMAND = "refine"
"""The command that the datasets of rounds belong to."""


@dataclass(frozen=True, kw_only=True)
class LabelledRound:
    """The finished dataset of a round; the calibration of each merge stage, `None` without
    audit."""

    run: Run
    calibrations: dict[str, Path | None]


def label(
    config: RefineConfig,
    folder: Folder,
    stages: Stages,
    auditor: Auditor | None,
    *,
    step: str,
    parent: Parent,
) -> LabelledRound:
    """Build the dataset of a round into a folder; finished work is reused.

    Each dataset is a run within the command `parent`.

    Raises:
        UsageError: the stages do not fit together, or the audit is about other annotations.
        RunError: too many images failed, or the workers cannot go on.
    """
    graph = prepare(round_config(config, output=folder.url, stages=stages)).graph
    calibrations: dict[str, Path | None] = {}
    taken_down: set[str] = set()
    for depth, level in enumerate(levels(graph)):
        if auditor is None:
            calibrations |= dict.fromkeys(level.merges)
            continue
        known = with_calibrations(stages, calibrations)
        voters = {name: known[name] for name in known if name in level.voters}
        candidates = build_candidates(config, folder, voters, depth, step=step, parent=parent)
        taken_down |= keys_taken_down(candidates)
        calibrations |= _calibrate(candidates, folder, graph, level.merges, auditor)
    if isinstance(auditor, FileAuditor):
        auditor.check(taken_down)
    final = round_config(config, output=folder.url, stages=with_calibrations(stages, calibrations))
    run = _build(final, step=f"{step}, merging and judging", parent=parent)
    return LabelledRound(run=run, calibrations=calibrations)


def build_candidates(
    config: RefineConfig,
    folder: Folder,
    voters: Stages,
    depth: int,
    *,
    step: str,
    parent: Parent,
) -> Folder:
    """Build the dataset of the voters of one level, without filters; return its folder.

    Raises:
        RunError: too many images failed, or the workers cannot go on.
    """
    candidates = f"{folder.url}/{CANDIDATES}/{depth}"
    unmerged = round_config(config, output=candidates, stages=voters, has_filters=False)
    return _build(unmerged, step=f"{step}, running the voters", parent=parent).output


def _build(config: RunConfig, *, step: str, parent: Parent) -> Run:
    """Build a dataset, with its card and report."""
    run = prepare(config)
    manifest = build_dataset(run, step=step, parent=parent)
    refuse_losses(manifest, config.max_dead_letter_share)
    return run


def _calibrate(
    candidates: Folder, folder: Folder, graph: Graph, merges: Collection[str], auditor: Auditor
) -> dict[str, Path | None]:
    """Fit a calibration for each of these merge stages and store it in the folder of the round."""
    audited = auditor.review(Dataset.of(candidates))
    paths: dict[str, Path | None] = {}
    for node in graph.specialists:
        if node.name in merges:
            calibration = fit(
                audited.samples,
                audited.audit,
                voters=voters_of(node),
                tasks=node.stage.config.tasks,
                earlier=audited.earlier,
            )
            name = f"{CALIBRATION}/{node.name}.json"
            calibration.save(folder, name)
            paths[node.name] = Path(folder.path(name))
    return paths

"""The labels of a round: what the voters say, what the audit makes of it, and what is merged.

Merges are calibrated in the order in which they build on each other. The voters of one level are
heard first, in a dataset of candidates that nobody judges; its layers are those of the final
dataset, so nothing is asked twice.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from engine.execution.losses import refuse_losses
from engine.execution.run import Run, prepare
from engine.planning.config import RunConfig
from engine.planning.graph import Graph
from engine.records.dataset import Dataset
from engine.storage.folder import Folder
from pipelines.build import build_dataset
from pipelines.dataset.lineage import CANDIDATES
from pipelines.merge.learning.fit import fit
from pipelines.refine.audits import Auditor, FileAuditor
from pipelines.refine.config import RefineConfig
from pipelines.refine.stages import Stages, levels, plain, with_calibrations

CALIBRATION = "calibration"


@dataclass(frozen=True, kw_only=True)
class Labels:
    """The finished dataset of a round; by merge stage the calibration, `None` for want of one."""

    run: Run
    calibrations: dict[str, Path | None]


def label(
    config: RefineConfig, folder: Folder, stages: Stages, auditor: Auditor | None, *, step: str
) -> Labels:
    """Build the dataset of a round into a folder; what is there is not made again.

    Raises:
        UsageError: the stages do not fit, or the audit does not.
        RunError: too many images failed, or the workers cannot go on.
    """
    graph = prepare(plain(config, output=folder.url, stages=stages)).graph
    calibrations: dict[str, Path | None] = {}
    for depth, level in enumerate(levels(graph)):
        if auditor is None:
            calibrations |= dict.fromkeys(level.merges)
            continue
        known = with_calibrations(stages, calibrations)
        voters = {name: known[name] for name in known if name in level.voters}
        candidates = ask_voters(config, folder, voters, depth, step=step)
        calibrations |= _calibrate(candidates, folder, graph, level.merges, auditor)
    if isinstance(auditor, FileAuditor):
        auditor.check()
    final = plain(config, output=folder.url, stages=with_calibrations(stages, calibrations))
    run = _build(final, step=f"{step}, merging and judging")
    return Labels(run=run, calibrations=calibrations)


def ask_voters(
    config: RefineConfig, folder: Folder, voters: Stages, depth: int, *, step: str
) -> Folder:
    """Build the dataset of what the voters of one level say, judged by nobody; return its folder.

    Raises:
        RunError: too many images failed, or the workers cannot go on.
    """
    candidates = f"{folder.url}/{CANDIDATES}/{depth}"
    said = plain(config, output=candidates, stages=voters, has_filters=False)
    return _build(said, step=f"{step}, what the voters say").output


def _build(config: RunConfig, *, step: str) -> Run:
    """Build a dataset, with its card and report."""
    run = prepare(config)
    manifest = build_dataset(run, step=step)
    refuse_losses(manifest, config.max_dead_letter_share)
    return run


def _calibrate(
    candidates: Folder, folder: Folder, graph: Graph, merges: Collection[str], auditor: Auditor
) -> dict[str, Path | None]:
    """Fit a calibration for each of these merge stages and store it beside the round."""
    audited = auditor.look_at(Dataset.of(candidates))
    paths: dict[str, Path | None] = {}
    for node in graph.specialists:
        if node.name in merges:
            calibration = fit(
                audited.samples,
                audited.audit,
                voters=tuple(node.upstream),
                tasks=node.stage.config.tasks,
                earlier=audited.earlier,
            )
            name = f"{CALIBRATION}/{node.name}.json"
            calibration.save(folder, name)
            paths[node.name] = Path(folder.path(name))
    return paths

"""Preparing an audit: the annotations of the voters before any merge, and a file to fill in.

    OUTPUT/rounds/0/candidates/0             a dataset of their annotations, with its report
    OUTPUT/rounds/0/candidates/audit.jsonl   a line for each annotation of some of its samples

To audit, put true or false after `right`; a line that stays null is ignored. Answers are kept when
the file is written again.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np

from florilegium.engine.core.annotation import Annotation
from florilegium.engine.core.errors import ConfigError
from florilegium.engine.execution.preparation import prepare
from florilegium.engine.execution.ray_runner import ray_started
from florilegium.engine.results.dataset import Dataset
from florilegium.engine.results.dataset_sample import DatasetSample
from florilegium.engine.storage.folder import Folder
from florilegium.engine.storage.lease import writing
from florilegium.pipelines.dataset.lineage import round_folder
from florilegium.pipelines.dataset.takedown import keys_taken_down
from florilegium.pipelines.dataset.takedown_lines import AUDIT_FILE, strip_audit
from florilegium.pipelines.merge.learning.audit import answers_in
from florilegium.pipelines.refine.audits import first_by_digest
from florilegium.pipelines.refine.config import RefineConfig
from florilegium.pipelines.refine.labelling import COMMAND, build_candidates
from florilegium.pipelines.refine.stages import levels, round_config
from florilegium.pipelines.telemetry.observers import command
from florilegium.specialists.regions.likeness import box_of


@dataclass(frozen=True, kw_only=True)
class ToAudit:
    """What there is to audit: the dataset, the file, and how much of it is answered."""

    candidates: str
    file: str
    samples: int
    annotations: int
    answered: int


def prepare_audit(config: RefineConfig) -> ToAudit:
    """Run the voters, and write the file to fill in; finished work is reused.

    The file has the `audit_samples` samples with the smallest digests, which is a random choice.

    Raises:
        UsageError: the config cannot be run, or no stage of it uses an audit.
        OutputInUse: another command writes the output.
        RunError: too many images failed, or the workers cannot go on.
    """
    folder = round_folder(Folder(config.output), 0)
    graph = prepare(round_config(config, output=folder.url)).graph
    found = levels(graph)
    if not found:
        raise ConfigError(
            "no stage of this config uses an audit: add one with `use: merge`, `rule: "
            "calibrated_fusion` and no `calibration`"
        )
    stages = config.specialists
    voters = {name: stages[name] for name in stages if name in found[0].voters}
    with (
        writing(Folder(config.output)),
        ray_started(config.runner) if config.runner.may_be_ray else nullcontext(),
        command(COMMAND, config) as parent,
    ):
        candidates = build_candidates(config, folder, voters, 0, step="round 0", parent=parent)
    merges = {name for level in found for name in level.merges}
    merging = [node.stage for node in graph.specialists if node.name in merges]
    tasks = {task for stage in merging for task in stage.config.tasks}
    samples = first_by_digest(Dataset.of(candidates), config.refine.audit_samples)
    strip_audit(folder, keys_taken_down(candidates))
    return _write(folder, candidates, samples, tasks)


def _write(
    folder: Folder, candidates: Folder, samples: Iterable[DatasetSample], tasks: set[str]
) -> ToAudit:
    name = AUDIT_FILE
    earlier = answers_in(folder.read(name) or b"", folder.path(name))
    rows = [row for sample in samples for row in _rows(sample, tasks, earlier)]
    ours = {row["id"] for row in rows}
    others = [{"id": one, "right": right} for one, right in earlier.items() if one not in ours]
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in (*rows, *others))
    folder.publish(name, lines.encode())
    return ToAudit(
        candidates=candidates.url,
        file=f"{folder.url}/{name}",
        samples=len({row["key"] for row in rows}),
        annotations=len(rows),
        answered=sum(row["right"] is not None for row in rows),
    )


def _rows(
    sample: DatasetSample, tasks: set[str], earlier: Mapping[str, bool]
) -> Iterator[dict[str, Any]]:
    """Yield a line for each annotation of a sample: its text, its region, its specialist."""
    for one in sample.annotations:
        if one.task in tasks:
            yield {
                "id": one.id,
                "right": earlier.get(one.id),
                "key": sample.key,
                "task": one.task,
                "says": one.words,
                **_region(one),
                "by": one.specialist,
            }


def _region(annotation: Annotation) -> dict[str, list[float]]:
    """Return the box of an annotation, nothing if it is about the whole image."""
    box = box_of(annotation)
    return {} if np.isnan(box).any() else {"box_xyxy": list(box)}

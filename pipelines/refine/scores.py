"""Scores of a refined run against the ground truth: of each round, or of each merge rule."""

from __future__ import annotations

from collections.abc import Iterator

from florilegium.engine.core.errors import UsageError
from florilegium.engine.core.sample import Picture, Sample
from florilegium.engine.results.dataset import Dataset, open_dataset
from florilegium.engine.results.dataset_sample import DatasetSample
from florilegium.engine.storage.folder import Folder
from florilegium.pipelines.dataset.lineage import CANDIDATES, read_lineage, round_folder
from florilegium.pipelines.merge.rules import find_rule, rule_names
from florilegium.pipelines.merge.stage import Merge, MergeConfig
from florilegium.pipelines.shape_world.score.measure import ScoreTally, score_dataset, truth_of
from florilegium.pipelines.shape_world.score.score import Score


def score_rounds(dataset: Folder) -> dict[str, Score]:
    """Score a dataset with known truth; if it was refined, every round, `round 0` first.

    Audited samples are left out.

    Raises:
        UsageError: the dataset is not finished, or the truth about its source is unknown.
        StorageError: a shard cannot be read.
    """
    rounds = read_lineage(dataset)
    if not rounds:
        return {"labels": score_dataset(dataset)}
    return {
        f"round {one.number}": score_dataset(
            round_folder(dataset, one.number), without=frozenset(one.audited)
        )
        for one in rounds
    }


def score_rules(dataset: Folder) -> dict[str, Score]:
    """Score each merge rule on the boxes of the voters of the last round.

    Only boxes are merged: ignore the other scores.

    Raises:
        UsageError: the run was never refined, or the truth about its source is unknown.
        StorageError: a shard cannot be read.
    """
    rounds = read_lineage(dataset)
    if not rounds or not rounds[-1].students:
        raise UsageError(f"{dataset.url} has no round with students: refine it first")
    last = rounds[-1]
    truth = truth_of(Dataset.of(dataset).source)
    stages = dict(_stages(dataset, last.number))
    tallies = {rule: ScoreTally() for rule in stages}
    candidates = f"{round_folder(dataset, last.number).url}/{CANDIDATES}/0"
    for stored in open_dataset(candidates):
        if stored.key not in last.audited:
            sample, scene = as_sample(stored), truth(stored.key)
            for rule, stage in stages.items():
                tallies[rule].add(stage.predict([sample])[0], scene)
    return {rule: tally.score() for rule, tally in tallies.items()}


def _stages(dataset: Folder, number: int) -> Iterator[tuple[str, Merge]]:
    """Yield each rule with a stage that merges the boxes by it."""
    stages = Dataset.of(round_folder(dataset, number)).manifest["stages"].values()
    boxes = next(
        stage
        for stage in stages
        if stage.get("use") == "merge"
        and "object_detection" in stage["config"]["tasks"]
        and stage["config"]["least_confidence"] is None
    )
    students = [stage["name"] for stage in stages if stage.get("use") == "florence2"]
    calibration = round_folder(dataset, number).path(f"calibration/{boxes['name']}.json")
    for rule in rule_names():
        config = MergeConfig(
            rule=rule,
            tasks=("object_detection",),
            student=students[0],
            calibration=calibration if find_rule(rule).needs_calibration else "",
        )
        yield rule, Merge(config)


def as_sample(stored: DatasetSample) -> Sample:
    """Return a stored sample as the input of a merge stage."""
    return Sample(
        key=stored.key,
        width=stored.width,
        height=stored.height,
        picture=Picture(stored.image),
        annotations=stored.annotations,
    )

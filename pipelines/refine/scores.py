"""A refined run against its truth, round by round."""

from __future__ import annotations

from engine.storage import Folder
from pipelines.refine.lineage import read_lineage, round_folder
from pipelines.score.measure import score_dataset
from pipelines.score.score import Score


def score_rounds(dataset: Folder) -> dict[str, Score]:
    """Score a dataset of a known world; of a refined one every round, `round 0` first.

    Samples that were audited do not count.

    Raises:
        UsageError: the dataset is not finished, or nobody knows the truth about its source.
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

"""What audited statements are worth: `python -m tests.benchmarks.auditing [--seeds N]`.

Scenes with known truth are labelled by three detectors. A simulated annotator, who is never wrong,
answers the statements of a queue about one half of the images; the merge is calibrated by the
answers, and its boxes are scored on the other half. Prints the mean F1 over the seeds by queue and
number of answers: `random` and `gain` as `florilegium serve --audit` asks, and `images`, all
statements of one image after another.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from florilegium.engine.execution.preparation import prepare
from florilegium.engine.planning.config import RunConfig
from florilegium.engine.results.dataset import Dataset
from florilegium.engine.results.dataset_sample import DatasetSample
from florilegium.engine.storage.folder import Folder
from florilegium.pipelines.audit.pool import Pool, pool_of
from florilegium.pipelines.audit.queue import Asked, QueueName, next_row
from florilegium.pipelines.build import build_dataset
from florilegium.pipelines.merge.learning.audit import Audit
from florilegium.pipelines.merge.learning.fit import fit
from florilegium.pipelines.merge.stage import Merge, MergeConfig
from florilegium.pipelines.refine.scores import as_sample
from florilegium.pipelines.shape_world.score.audit import audit_from_truth
from florilegium.pipelines.shape_world.score.measure import ScoreTally, truth_of

SIZES = (50, 100, 200, 400)
"""Audited statements."""
VOTERS = ("shapes_colour", "shapes_residual", "shapes_edges")
TASK = "object_detection"
QUEUES = ("images", "random", "gain")
console = Console()


def main(
    scenes: Annotated[int, typer.Option(help="Scenes per seed.")] = 600,
    seeds: Annotated[int, typer.Option(help="How many seeds.")] = 5,
    output: Annotated[Path, typer.Option(help="Where the runs go.")] = Path("out/bench_audit"),
) -> None:
    """Audit with each seed; what is done is not done again."""
    found: dict[tuple[str, int], list[float]] = {}
    for seed in range(1, seeds + 1):
        dataset = _built(scenes, seed, output / f"seed_{seed}")
        for queue in QUEUES:
            file = output / f"seed_{seed}_{queue}.json"
            if not file.exists():
                file.write_text(json.dumps(list(_scores(dataset, queue, seed, output))))
            for size, value in json.loads(file.read_text()):
                found.setdefault((queue, size), []).append(value)
        console.print(
            _table(found, f"F1 of merged boxes, {scenes} scenes, {seed} of {seeds} seeds")
        )


def _built(scenes: int, seed: int, folder: Path) -> Dataset:
    config = RunConfig(
        source=f"shape_world://{scenes}?seed={seed}",
        output=str(folder),
        shard_size=150,
        runner={"kind": "local"},
        specialists=dict.fromkeys(VOTERS),
    )
    build_dataset(prepare(config))
    return Dataset.of(Folder(str(folder)))


def _scores(dataset: Dataset, queue: str, seed: int, output: Path) -> Iterator[tuple[int, float]]:
    """Yield the F1 of the merged boxes for each number of audited statements."""
    truth = truth_of(dataset.source)
    samples = sorted(dataset, key=lambda sample: sample.sha256)
    audited, others = samples[: len(samples) // 2], samples[len(samples) // 2 :]
    right = audit_from_truth(audited, truth).right
    names = _asked(dataset, queue, seed, audited, right)
    for size in SIZES:
        audit = Audit(right={name: right[name] for name in names[:size]})
        calibration = fit(audited, audit, voters=VOTERS, tasks=(TASK,))
        name = f"calibration_{seed}_{queue}_{size}.json"
        calibration.save(Folder(str(output)), name)
        merge = Merge(MergeConfig(tasks=(TASK,), calibration=str(output / name)))
        tally = ScoreTally()
        for sample in others:
            tally.add(merge.predict([as_sample(sample)])[0], truth(sample.key))
        yield size, float(tally.score().boxes.f1 or 0.0)


def _asked(
    dataset: Dataset,
    queue: str,
    seed: int,
    audited: Sequence[DatasetSample],
    right: dict[str, bool],
) -> list[str]:
    """Return the ids of the first statements that a queue asks about these images."""
    if queue == "images":
        return [one.id for sample in audited for one in sample.annotations if one.id in right]
    pool = pool_of(dataset, seed)
    asked = Asked.nothing(len(pool))
    keys = {sample.key for sample in audited}
    asked.held[~np.isin(pool.image, [row for row, key in enumerate(pool.keys) if key in keys])] = (
        True
    )
    return list(_answered(pool, asked, "gain" if queue == "gain" else "random", right))


def _answered(pool: Pool, asked: Asked, queue: QueueName, right: dict[str, bool]) -> Iterator[str]:
    for _ in range(max(SIZES)):
        row = next_row(pool, asked, queue)
        if row is None:
            return
        name = pool.ids[row].as_py()
        (asked.by_gain if queue == "gain" else asked.by_random)[row] = True
        asked.own[row], asked.value[row] = True, right[name]
        yield name


def _table(found: dict[tuple[str, int], list[float]], title: str) -> Table:
    table = Table("statements", *QUEUES, title=title)
    for size in SIZES:
        cells = [found[queue, size] for queue in QUEUES]
        table.add_row(str(size), *(_cell(values) for values in cells))
    return table


def _cell(values: Sequence[float]) -> str:
    """Return mean and standard deviation over the seeds."""
    spread = f" ± {statistics.stdev(values):.4f}" if len(values) > 1 else ""
    return f"{statistics.fmean(values):.4f}{spread}"


if __name__ == "__main__":
    typer.run(main)

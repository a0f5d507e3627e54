"""A small finished dataset, for tests of exporters and of programs that read datasets."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from PIL import Image

from florilegium.engine.core.annotation import Annotation
from florilegium.engine.core.judgement import Statements, Verdicts
from florilegium.engine.core.sample import Sample
from florilegium.engine.core.stage import Filter, Specialist, StageConfig, maybe
from florilegium.engine.core.tasks import TASKS
from florilegium.engine.execution.preparation import prepare
from florilegium.engine.execution.progress import Progress
from florilegium.engine.execution.run import execute
from florilegium.engine.planning.config import RunConfig, validated
from florilegium.engine.results.manifest import DEAD_LETTERS
from florilegium.engine.results.versions import Retention, switch
from florilegium.testing.drawn import examples, photo

LOW_SCORE = "low_score"


class Examples(Specialist[StageConfig]):
    """Predicts annotations of every installed task, less sure of them where the width is odd."""

    produces = TASKS

    def predict(self, samples: Sequence[Sample]) -> list[list[Annotation]]:
        return [
            [
                replace(one, score=(one.score or 0.0) - 0.3 * (sample.width % 2))
                for one in examples(sample.width, sample.height)
            ]
            for sample in samples
        ]


class BestOnly(Filter[StageConfig]):
    """Drops what has a score below 0.5: one of two regions where the width is odd."""

    reads = (maybe(*TASKS),)
    judges_by = "annotation"

    def judge(self, statements: Statements) -> Verdicts:
        verdicts = Verdicts(len(statements))
        where = statements.of_tasks(TASKS)
        verdicts.measure("score", statements.score, where)
        verdicts.drop(where & (statements.score < 0.5), LOW_SCORE)
        return verdicts


def small_dataset(folder: Path) -> Path:
    """Build a dataset of four drawn photographs in `folder/dataset`, and return that path.

    It has annotations of every installed task, kept and dropped ones, in two shards. The metadata
    says that they come from one page.
    """
    photos = Path(folder) / "photos"
    photos.mkdir(parents=True)
    lines: list[str] = []
    for number in range(4):
        pixels = photo(96 + number, 64, seed=number)
        Image.fromarray(pixels).save(photos / f"{number}.png")
        place = {"page": "photos.html", "position": number, "positions": 4}
        lines.append(json.dumps({"file_name": f"{number}.png", **place}))
    (photos / "metadata.jsonl").write_text("\n".join(lines), encoding="utf-8")
    output = Path(folder) / "dataset"
    document = {
        "source": str(photos),
        "output": str(output),
        "shard_size": 2,
        "runner": "in_process",
        "specialists": {"examples": {"use": f"{__name__}:Examples"}},
        "filters": {"best": {"use": f"{__name__}:BestOnly"}},
    }
    run = prepare(validated(RunConfig, document, where="the kit"))
    manifest = execute(run, Progress())
    run.output.publish(DEAD_LETTERS, manifest.dead_letters_file)
    switch(run.output, manifest, Retention())
    return output

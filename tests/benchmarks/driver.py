"""The driver of a measured build: what `florilegium build` does, with marks instead of a display.

python -m tests.benchmarks.driver CONFIG.json MARKS
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from florilegium.engine.execution.preparation import prepare
from florilegium.engine.execution.progress import Progress
from florilegium.engine.execution.run import execute
from florilegium.engine.planning.config import RunConfig, validated
from florilegium.pipelines.build import put_in_place
from tests.benchmarks.marks import FINISHED, SHARD, STARTED, mark


@dataclass
class MarkingProgress(Progress):
    """Marks when a shard is finished."""

    marks: str = ""

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, value)
        if name == "shards_done" and value:
            mark(self.marks, SHARD)


def main() -> None:
    """Build the dataset of a config."""
    config, marks = sys.argv[1:]
    mark(marks, STARTED)
    run = prepare(validated(RunConfig, json.loads(Path(config).read_text()), where=config))
    manifest = execute(run, MarkingProgress(marks=marks))
    put_in_place(run, manifest)
    mark(marks, FINISHED)


if __name__ == "__main__":
    main()

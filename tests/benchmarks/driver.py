"""The driver of a measured build: what `florilegium build` does, with marks instead of a display.

python -m tests.benchmarks.driver CONFIG.json MARKS [GPUS]

With GPUS, Ray counts so many on this machine, whatever is there.
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
    config, marks, *gpus = sys.argv[1:]
    mark(marks, STARTED)
    if gpus:
        _start_ray(int(gpus[0]))
    run = prepare(validated(RunConfig, json.loads(Path(config).read_text()), where=config))
    manifest = execute(run, MarkingProgress(marks=marks))
    put_in_place(run, manifest)
    mark(marks, FINISHED)


def _start_ray(gpus: int) -> None:
    import ray

    ray.init(
        address="local",
        num_gpus=gpus,
        include_dashboard=False,
        logging_level="ERROR",
        log_to_driver=False,
        _node_ip_address="127.0.0.1",
    )


if __name__ == "__main__":
    main()

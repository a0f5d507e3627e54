"""What `enrich: kept` saves: the annotations about which the stages of a recipe are asked.

    python -m tests.benchmarks.enrichment [RECIPE] [FOLDER OF PHOTOGRAPHS]

Each stage that answers about annotations one by one is asked about all of them, then about those
that passed its gate. `fld5b_small` runs on tiny checkpoints with random weights, whose scores say
nothing about those of real models; `quickstart` runs on the models of its packages.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Literal

from florilegium.engine.execution.preparation import prepare
from florilegium.engine.execution.progress import Progress
from florilegium.engine.execution.run import execute
from florilegium.engine.planning.config import RunConfig
from florilegium.engine.results.layer import parse_layer
from tests.benchmarks.table import Row, print_table
from tests.recipes import tiny_recipe

PERMISSIVE = (
    "specialists.region_text.least_side=1",
    "specialists.region_label.least_side=1",
    "filters.image_text.least_side=1",
)
"""Untrained models find slivers, which are too small for a crop."""


def questions(config: RunConfig, enrich: Literal["kept", "all"]) -> dict[str, int]:
    """Build a dataset; return what each stage was asked, of those that answer one by one."""
    output = f"{config.output}-{enrich}"
    run = prepare(config.model_copy(update={"enrich": enrich, "output": output}))
    execute(run, Progress())
    return {
        node.name: sum(
            len(asked)
            for path in Path(run.layers.path("")).glob(f"{node.name}-*/*.parquet")
            for asked in parse_layer(path.read_bytes())[0].asked.values()
        )
        for node in run.graph.specialists
        if node.stage.each
    }


def main() -> None:
    """Print what is asked with and without gates."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.enrichment")
    parser.add_argument("recipe", nargs="?", default="fld5b_small")
    parser.add_argument("photographs", nargs="?")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        changes = {"source": options.photographs} if options.photographs else {}
        config = tiny_recipe(
            options.recipe,
            Path(folder) / "models",
            overrides=PERMISSIVE if options.recipe.startswith("fld5b") else (),
            output=str(Path(folder) / "out"),
            runner={"kind": "in_process"},
            **changes,
        )
        before, after = questions(config, "all"), questions(config, "kept")
    answers = {
        name: [
            Row(what="enrich: all", value=count, unit="annotations"),
            Row(what="enrich: kept", value=after[name], unit="annotations"),
        ]
        for name, count in before.items()
    }
    print_table(answers, caption=f"{options.recipe}: what its stages are asked about")


if __name__ == "__main__":
    main()

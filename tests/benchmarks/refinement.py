"""What refinement is worth: `python -m tests.benchmarks.refinement [--scenes N] [--seeds N]`.

Refines `configs/known_truth.yaml`, or another config of drawn scenes, with several seeds and prints
a table: every kind of label per round, the calibration error, the minutes, and each merge rule on
the voters of the last round.
"""

from __future__ import annotations

import json
import statistics
import time
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from florilegium.engine.storage.folder import Folder
from florilegium.pipelines.dataset.lineage import read_lineage
from florilegium.pipelines.refine.config import RefineConfig
from florilegium.pipelines.refine.loop import refine
from florilegium.pipelines.refine.scores import score_rounds, score_rules
from tests.configs import load_config

CONFIG = Path("configs/known_truth.yaml")
MEASURES = (
    "boxes.f1", "boxes.precision", "boxes.recall", "boxes.map50", "masks.iou_of_things",
    "masks.f1", "ocr.cer", "phrases.recall_at_1", "captions.more_detailed_caption.predicted",
    "captions.more_detailed_caption.objects.precision", "captions.caption.objects.f1",
    "captions.detailed_caption.objects.f1", "captions.more_detailed_caption.objects.f1",
    "captions.more_detailed_caption.attributes.f1",
    "captions.more_detailed_caption.relations.f1", "captions.more_detailed_caption.cider",
    "reliability.object_detection.ece", "reliability.ocr.ece",
)  # fmt: skip

Numbers = dict[str, list[float]]
"""Values of a row, one per seed."""
console = Console()


def main(
    scenes: Annotated[int, typer.Option(help="Scenes per seed.")] = 5000,
    seeds: Annotated[int, typer.Option(help="How many seeds.")] = 3,
    output: Annotated[Path, typer.Option(help="Where the runs go.")] = Path("out/bench_refine"),
    config: Annotated[Path, typer.Option(help="What is refined.")] = CONFIG,
) -> None:
    """Refine with each seed; what is done is not done again."""
    columns: dict[str, Numbers] = {}
    for seed in range(1, seeds + 1):
        folder = output / f"seed_{seed}"
        minutes = _refined(config, f"shape_world://{scenes}?seed={seed}", folder)
        for name, score in score_rounds(Folder(str(folder))).items():
            _note(columns, name, {key: score.numbers().get(key) for key in MEASURES})
        rounds = read_lineage(Folder(str(folder)))
        _note(columns, f"round {rounds[-1].number}", {"minutes, all rounds": minutes})
        for rule, score in score_rules(Folder(str(folder))).items():
            _note(columns, f"round {rounds[-1].number}", {f"boxes.f1 by {rule}": score.boxes.f1})
        console.print(_table(columns, f"{scenes} scenes, {seed} of {seeds} seeds"))


def _refined(path: Path, source: str, folder: Path) -> float:
    """Refine into a folder and return the minutes it took, measured when it was made."""
    took = folder / "minutes.json"
    if not took.exists():
        changes = {"source": source, "output": str(folder)}
        config = load_config(path, changes=changes, model=RefineConfig)
        started = time.monotonic()
        refine(config)
        took.write_text(json.dumps((time.monotonic() - started) / 60))
    return float(json.loads(took.read_text()))


def _note(columns: dict[str, Numbers], column: str, values: dict[str, object]) -> None:
    for name, value in values.items():
        if isinstance(value, int | float):
            columns.setdefault(column, {}).setdefault(name, []).append(float(value))


def _table(columns: dict[str, Numbers], title: str) -> Table:
    table = Table("measure", *columns, title=title)
    names = dict.fromkeys(name for numbers in columns.values() for name in numbers)
    for name in names:
        table.add_row(name, *(_cell(numbers.get(name, [])) for numbers in columns.values()))
    return table


def _cell(values: list[float]) -> str:
    """Return mean and spread, the standard deviation."""
    if not values:
        return ""
    spread = f" ± {statistics.stdev(values):.4f}" if len(values) > 1 else ""
    return f"{statistics.fmean(values):.4f}{spread}"


if __name__ == "__main__":
    typer.run(main)

"""What refinement is worth: `python -m tests.benchmarks.refinement [--scenes N] [--seeds N]`.

Refines `configs/known_truth.yaml` with several seeds and prints a table: every kind of label per
round, the calibration error, the minutes, and each merge rule on the voters of the last round.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from engine.config import load_config
from engine.sample import Picture, Sample
from engine.storage import Folder
from pipelines.dataset import read_dataset
from pipelines.merge.stage import Merge, MergeConfig
from pipelines.refine.config import RefineConfig
from pipelines.refine.lineage import Round, read_lineage, round_folder
from pipelines.refine.loop import refine
from pipelines.refine.scores import score_rounds
from pipelines.score.boxes import BoxTally
from pipelines.score.comparison import Comparison
from pipelines.score.measure import truth_of

CONFIG = Path("configs/known_truth.yaml")
RULES = ("calibrated_fusion", "agreement", "union", "replace")
MEASURES = (
    "boxes.f1", "boxes.precision", "boxes.recall", "boxes.map50", "masks.iou_of_things",
    "masks.f1", "ocr.cer", "phrases.recall_at_1", "captions.caption.objects.f1",
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
) -> None:
    """Refine with each seed; what is done is not done again."""
    columns: dict[str, Numbers] = {}
    for seed in range(1, seeds + 1):
        folder = output / f"seed_{seed}"
        minutes = _refined(f"shape_world://{scenes}?seed={seed}", folder)
        for name, score in score_rounds(Folder(str(folder))).items():
            _note(columns, name, {key: score.numbers().get(key) for key in MEASURES})
        rounds = read_lineage(Folder(str(folder)))
        _note(columns, f"round {rounds[-1].number}", {"minutes, all rounds": minutes})
        for rule, f1 in _rules(folder, rounds[-1]):
            _note(columns, f"round {rounds[-1].number}", {f"boxes.f1 by {rule}": f1})
        console.print(_table(columns, f"{scenes} scenes, {seed} of {seeds} seeds"))


def _refined(source: str, folder: Path) -> float:
    """Refine into a folder and return the minutes it took, measured when it was made."""
    took = folder / "minutes.json"
    if not took.exists():
        changes = {"source": source, "output": str(folder)}
        config = load_config(CONFIG, changes=changes, model=RefineConfig)
        started = time.monotonic()
        refine(config)
        took.write_text(json.dumps((time.monotonic() - started) / 60))
    return float(json.loads(took.read_text()))


def _rules(folder: Path, last: Round) -> Iterator[tuple[str, float]]:
    """Yield the F1 of the boxes by each merge rule, from what the voters of a round said."""
    home = round_folder(Folder(str(folder)), last.number)
    calibration = home.path("calibration/boxes.json")
    tallies = {rule: BoxTally() for rule in RULES}
    stages = {
        rule: Merge(
            MergeConfig(
                rule=rule,  # type: ignore[arg-type]
                tasks=("object_detection",),
                student="student",
                calibration=calibration if rule == "calibrated_fusion" else "",
            )
        )
        for rule in RULES
    }
    candidates = Folder(f"{home.url}/candidates/0")
    manifest = json.loads((folder / "manifest.json").read_text())
    truth = truth_of(manifest["source"])
    for labelled in read_dataset(candidates):
        if labelled.key in last.audited:
            continue
        sample = Sample(
            key=labelled.key,
            width=labelled.width,
            height=labelled.height,
            picture=Picture(labelled.image),
            annotations=labelled.annotations,
        )
        scene = truth(labelled.key)
        for rule, stage in stages.items():
            said = stage.predict([sample])[0]
            tallies[rule].add(Comparison(annotations=said, scene=scene))
    for rule, tally in tallies.items():
        yield rule, tally.score().f1 or 0.0


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

"""The scores as a table for the terminal: a column per set of labels, the best in bold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from operator import itemgetter

from rich.table import Table
from rich.text import Text

from florilegium.engine.core.tasks import CAPTION_TASKS
from florilegium.pipelines.shape_world.score.score import Number, Score

_ROWS: Mapping[str, Mapping[str, str]] = {
    "boxes": {
        "f1": "F1 at IoU .5",
        "precision": "precision",
        "recall": "recall",
        "f1_any_name": "F1, any name",
        "map50": "mAP at IoU .5",
        "map": "mAP at IoU .5 to .95",
    },
    "masks": {
        "f1": "F1 at IoU .5",
        "iou": "IoU of masks",
        "iou_of_things": "IoU of things",
        "above_50": "masks above .5",
        "above_75": "masks above .75",
    },
    "ocr": {
        "cer": "character error rate",
        "word_accuracy": "word accuracy",
        "precision": "precision",
    },
    "phrases": {"precision": "precision", "recall_at_1": "recall at 1"},
    **{
        f"captions.{task}": {
            "objects.f1": "object F1",
            "attributes.f1": "attribute F1",
            "relations.f1": "relation F1",
            "cider": "CIDEr",
        }
        for task in CAPTION_TASKS
    },
}
_ANSWERS = {"anls": "ANLS", "accuracy": "accuracy", "blind": "blind guesser"}
_LOWER_IS_BETTER = ("cer", "ece")


def score_table(scores: Mapping[str, Score]) -> Table:
    """Return scores side by side, by name: rounds, merge rules, datasets."""
    table = Table()
    table.add_column("kind")
    table.add_column("measure")
    for name in scores:
        table.add_column(name, justify="right")
    columns = [score.numbers() for score in scores.values()]
    table.add_row("", "samples", *(str(score.samples) for score in scores.values()))
    for kind, measures in _ROWS.items():
        table.add_section()
        for row, (measure, title) in enumerate(measures.items()):
            values = [numbers.get(f"{kind}.{measure}") for numbers in columns]
            table.add_row(_spaced(kind) if row == 0 else "", title, *_cells(measure, values))
    _add_questions(table, scores)
    _add_reliability(table, scores)
    return table


def _add_questions(table: Table, scores: Mapping[str, Score]) -> None:
    """Add the answers of each specialist, by kind of question."""
    columns = [score.numbers() for score in scores.values()]
    who = sorted({(name, kind) for one in scores.values() for name in one.questions
                  for kind in one.questions[name]})  # fmt: skip
    for name, kinds in groupby(who, key=itemgetter(0)):
        table.add_section()
        for row, (_, kind) in enumerate(kinds):
            for measure, title in _ANSWERS.items():
                found = [numbers.get(f"questions.{name}.{kind}.{measure}") for numbers in columns]
                is_first = not row and measure == next(iter(_ANSWERS))
                cells = _cells(measure, found)
                table.add_row(f"answers, {name}" if is_first else "", f"{kind}, {title}", *cells)


def _add_reliability(table: Table, scores: Mapping[str, Score]) -> None:
    """Add the calibration error of each task that has one in any column."""
    table.add_section()
    tasks = sorted({task for score in scores.values() for task in score.reliability})
    for row, task in enumerate(tasks):
        rated = [score.reliability.get(task) for score in scores.values()]
        values: list[Number] = [one.ece if one else None for one in rated]
        table.add_row("ECE" if row == 0 else "", _spaced(task), *_cells("ece", values))


def _cells(measure: str, values: Sequence[Number]) -> list[Text]:
    known = [round(value, 3) for value in values if value is not None]
    best = (min if measure in _LOWER_IS_BETTER else max)(known, default=None)
    return [
        Text("-")
        if value is None
        else _cell(value, len(set(known)) > 1 and round(value, 3) == best)
        for value in values
    ]


def _cell(value: float, is_best: bool) -> Text:
    return Text(f"{value:.3f}", style="bold" if is_best else "")


def _spaced(name: str) -> str:
    return name.removeprefix("captions.").replace("_", " ")

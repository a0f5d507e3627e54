"""What the text filter measures in published captions, and what its default thresholds drop.

    python -m tests.benchmarks.real_captions TASK FILE... [--field NAME] [--words 20 45] [--every 3]

A file has a caption a line, JSON lines, or the annotations of COCO captions. The answer is two
Markdown tables: quantiles of each measure, and the share of captions dropped by each reason.
`pipelines/filters/thresholds.md` has them for several corpora.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from florilegium.engine.core.annotation import Annotation
from florilegium.engine.core.sample import Picture, Sample
from florilegium.engine.core.tasks import CAPTION_TASKS
from florilegium.pipelines.filters.text_filter import TextFilter, TextFilterConfig
from tests.pipelines.filters.statements import caption, reasons, statements

MEASURES = ("words", "things", "objects", "attributes", "actions", "proper_nouns",
            "object_complexity", "action_complexity")  # fmt: skip
QUANTILES = (0.01, 0.05, 0.5, 0.95, 0.99)
_CALL = 256


def read(file: Path, field: str) -> Iterator[str]:
    """Yield the captions of a file."""
    text = file.read_text(encoding="utf-8")
    if file.suffix == ".json":
        yield from (one[field].strip() for one in json.loads(text)["annotations"])
    elif file.suffix == ".jsonl":
        rows = map(json.loads, text.splitlines())
        yield from (row[field].strip() for row in rows if field in row)
    else:
        yield from filter(None, map(str.strip, text.splitlines()))


def measure(stage: TextFilter, task: str, texts: Sequence[str]) -> dict[str, np.ndarray]:
    """Return what the filter measures in each caption, by the name of the measure."""
    captions = [caption(text, task, id=f"a{row}") for row, text in enumerate(texts)]
    rows = [
        dict(one.values)
        for start in range(0, len(captions), _CALL)
        for [one] in stage.measure([_sample(each) for each in captions[start : start + _CALL]])
    ]
    return {name: np.array([row.get(name, np.nan) for row in rows]) for name in stage.measured}


def verdicts(
    stage: TextFilter, task: str, texts: Sequence[str], numbers: Mapping[str, np.ndarray]
) -> list[str]:
    """Return the reason for which each caption is dropped; "" for those that are kept."""
    rows = statements(
        [caption(text, task) for text in texts],
        measurements={name: values.tolist() for name, values in numbers.items()},
    )
    return reasons(stage.judge(rows))


def quantile_table(numbers: Mapping[str, np.ndarray]) -> str:
    """Return the mean and the quantiles of each measure."""
    measures = {name: numbers[name] for name in MEASURES}
    has_action = numbers["actions"] > 0
    measures["action_complexity, with an action"] = numbers["action_complexity"][has_action]
    measures["object_complexity, without action"] = numbers["object_complexity"][~has_action]
    head = ("measure", "captions", "mean", *(f"{share:.0%}" for share in QUANTILES))
    lines = [_row(*head), _row(*("---" for _ in head))]
    for name, values in measures.items():
        if len(values):
            cells = (values.mean(), *np.quantile(values, QUANTILES))
            lines.append(_row(name, str(len(values)), *(f"{cell:.2f}" for cell in cells)))
    return "\n".join(lines)


def drop_table(found: Sequence[str]) -> str:
    """Return the share of captions that each reason drops."""
    counts = Counter(reason for reason in found if reason)
    counts["all reasons"] = sum(counts.values())
    return "\n".join(_row(reason, f"{n / len(found):.2%}") for reason, n in counts.most_common())


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def _sample(one: Annotation) -> Sample:
    return Sample(key="key", width=1, height=1, picture=Picture(b""), annotations=(one,))


def main() -> None:
    """Measure the captions of the files and print both tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("task", choices=CAPTION_TASKS)
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--field", default="caption")
    parser.add_argument("--words", nargs=2, type=int, default=(0, 10_000))
    parser.add_argument("--every", type=int, default=1)
    options = parser.parse_args()
    stage = TextFilter(TextFilterConfig())
    stage.load()
    texts = [text for file in options.files for text in read(file, options.field)]
    texts = texts[:: options.every]
    numbers = measure(stage, options.task, texts)
    least, most = options.words
    rows = np.flatnonzero((numbers["words"] >= least) & (numbers["words"] <= most))
    chosen = {name: values[rows] for name, values in numbers.items()}
    found = verdicts(stage, options.task, [texts[row] for row in rows], chosen)
    sys.stdout.write(f"{quantile_table(chosen)}\n\n{drop_table(found)}\n")


if __name__ == "__main__":
    main()

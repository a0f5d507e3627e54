"""Counting the annotations of a finished dataset before training on it.

Reads the Parquet files of the shards, which have dropped annotations, too.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.compute as pc

from florilegium.engine.core.counted import counted
from florilegium.engine.core.errors import UsageError
from florilegium.engine.core.tasks import DETECTION_TASKS
from florilegium.engine.results.dataset import Dataset
from florilegium.engine.storage.folder import Folder
from florilegium.pipelines.corrections.human import PEOPLE
from florilegium.pipelines.corrections.in_force import CERTAIN
from florilegium.pipelines.training.answers import EXPRESSION_TASKS, REQUIRED_TASKS, SOURCE_TASKS
from florilegium.pipelines.training.config import TrainConfig

_COLUMNS = ["key", "task", "text", "label", "confidence", "kept"]
_MAX_NAMES = 10_000


@dataclass(frozen=True, kw_only=True)
class Survey:
    """The training data of a dataset.

    `kept` counts kept annotations by task; `without_data` are the tasks of the config that have
    none. `classes` are the labels of boxes and `phrases` the grounded phrases, the 10,000 most
    frequent, sorted. `ambiguous` has (key, task) of each annotation whose confidence lies in the
    band that is skipped.
    """

    kept: Mapping[str, int]
    without_data: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()
    phrases: tuple[str, ...] = ()
    ambiguous: frozenset[tuple[str, str]] = field(default=frozenset(), repr=False)


def survey(dataset: Folder, config: TrainConfig) -> Survey:
    """Survey a dataset, and refuse one that cannot be trained on.

    Raises:
        UsageError: no kept annotation feeds a task of the config, or all boxes have one label.
        StorageError: a file cannot be read.
    """
    kept: Counter[str] = Counter()
    classes: Counter[str] = Counter()
    phrases: Counter[str] = Counter()
    ambiguous: set[tuple[str, str]] = set()
    certain: set[tuple[str, str]] = set()
    labelled = Dataset.of(dataset)
    has_people = any(one.get("model") == PEOPLE for one in labelled.manifest["stages"].values())
    for table in labelled.select(verdict="all").tables(_COLUMNS):
        rows = table.filter(table["kept"])
        kept.update(_count(rows["task"]))
        is_class = pc.is_in(rows["task"], value_set=pa.array(DETECTION_TASKS))
        classes.update(_count(rows.filter(is_class)["label"]))
        phrases.update(_count(rows.filter(pc.equal(rows["task"], "phrase_grounding"))["text"]))
        if config.ambiguous:
            ambiguous.update(_within(table, *config.ambiguous))
        if has_people:  # what they said of a task in an image is the truth
            certain.update(_within(table, CERTAIN, CERTAIN))
    found = Survey(
        kept=dict(sorted(kept.items())),
        without_data=tuple(name for name in config.chosen if not _is_fed(name, kept, config)),
        classes=_commonest(classes),
        phrases=_commonest(phrases),
        ambiguous=frozenset(ambiguous - certain),
    )
    _check(found, config, dataset)
    return found


def untrained(tasks: Iterable[str]) -> Iterator[str]:
    """Yield a warning for each task for which a dataset has no training examples."""
    for task in tasks:
        yield f"{task}: no examples in this dataset, it is not trained"


def _check(found: Survey, config: TrainConfig, dataset: Folder) -> None:
    fed = [name for name in config.chosen if name not in found.without_data]
    if not fed:
        there = ", ".join(f"{count} {task}" for task, count in found.kept.items()) or "none at all"
        raise UsageError(
            f"{dataset.url} has no kept labels to train {', '.join(config.chosen)} on "
            f"(kept: {there}); lower the thresholds of its filters, add a specialist, or choose "
            f"other `tasks`"
        )
    if "object_detection" in fed and len(found.classes) == 1 and not config.allow_one_class:
        raise UsageError(
            f"all {counted(found.kept['object_detection'], 'box has', 'boxes have')} the same "
            f"label {found.classes[0]!r} in {dataset.url}: a detector would learn nothing else. "
            f"Check the labels; if you want a single class, set `allow_one_class: true` or train "
            f"region_proposal"
        )


def _is_fed(name: str, kept: Mapping[str, int], config: TrainConfig) -> bool:
    """Return whether there are annotations for a task; a custom task is assumed to have some."""
    if name in config.custom:
        return True
    sources = (*SOURCE_TASKS[name], *EXPRESSION_TASKS.get(name, ()))
    needs = ((source, REQUIRED_TASKS.get((name, source), source)) for source in sources)
    return any(kept.get(source) and kept.get(required) for source, required in needs)


def _count(column: pa.ChunkedArray) -> dict[str, int]:
    return {one["values"]: one["counts"] for one in pc.value_counts(column).to_pylist()}


def _commonest(words: Counter[str]) -> tuple[str, ...]:
    ranked = sorted(words.items(), key=lambda item: (-item[1], item[0]))
    return tuple(sorted(word for word, _ in ranked[:_MAX_NAMES] if word))


def _within(table: pa.Table, low: float, high: float) -> Iterator[tuple[str, str]]:
    """Yield (key, task) of the annotations, kept or dropped, in a band of confidence."""
    confidence = table["confidence"]
    is_within = pc.and_(pc.greater_equal(confidence, low), pc.less_equal(confidence, high))
    rows = table.filter(pc.fill_null(is_within, fill_value=False))
    yield from zip(rows["key"].to_pylist(), rows["task"].to_pylist(), strict=True)

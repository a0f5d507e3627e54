"""A look over a finished dataset before training on it: what there is to learn from.

Reads the Parquet files beside the shards, where dropped annotations are, too.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.compute as pc

from engine.core.counted import counted
from engine.core.errors import UsageError
from engine.core.tasks import DETECTION_TASKS
from engine.records.dataset import Dataset
from engine.storage.folder import Folder
from pipelines.training.answers import BESIDE, FEEDS
from pipelines.training.config import TrainConfig

_COLUMNS = ["key", "task", "text", "label", "confidence", "kept"]
_MOST_WORDS = 10_000


@dataclass(frozen=True, kw_only=True)
class Survey:
    """What a dataset has to train on.

    `kept` counts kept annotations by task, `unfed` names the tasks of the config that they do
    not feed. `classes` are the labels of boxes and `phrases` the
    grounded phrases, the commonest 10,000, sorted. `ambiguous` has the sample and the task of
    each annotation whose confidence lies in the band that is left out.
    """

    kept: Mapping[str, int]
    unfed: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()
    phrases: tuple[str, ...] = ()
    ambiguous: frozenset[tuple[str, str]] = field(default=frozenset(), repr=False)


def survey(dataset: Folder, config: TrainConfig) -> Survey:
    """Look over a dataset and refuse one that cannot be trained on.

    Raises:
        UsageError: nothing kept feeds a task of the config, or all boxes have one label.
        StorageError: a file cannot be read.
    """
    kept: Counter[str] = Counter()
    classes: Counter[str] = Counter()
    phrases: Counter[str] = Counter()
    ambiguous: set[tuple[str, str]] = set()
    for table in Dataset.of(dataset).select(verdict="all").tables(_COLUMNS):
        said = table.filter(table["kept"])
        kept.update(_count(said["task"]))
        is_class = pc.is_in(said["task"], value_set=pa.array(DETECTION_TASKS))
        classes.update(_count(said.filter(is_class)["label"]))
        phrases.update(_count(said.filter(pc.equal(said["task"], "phrase_grounding"))["text"]))
        if config.ambiguous:
            ambiguous.update(_within(table, *config.ambiguous))
    found = Survey(
        kept=dict(sorted(kept.items())),
        unfed=tuple(name for name in config.chosen if not _is_fed(name, kept, config)),
        classes=_commonest(classes),
        phrases=_commonest(phrases),
        ambiguous=frozenset(ambiguous),
    )
    _check(found, config, dataset)
    return found


def untaught(tasks: Iterable[str]) -> Iterator[str]:
    """Yield a warning for each task that a dataset does not teach."""
    for task in tasks:
        yield f"{task}: no examples in this dataset, it is not trained"


def _check(found: Survey, config: TrainConfig, dataset: Folder) -> None:
    fed = [name for name in config.chosen if name not in found.unfed]
    if not fed:
        there = ", ".join(f"{count} {task}" for task, count in found.kept.items()) or "none at all"
        raise UsageError(
            f"{dataset.url} has no kept labels to train {', '.join(config.chosen)} on "
            f"(kept: {there}); lower the thresholds of its filters, add a specialist, or choose "
            f"other `tasks`"
        )
    if "object_detection" in fed and len(found.classes) == 1 and not config.allow_one_class:
        raise UsageError(
            f"all {counted(found.kept['object_detection'], 'box has', 'boxes have')} the one label "
            f"{found.classes[0]!r} in {dataset.url}: a detector would learn to say it always. Look "
            f"at the labels; if one class is meant, set `allow_one_class: true` or train "
            f"region_proposal"
        )


def _is_fed(name: str, kept: Mapping[str, int], config: TrainConfig) -> bool:
    """Tell whether there are labels for a task; what feeds one's own only its examples show."""
    if name in config.custom:
        return True
    needs = ((source, BESIDE.get((name, source), source)) for source in FEEDS[name])
    return any(kept.get(source) and kept.get(beside) for source, beside in needs)


def _count(column: pa.ChunkedArray) -> dict[str, int]:
    return {one["values"]: one["counts"] for one in pc.value_counts(column).to_pylist()}


def _commonest(words: Counter[str]) -> tuple[str, ...]:
    ranked = sorted(words.items(), key=lambda item: (-item[1], item[0]))
    return tuple(sorted(word for word, _ in ranked[:_MOST_WORDS] if word))


def _within(table: pa.Table, low: float, high: float) -> Iterator[tuple[str, str]]:
    """Yield sample and task of the annotations, kept or dropped, in a band of confidence."""
    confidence = table["confidence"]
    is_within = pc.and_(pc.greater_equal(confidence, low), pc.less_equal(confidence, high))
    rows = table.filter(pc.fill_null(is_within, fill_value=False))
    yield from zip(rows["key"].to_pylist(), rows["task"].to_pylist(), strict=True)

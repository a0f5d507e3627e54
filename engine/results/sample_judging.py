"""Which samples sample filters drop, filter after filter, from the records and the stored layers.

Each filter judges the samples that no filter before it dropped, and on which none before failed.
The same rules tell which samples a stage is asked about, and which a shard is published without.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
import pyarrow as pa

from florilegium.engine.core.errors import RunError
from florilegium.engine.core.judgement import SampleColumns, Verdicts
from florilegium.engine.core.sample import SAMPLE_FILTERS, DeadLetter, Record
from florilegium.engine.core.stage import SampleFilter
from florilegium.engine.planning.fingerprint import thresholds_of
from florilegium.engine.planning.graph import Node
from florilegium.engine.results.comparison import Compared, given_table
from florilegium.engine.results.layer import Layer
from florilegium.engine.results.shard import Shard

NOT_COMPARED = "not_compared"
_LONGEST = 200
"""Characters of a measured text that a dead letter shows, at most."""

SampleFilterNode = Node[SampleFilter[Any]]


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """The verdicts of one sample filter on the samples with these numbers, ascending."""

    node: SampleFilterNode
    numbers: tuple[int, ...]
    samples: SampleColumns
    verdicts: Verdicts
    unknown: tuple[int, ...] = ()
    """Samples on which there is no verdict, as they were not there when the run was compared."""

    @property
    def dropped(self) -> list[int]:
        """The numbers of the samples that the filter dropped."""
        return [self.numbers[row] for row in np.flatnonzero(self.verdicts.is_dropped)]


def judge_samples(
    shard: Shard,
    nodes: Sequence[SampleFilterNode],
    layers: Mapping[str, Layer],
    numbers: Sequence[int],
    compared: Mapping[str, Compared] = MappingProxyType({}),
) -> list[Judgement]:
    """Judge samples by one filter after the other, each those that are left.

    `compared` has what filters found in the run. One that has compared nothing, as where a stage is
    tried, judges nothing.

    Raises:
        RunError: a filter judges another number of samples than it was given.
    """
    left = sorted(numbers)
    judgements = []
    for node in nodes:
        layer = layers.get(node.name)
        if layer is not None:
            left = [number for number in left if number not in layer.failed]
        unknown: tuple[int, ...] = ()
        if node.stage.compares:
            if node.name not in compared:
                continue
            own = compared[node.name]
            unknown = tuple(one for one in left if own.row(shard.records[one]) < 0)
            left = [number for number in left if number not in unknown]
        samples = columns_of(shard, node.stage, layer, left, compared.get(node.name))
        verdicts = node.stage.judge(samples)
        if len(verdicts.reason) != len(samples):
            raise RunError(
                f"sample filter {node.name!r} gave {len(verdicts.reason)} verdicts on "
                f"{len(samples)} samples: one each is wanted"
            )
        one = Judgement(
            node=node, numbers=tuple(left), samples=samples, verdicts=verdicts, unknown=unknown
        )
        judgements.append(one)
        gone = set(one.dropped)
        left = [number for number in left if number not in gone]
    return judgements


def measured_rows(
    shard: Shard,
    nodes: Sequence[SampleFilterNode],
    layers: Mapping[str, Layer],
    compared: Mapping[str, Compared],
) -> pa.Table:
    """Return what the last of these filters is given of a shard to compare (`given_schema`): the
    samples that it and all others measured, and that those before it do not drop."""
    *before, last = nodes
    numbers = range(len(shard.records))
    judgements = judge_samples(shard, before, layers, numbers, compared)
    gone = {number for one in judgements for number in (*one.dropped, *one.unknown)}
    gone |= {number for layer in layers.values() for number in layer.failed}
    left = [number for number in numbers if number not in gone]
    return given_table(columns_of(shard, last.stage, layers.get(last.name), left), last.stage)


def columns_of(
    shard: Shard,
    stage: SampleFilter[Any],
    layer: Layer | None,
    numbers: Sequence[int],
    compared: Compared | None = None,
) -> SampleColumns:
    """Return samples of a shard as a sample filter judges them, with what it measured and found
    when it `compared` the run."""
    records = [shard.records[number] for number in numbers]
    measured: dict[str, np.ndarray] = {}
    if layer is not None:
        rows = layer.table
        position = {number: row for row, number in enumerate(rows.column("sample").to_pylist())}
        found = np.fromiter((position.get(number, -1) for number in numbers), np.int64)
        for name in stage.measured:
            stored = rows.column(name).to_numpy(zero_copy_only=False).astype(np.float64)
            measured[name] = np.append(stored, np.nan)[found]
        for name in stage.measured_texts:
            texts = [text or "" for text in rows.column(name).to_pylist()]
            measured[name] = _texts([*texts, ""])[found]
    found_numbers: dict[str, np.ndarray] = {}
    found_texts: dict[str, np.ndarray] = {}
    if compared is not None:
        places = np.fromiter(map(compared.row, records), np.int64, len(records))
        found_numbers = {name: one[places] for name, one in compared.numbers.items()}
        found_texts = {name: one[places] for name, one in compared.texts.items()}
    own_numbers = {name: measured[name] for name in stage.measured if name in measured}
    own_texts = {name: measured[name] for name in stage.measured_texts if name in measured}
    return SampleColumns(
        key=_texts([record.key for record in records]),
        sha256=_texts([record.sha256 for record in records]),
        width_px=np.array([record.width for record in records], np.int64),
        height_px=np.array([record.height for record in records], np.int64),
        source=_texts([record.source for record in records]),
        metadata=_texts([record.metadata for record in records]),
        numbers=found_numbers | own_numbers,  # what was found comes first in messages, too
        texts=found_texts | own_texts,
    )


def _texts(values: Sequence[str]) -> np.ndarray:
    column = np.empty(len(values), dtype=object)
    column[:] = values
    return column


def blurred_boxes(judgements: Sequence[Judgement]) -> dict[int, list[list[float]]]:
    """Return the boxes that are to be blurred, by the number of their sample.

    Raises:
        RunError: what a filter measured is no list of boxes.
    """
    boxes: dict[int, list[list[float]]] = {}
    for judgement in judgements:
        name = judgement.node.stage.blurs
        if not name:
            continue
        for number, text in zip(judgement.numbers, judgement.samples.texts[name], strict=True):
            boxes.setdefault(number, []).extend(_boxes(judgement.node.name, text) if text else [])
    return boxes


def _boxes(name: str, text: str) -> list[list[float]]:
    try:
        return [[x1, y1, x2, y2] for x1, y1, x2, y2 in json.loads(text)]
    except (TypeError, ValueError) as error:
        raise RunError(f"sample filter {name!r} has no list of boxes to blur: {error}") from error


def letters_of(shard: Shard, judgements: Sequence[Judgement]) -> dict[int, DeadLetter]:
    """Return a dead letter for each sample that was dropped, by number: with the filter, the reason
    and all numbers that it follows from; and one for each on which there is no verdict."""
    letters = {}
    for judgement in judgements:
        for number in judgement.unknown:
            letters[number] = _not_compared(shard.records[number], judgement.node)
        for row in np.flatnonzero(judgement.verdicts.is_dropped).tolist():
            number = judgement.numbers[row]
            letters[number] = _letter(shard.records[number], judgement, row)
    return dict(sorted(letters.items()))


def _letter(record: Record, judgement: Judgement, row: int) -> DeadLetter:
    node = judgement.node
    measured = {
        **judgement.samples.numbers,
        **judgement.samples.texts,
        **judgement.verdicts.measurements,
    }
    values = {name: column[row] for name, column in measured.items()}
    found = [f"{name} {_shown(value)}" for name, value in values.items() if _is_known(value)]
    thresholds = [f"{name} = {value}" for name, value in thresholds_of(node.stage.config).items()]
    message = ", ".join(found)
    if thresholds:
        message += f"{' ' if message else ''}({', '.join(thresholds)})"
    return DeadLetter(
        key=record.key,
        source=record.source,
        stage=f"{SAMPLE_FILTERS}/{node.name}",
        reason=str(judgement.verdicts.reason[row]),
        message=message,
    )


def _not_compared(record: Record, node: SampleFilterNode) -> DeadLetter:
    return DeadLetter(
        key=record.key,
        source=record.source,
        stage=node.name,
        reason=NOT_COMPARED,
        message="it changed, or could be measured, only after the run was compared: the next build "
        "compares it",
    )


def _is_known(value: Any) -> bool:
    return value != "" if isinstance(value, str) else not np.isnan(value)


def _shown(value: Any) -> str:
    return f"{value!r:.{_LONGEST}}" if isinstance(value, str) else f"{value:.6g}"

"""The numbers of a dataset beside those of FLD-5B: `statistics.json`.

Tables 2 and 3 and Figure 5 of the Florence-2 paper, computed from finished shards.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import pyarrow as pa

from florilegium.engine.results.publication import FileStats, to_json
from florilegium.engine.results.shard_files import read_rows
from florilegium.engine.results.shard_table import ShardTable
from florilegium.engine.storage.folder import Folder
from florilegium.pipelines.dataset.files import STATISTICS
from florilegium.pipelines.report import annotation_types, distributions, questions, repeats
from florilegium.pipelines.report.annotation_types import AnnotationTypes
from florilegium.pipelines.report.distributions import ASPECT_EDGES, SIDE_EDGES, Distributions
from florilegium.pipelines.report.paper import NOT_COMPARABLE, TABLE_2, TABLE_3
from florilegium.pipelines.report.questions import QuestionBalance
from florilegium.pipelines.report.repeats import without_repeats

MEASURED_SHARDS = 256
"""Maximum number of shards that are measured, spread evenly; it bounds the time."""

_COLUMNS = list(
    dict.fromkeys(
        (
            *distributions.COLUMNS,
            *annotation_types.COLUMNS,
            *repeats.COLUMNS,
            *questions.COLUMNS,
        )
    )
)


@dataclass(frozen=True, kw_only=True)
class Statistics:
    """Statistics of `measured` of all `shards`."""

    shards: int
    measured: int
    types: AnnotationTypes
    distributions: Distributions
    questions: QuestionBalance

    @classmethod
    def of_shards(cls, count: int) -> Statistics:
        """Return empty statistics for a dataset of `count` shards."""
        return cls(
            shards=count,
            measured=min(count, MEASURED_SHARDS),
            types=AnnotationTypes(),
            distributions=Distributions(),
            questions=QuestionBalance(),
        )

    @cached_property
    def sampled(self) -> frozenset[int]:
        """The indices of the shards to measure, among all shards."""
        return frozenset(spread(MEASURED_SHARDS, self.shards))

    def add(self, table: pa.Table) -> None:
        """Measure the annotations of one shard; objects are counted once."""
        if len(table):
            once = without_repeats(table)
            self.types.add(once)
            self.distributions.add(once)
            self.questions.add(table)

    def to_json(self) -> dict[str, Any]:
        """Return the content of `statistics.json`; `questions` only where there are any."""
        balance = {kind: asdict(one) for kind, one in self.questions.by_kind().items()}
        return {
            **({"questions": balance} if balance else {}),
            "shards": self.shards,
            "measured_shards": self.measured,
            "table_2": [
                {"kind": kind, "text": text, **asdict(here), "paper": asdict(TABLE_2[kind, text])}
                for (kind, text), here in self.types.table_2().items()
            ],
            "table_3": {
                name: {
                    text: {
                        "here": mean,
                        "paper": TABLE_3[name][text],
                        "comparable": (name, text) not in NOT_COMPARABLE,
                    }
                    for text, mean in here.items()
                }
                for name, here in self.types.table_3().items()
            },
            "figure_5": {
                kind: {
                    "sqrt_area": _histogram(boxes.side[0], SIDE_EDGES),
                    "log2_aspect": _histogram(boxes.aspect[0], ASPECT_EDGES),
                    "centres": boxes.centres.tolist(),
                }
                for kind, boxes in self.distributions.boxes.items()
            },
        }


def measure(output: Folder, shards: ShardTable) -> Statistics:
    """Measure at most `MEASURED_SHARDS` shards, one after the other.

    Raises:
        StorageError: a shard cannot be read.
    """
    found = Statistics.of_shards(len(shards))
    for index, name in enumerate(shards.names):
        if index in found.sampled:
            found.add(read_rows(output, name, _COLUMNS))
    return found


def spread(count: int, among: int) -> list[int]:
    """Return `count` evenly spread indices below `among`; all if `among` is smaller."""
    if count >= among:
        return list(range(among))
    return [(2 * step + 1) * among // (2 * count) for step in range(count)]


def write_statistics(output: Folder, statistics: Statistics) -> FileStats:
    """Publish `statistics.json`; return its size and digest."""
    content = to_json(statistics.to_json(), indent=1)
    output.publish(STATISTICS, content)
    return FileStats.of(memoryview(content))


def _histogram(counts: Any, edges: Any) -> dict[str, list[Any]]:
    return {"edges": [round(float(edge), 4) for edge in edges], "kept": counts.tolist()}

"""The same job without the engine, as one would write it: a loop, or a `multiprocessing` pool.

    python -m tests.benchmarks.by_hand CONFIG.json MARKS PROCESSES

Stages are called directly, each image is decoded once, the same filters judge, tars are
written. Nothing is remembered: no layers, no Parquet, no digests, no dead letters, no resuming.
"""

from __future__ import annotations

import json
import multiprocessing
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from florilegium.engine.core.annotation import Annotation, stamp, to_columns
from florilegium.engine.core.image.reading import read_header
from florilegium.engine.core.judgement import Statements
from florilegium.engine.core.rows import Measurement
from florilegium.engine.core.sample import Picture, Sample
from florilegium.engine.planning.config import RunConfig, validated
from florilegium.engine.planning.graph import Graph, Node, plan
from tests.benchmarks.marks import FINISHED, FIRST_IMAGE, SHARD, STARTED, mark

BATCH = 8
"""Images handed to a stage at once, as the engine does."""


@dataclass(kw_only=True)
class Photograph:
    """An image with its annotations and measurements."""

    key: str
    data: bytes
    size_wh: tuple[int, int]
    annotations: list[Annotation] = field(default_factory=list)
    measured: dict[str, list[Measurement]] = field(default_factory=dict)


class Annotator:
    """All stages of a graph in one process."""

    def __init__(self, graph: Graph, marks: str) -> None:
        self._graph = graph
        self._marks = marks
        self._is_first = True
        for node in graph.nodes:
            node.stage.load()

    def __call__(self, paths: list[Path]) -> list[Photograph]:
        """Say and measure everything about a few images."""
        if self._is_first:
            mark(self._marks, FIRST_IMAGE)
            self._is_first = False
        batch = [_read(path) for path in paths]
        pictures = [Picture(photograph.data) for photograph in batch]
        for node in self._graph.specialists:
            samples = _samples(batch, pictures, node)
            for photograph, answer in zip(batch, node.stage.predict(samples), strict=True):
                photograph.annotations += stamp(answer, node.provenance, photograph.key)
        for judge in self._graph.filters:
            if judge.stage.has_layer:
                samples = _samples(batch, pictures, judge)
                for photograph, rows in zip(batch, judge.stage.measure(samples), strict=True):
                    photograph.measured[judge.name] = rows
        return batch


def _read(path: Path) -> Photograph:
    data = path.read_bytes()
    header = read_header(data)
    return Photograph(key=path.stem, data=data, size_wh=(header.width, header.height))


def _samples(batch: list[Photograph], pictures: list[Picture], node: Node[Any]) -> list[Sample]:
    return [
        Sample(
            key=photograph.key,
            width=photograph.size_wh[0],
            height=photograph.size_wh[1],
            picture=picture,
            annotations=tuple(one for one in photograph.annotations if one.task in node.tasks),
            upstream=node.upstream,
        )
        for photograph, picture in zip(batch, pictures, strict=True)
    ]


def judged(graph: Graph, photographs: list[Photograph]) -> Statements:
    """Judge all annotations of a tar."""
    annotations = [one for photograph in photographs for one in photograph.annotations]
    counts = [len(photograph.annotations) for photograph in photographs]
    sample = np.repeat(np.arange(len(photographs)), counts)
    statements = Statements(
        table=pa.table(to_columns(annotations)),
        sample=sample,
        image_wh=np.array([one.size_wh for one in photographs], dtype=np.float64)[sample],
        is_live=np.ones(len(annotations), dtype=bool),
    )
    for node in graph.filters:
        rows = [row for one in photographs for row in one.measured.get(node.name, ())]
        values = {row.annotation_id: row.values for row in rows}
        measurements = {
            name: np.array([values.get(one.id, {}).get(name, np.nan) for one in annotations])
            for name in node.stage.measured
        }
        verdicts = node.stage.judge(statements.with_measurements(measurements))
        statements = statements.without(verdicts.is_dropped)
    return statements


def write_tar(path: Path, graph: Graph, photographs: list[Photograph]) -> None:
    """Write images with the annotations that are kept."""
    from webdataset import TarWriter

    statements = judged(graph, photographs)
    rows = statements.table.filter(pa.array(statements.is_live)).to_pylist()
    kept: list[list[object]] = [[] for _ in photographs]
    for number, row in zip(statements.sample[statements.is_live], rows, strict=True):
        kept[number].append(row)
    with TarWriter(str(path), encoder=False) as tar:
        for photograph, annotations in zip(photographs, kept, strict=True):
            content = {"key": photograph.key, "annotations": annotations}
            caption = next(
                (one.text for one in photograph.annotations if one.task == "caption"), ""
            )
            tar.write(
                {
                    "__key__": photograph.key,
                    "jpg": photograph.data,
                    "json": json.dumps(content).encode(),
                    "txt": caption.encode(),
                }
            )


def make_dataset(
    config: RunConfig,
    graph: Graph,
    results: Iterable[list[Photograph]],
    finished: Callable[[], None],
) -> None:
    """Write what comes out of the annotators into tars of the size of a shard."""
    output = Path(config.output)
    output.mkdir(parents=True)
    photographs = (photograph for batch in results for photograph in batch)
    number = 0
    while shard := list(islice(photographs, config.shard_size)):
        write_tar(output / f"{number:06d}.tar", graph, shard)
        finished()
        number += 1


_annotator: Annotator


def _load(config: RunConfig, marks: str) -> None:
    global _annotator
    _annotator = Annotator(plan(config), marks)


def _annotate(paths: list[Path]) -> list[Photograph]:
    return _annotator(paths)


def _batches(config: RunConfig) -> Iterator[list[Path]]:
    paths = iter(sorted(Path(config.source[0].url).iterdir()))
    while batch := list(islice(paths, BATCH)):
        yield batch


def main() -> None:
    """Make the dataset of a config with a number of processes; with one, without a pool."""
    path, marks, processes = sys.argv[1:]
    mark(marks, STARTED)
    config = validated(RunConfig, json.loads(Path(path).read_text()), where=path)
    graph = plan(config)
    if processes == "1":
        annotate = Annotator(graph, marks)
        make_dataset(config, graph, map(annotate, _batches(config)), lambda: mark(marks, SHARD))
    else:
        with multiprocessing.Pool(int(processes), _load, (config, marks)) as pool:
            results = pool.imap(_annotate, _batches(config))
            make_dataset(config, graph, results, lambda: mark(marks, SHARD))
    mark(marks, FINISHED)


if __name__ == "__main__":
    main()

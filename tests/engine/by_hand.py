"""Shards, graphs and layers made by hand, without files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from florilegium.engine.core.annotation import Annotation, stamp
from florilegium.engine.core.sample import DeadLetter, Record
from florilegium.engine.planning.graph import Graph, plan
from florilegium.engine.results.layer import Layer, StageError, make_layer
from florilegium.engine.results.publication import FileStats, ShardStats
from florilegium.engine.results.shard import Shard
from tests.building import configure

Answers = Mapping[int, Sequence[Annotation]]


def planned(**keys: Any) -> Graph:
    """Plan a graph of small stages; nothing is read."""
    return plan(configure("photos", Path("out"), **keys))


def record(number: int, *, width: int = 96, height: int = 64) -> Record:
    """Return the record of an image that nobody reads."""
    return Record(
        key=f"image_{number}",
        sha256=f"{number:064x}",
        width=width,
        height=height,
        orientation=1,
        extension="jpg",
        source=f"photos/image_{number}.jpg",
        metadata="{}",
        digest=f"digest-{number}",
    )


def shard_of(count: int, *, labels: Answers | None = None, number: int = 0) -> Shard:
    """Return a shard of `count` samples with the labels of its source, by sample number."""
    annotations = labels or {}
    return Shard(
        number=number,
        records=tuple(map(record, range(count))),
        labels=tuple(tuple(annotations.get(sample, ())) for sample in range(count)),
        dead_letters=(),
    )


def layers_of(
    graph: Graph,
    shard: Shard,
    annotations: Mapping[str, Answers],
    failed: Mapping[str, int] | None = None,
) -> dict[str, Layer]:
    """Return the layers of all specialists: the answers of each, stamped, by sample number."""
    layers = {}
    for node in graph.specialists:
        spoken = annotations.get(node.name, {})
        broken = {number for name, number in (failed or {}).items() if name == node.name}
        answers = {
            number: stamp(spoken.get(number, ()), node.provenance, one.digest)
            for number, one in enumerate(shard.records)
            if number not in broken
        }
        errors = [StageError(sample=number, reason="broken", message="!") for number in broken]
        layers[node.name] = make_layer(node, answers, errors)
    return layers


def stats_of(samples: int, *letters: DeadLetter, number: int = 0) -> ShardStats:
    """Return the statistics of a finished shard without annotations."""
    return ShardStats(
        number=number,
        recipe="r",
        samples_digest="d",
        samples=samples,
        annotations_kept=0,
        annotations_dropped=0,
        tasks={},
        specialists={},
        drops={},
        extensions={},
        dead_letters=letters,
        tar=FileStats(bytes=0, sha256=""),
        parquet=FileStats(bytes=0, sha256=""),
    )


def region(label: str = "cat", *, score: float | None = 0.5, **changes: Any) -> Annotation:
    """Return a box."""
    values = {"box_xyxy": (1.0, 2.0, 20.0, 15.5), **changes}
    return Annotation(kind="region", task="object_detection", label=label, score=score, **values)


def caption(text: str = "A cat.", **changes: Any) -> Annotation:
    """Return a brief caption."""
    return Annotation(kind="text", task="caption", text=text, language="en", **changes)

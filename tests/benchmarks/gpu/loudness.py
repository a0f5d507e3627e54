"""From which score on untrained detectors say about as much as trained ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from florilegium.engine.core.annotation import Annotation, stamp
from florilegium.engine.core.image.reading import read_header
from florilegium.engine.core.sample import Picture, Sample
from florilegium.engine.planning.config import RunConfig, validated
from florilegium.engine.planning.graph import Node, plan
from tests.benchmarks.gpu.by_hand import release

IMAGES = 4
Answers = list[list[Annotation]]


def least_scores(
    document: Mapping[str, Any], wanted: Mapping[str, int], paths: Sequence[Path]
) -> dict[str, float]:
    """Return, by stage, the score that as many annotations of an image pass as are wanted.

    All specialists of a run are asked about a few photographs, in their order.
    """
    samples = [_sample(path) for path in paths[:IMAGES]]
    found: dict[str, float] = {}
    for node in plan(validated(RunConfig, document, where="benchmark")).specialists:
        answers = _answers(node, samples, is_loud=node.name in wanted)
        if node.name in wanted:
            least = found[node.name] = _least(answers, wanted[node.name])
            answers = [[one for one in own if (one.score or 0) > least] for own in answers]
        samples = [
            replace(sample, annotations=(*sample.annotations, *stamp(own, node.provenance, "")))
            for sample, own in zip(samples, answers, strict=True)
        ]
    return found


def _answers(node: Node[Any], samples: Sequence[Sample], *, is_loud: bool) -> Answers:
    stage = node.stage
    if is_loud:
        stage = type(stage)(stage.config.model_copy(update={"least_score": 0.0}))
    stage.load()
    answers = [own if isinstance(own, list) else [] for own in stage.predict(samples)]
    del stage
    release()
    return answers


def _least(answers: Answers, wanted: int) -> float:
    scores = sorted((one.score or 0.0 for own in answers for one in own), reverse=True)
    place = wanted * len(answers)
    return scores[place] if place < len(scores) else 0.0


def _sample(path: Path) -> Sample:
    data = path.read_bytes()
    header = read_header(data)
    return Sample(key=path.stem, width=header.width, height=header.height, picture=Picture(data))

"""A whole recipe on one device: its stages called one after the other, and in the engine."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from florilegium.engine.execution.preparation import prepare
from florilegium.engine.planning.config import RunConfig, load_document, validated
from florilegium.engine.planning.graph import Graph
from tests.benchmarks.by_hand import Annotator, write_tar
from tests.benchmarks.gpu.album import make_album
from tests.benchmarks.gpu.architectures import REAL
from tests.benchmarks.gpu.by_hand import Looped, cut, release
from tests.benchmarks.gpu.compare import MIN_RATIO, AtLeast, runner_of, shard_size
from tests.benchmarks.gpu.engine_side import Built, build
from tests.benchmarks.gpu.loudness import least_scores
from tests.benchmarks.table import Row
from tests.recipes import CONFIGS, tiny_recipe

IMAGES_GPU, IMAGES_CPU = 512, 64
BATCH = 32
"""Images that the stages are asked about together by hand: the largest batch of any of them."""
ALONE = 4
MIN_SHARD = 8
WANTED = {"objects": 16, "grounding": 20}
"""Annotations of an image, for which `least_score` is set."""
CHANGES = {"captions": {"max_new_tokens": 48}, "region_text": {"max_new_tokens": 10}}
"""Untrained, they would not end."""


def measure(name: str, folder: Path, images: int | None, *, is_real: bool) -> Iterator[Row]:
    """Measure a recipe on the same photographs three ways."""
    count = images or (IMAGES_GPU if is_real else IMAGES_CPU)
    paths = make_album(folder / "photographs", count)
    keys = {
        "source": str(folder / "photographs"),
        "output": str(folder / "out"),
        "runner": runner_of(is_real),
        "shard_size": shard_size(count, least=MIN_SHARD),
    }
    make = _real if is_real else _tiny
    config = make(name, folder / "models", paths, keys)
    alone, batched = _by_hand(prepare(config).graph, paths, folder)
    built = build(prepare(config))
    yield from _rows(alone, batched, built, is_real=is_real)


def _tiny(name: str, models: Path, _: Sequence[Path], keys: dict[str, Any]) -> RunConfig:
    return tiny_recipe(name, models, **keys)


def _real(name: str, models: Path, paths: Sequence[Path], keys: dict[str, Any]) -> RunConfig:
    """Return a recipe whose models are of the sizes in `architectures`."""
    document = load_document(
        CONFIGS / f"{name}.yaml", changes={**keys, "allow_random_weights": True}
    )
    for section in ("specialists", "filters"):
        for stage, options in document[section].items():
            use = (options or {}).get("use", stage)
            if use in REAL:
                document[section][stage] |= REAL[use](models / stage) | CHANGES.get(stage, {})
    scores = least_scores(document, WANTED, paths)
    for stage, least in scores.items():
        document["specialists"][stage]["least_score"] = least
    document["specialists"]["objects"]["least_proposal_score"] = scores["objects"]
    return validated(RunConfig, document, where=name)


def _by_hand(graph: Graph, paths: Sequence[Path], folder: Path) -> tuple[Looped, Looped]:
    annotate = Annotator(graph, str(folder / "marks"))
    few = paths[: max(1, len(paths) // ALONE)]
    alone = _looped(annotate, graph, few, folder / "alone.tar", batch_size=1)
    batched = _looped(annotate, graph, paths, folder / "batched.tar", batch_size=BATCH)
    del annotate
    release()
    return alone, batched


def _looped(
    annotate: Annotator, graph: Graph, paths: Sequence[Path], tar: Path, *, batch_size: int
) -> Looped:
    annotate(list(paths[:batch_size]))
    started_s = time.perf_counter()
    photographs = [one for part in cut(paths, batch_size) for one in annotate(list(part))]
    write_tar(tar, graph, photographs)
    seconds = time.perf_counter() - started_s
    annotations = sum(len(one.annotations) for one in photographs)
    return Looped(images=len(paths), seconds=seconds, annotations=annotations)


def _rows(alone: Looped, batched: Looped, built: Built, *, is_real: bool) -> Iterator[Row]:
    how = f"{alone.images} photographs through all stages and filters in one process, a tar written"
    yield Row(what="by hand, one at a time", value=alone.images_per_s, unit="images/s", how=how)
    how = f"{batched.images} photographs, the same without overlap"
    what = f"by hand, {min(BATCH, batched.images)} at a time"
    yield Row(what=what, value=batched.images_per_s, unit="images/s", how=how)
    how = f"through all stages, after the first {built.warm_images}"
    yield Row(what="engine", value=built.images_per_s, unit="images/s", how=how)
    best = max(alone.images_per_s, batched.images_per_s)
    yield Row(what="engine / one at a time", value=built.images_per_s / alone.images_per_s)
    limit = MIN_RATIO if is_real else None
    yield AtLeast(what="engine / the better loop", value=built.images_per_s / best, limit=limit)
    totals = built.manifest.totals
    by_engine = totals.annotations_kept + totals.annotations_dropped
    counts = f"{by_engine} by the engine, {batched.annotations} by hand"
    how = f"{counts}; {totals.dead_letters} dead letters"
    difference = abs(by_engine - batched.annotations) / max(batched.annotations, 1)
    yield Row(what="annotations more or less than by hand", value=difference, how=how)
    yield Row(what="start-up", value=built.startup_s, unit="s", how="start of Ray to the first")

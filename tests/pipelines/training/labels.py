"""Samples made by hand."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools import mask as coco

from florilegium.engine.core.annotation import Annotation, MaskRLE
from florilegium.engine.results.dataset_sample import DatasetSample
from florilegium.pipelines.training.collate import Encoded
from florilegium.pipelines.training.config import TrainConfig
from florilegium.pipelines.training.examples import Example, ExampleMaker

SIZE = (100, 100)
BOX, OTHER = (10.0, 10.0, 30.0, 30.0), (40.0, 40.0, 90.0, 90.0)
BOX_TOKENS = "<loc_100><loc_100><loc_300><loc_300>"
OTHER_TOKENS = "<loc_400><loc_400><loc_900><loc_900>"


def region(task: str, box: tuple[float, ...] = BOX, **fields: Any) -> Annotation:
    return Annotation(kind="region", task=task, box_xyxy=box, **fields)


def text(task: str, content: str, **fields: Any) -> Annotation:
    return Annotation(kind="text", task=task, text=content, **fields)


def mask(box: tuple[float, ...] = BOX, task: str = "segmentation", **fields: Any) -> Annotation:
    pixels = np.zeros(SIZE[::-1], dtype=np.uint8, order="F")
    left, top, right, bottom = map(int, box)
    pixels[top:bottom, left:right] = 1
    rle = coco.encode(pixels)
    written = MaskRLE(size=tuple(rle["size"]), counts=rle["counts"].decode())
    return region(task, box, mask_rle=written, **fields)


def ellipse(box: tuple[float, ...], **fields: Any) -> Annotation:
    """Return the mask of the ellipse in a box."""
    left, top, right, bottom = box
    rows, columns = np.mgrid[: SIZE[1], : SIZE[0]] + 0.5
    across = (columns - (left + right) / 2) / (right - left)
    down = (rows - (top + bottom) / 2) / (bottom - top)
    rle = coco.encode(np.asfortranarray((across**2 + down**2 <= 0.25).astype(np.uint8)))
    written = MaskRLE(size=tuple(rle["size"]), counts=rle["counts"].decode())
    return region("segmentation", box, mask_rle=written, **fields)


def phrase(content: str, box: tuple[float, ...], start: int, parent: str) -> Annotation:
    return Annotation(
        kind="phrase",
        task="phrase_grounding",
        text=content,
        box_xyxy=box,
        span=(start, start + len(content)),
        parent_id=parent,
    )


def sample(
    *annotations: Annotation,
    key: str = "a",
    metadata: str = "{}",
    size_wh: tuple[int, int] = SIZE,
) -> DatasetSample:
    return DatasetSample(
        key=key,
        sha256="0f" * 32,
        width=size_wh[0],
        height=size_wh[1],
        annotations=annotations,
        image=Path(__file__).read_bytes(),
        metadata=metadata,
    )


def encode(example: Example) -> Encoded:
    """Return an example whose tokens are as many as its target has characters."""
    return Encoded(
        example=example, prompt_ids=np.arange(3), target_ids=np.arange(len(example.target))
    )


def contents(batch: Iterable[Encoded]) -> list[tuple[str, str]]:
    """Return the key and the target of each example."""
    return [(one.example.key, one.example.target) for one in batch]


def examples(
    of: DatasetSample,
    *tasks: str,
    ambiguous: frozenset[tuple[str, str]] = frozenset(),
    **options: Any,
) -> dict[str, Example]:
    """One example for each task that the sample feeds, by task."""
    words = {name: options.pop(name, ()) for name in ("classes", "phrases")}
    chosen = {"tasks": dict.fromkeys(tasks, 1.0)} if tasks else {}
    config = TrainConfig(model="here", **{"absent_share": 0.0, **chosen, **options})
    maker = ExampleMaker(config, ambiguous=ambiguous, **words)
    return {example.task: example for example in maker.every(of)}

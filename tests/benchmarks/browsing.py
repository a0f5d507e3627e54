"""How fast does `serve` open a large dataset, search it and rank its disagreements?

The shards are real ones, published by the engine; all images are the same small JPEG.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from starlette.testclient import TestClient

from florilegium.engine.core.annotation import Annotation
from florilegium.engine.storage.folder import Folder
from florilegium.pipelines.serve.app import create_app
from tests.benchmarks.table import Row
from tests.pipelines.report.dataset import Photo, box, caption, plain, publish
from tests.pipelines.serve.conftest import ADDRESS, SECRET, finish

IMAGES = 100_000
_SHARD = 256
_BOXES = 10
"""Boxes of each image by each of two specialists."""
GOAL_OPEN_S = 2.0
T = TypeVar("T")


def measure(work: Path, images: int | None) -> list[Row]:
    """Open a dataset, look at a page, search for what is nowhere, and rank all images."""
    count = images or IMAGES
    folder = Folder(str(work / "browsing"))
    write(folder, count)
    return look(folder, count)


def look(folder: Folder, count: int) -> list[Row]:
    """Measure on a dataset that is written."""
    how = f"{count} images, {2 * _BOXES + 1} annotations each, {_SHARD} a shard; local disk"
    opened, client = _timed(lambda: _open(folder))
    page, _ = _timed(lambda: _ask(client, "/api/images"))
    middle, _ = _timed(lambda: _ask(client, f"/api/images?start={count // 2}"))
    common, _ = _timed(lambda: _ask(client, "/api/images?label=thing+3&least=0.5"))
    rare, found = _timed(lambda: _all(client, f"/api/images?text=number+{count - 1}&"))
    assert found == [f"{count - 1:08d}"]
    pruned, _ = _timed(lambda: _all(client, "/api/images?task=segmentation&"))
    ranks, _ = _timed(lambda: _ranked(client))
    third = count // 3
    one, _ = _timed(lambda: _ask(client, f"/api/sample?key={third:08d}&shard={third // _SHARD}"))
    thumbnails, _ = _timed(lambda: _thumbnails(client))
    return [
        Row(what="open, first page", value=opened + page, unit="s", limit=GOAL_OPEN_S, how=how),
        Row(what="a page in the middle", value=middle, unit="s", limit=1.0),
        Row(what="a filter with many hits, first page", value=common, unit="s", limit=1.0),
        Row(what="a text that one image has, all shards", value=rare, unit="s"),
        Row(what="a task that no shard has", value=pruned, unit="s", limit=0.5),
        Row(what="one image with its verdicts", value=one, unit="s", limit=0.5),
        Row(what="48 thumbnails", value=thumbnails, unit="s", how="of 64 x 48 pixels: overhead"),
        Row(what="all disagreements ranked", value=ranks, unit="s"),
    ]


def write(output: Folder, count: int) -> None:
    """Write shards of so many images."""
    random, data = np.random.default_rng(1), plain()
    shards = [
        [_photo(number, data, random) for number in range(start, min(start + _SHARD, count))]
        for start in range(0, count, _SHARD)
    ]
    finish(output, publish(output, *shards))


def _photo(number: int, data: bytes, random: np.random.Generator) -> Photo:
    corners = random.uniform(0, 30, (2 * _BOXES, 2))
    scores = random.random(2 * _BOXES)
    boxes: list[Annotation] = [
        box(
            f"{number}-{place}",
            label=f"thing {place % 7}",
            specialist="first" if place % 2 else "second",
            box_xyxy=(x, y, x + 20.0, y + 12.0),
            score=score,
            confidence=score,
        )
        for place, ((x, y), score) in enumerate(zip(corners.tolist(), scores.tolist(), strict=True))
    ]
    return Photo(
        key=f"{number:08d}", data=data, annotations=(*boxes, caption(f"Image number {number}"))
    )


def _timed(function: Callable[[], T]) -> tuple[float, T]:
    start = time.perf_counter()
    found = function()
    return time.perf_counter() - start, found


def _open(folder: Folder) -> TestClient:
    client = TestClient(create_app(folder, SECRET), base_url=ADDRESS)
    client.get("/", params={"token": SECRET})
    _ask(client, "/api/run")
    return client


def _ask(client: TestClient, path: str) -> dict[str, Any]:
    answer = client.get(path)
    answer.raise_for_status()
    found: dict[str, Any] = answer.json()
    return found


def _all(client: TestClient, path: str) -> list[str]:
    start: int | None = 0
    found: list[str] = []
    while start is not None:
        page = _ask(client, f"{path}start={start}")
        found += [card["key"] for card in page["cards"]]
        start = page["next"]
    return found


def _ranked(client: TestClient) -> None:
    while True:
        page = _ask(client, "/api/disagreements")
        if page["searched"] == page["shards"]:
            return


def _thumbnails(client: TestClient) -> None:
    for card in _ask(client, "/api/images")["cards"]:
        client.get(f"/api/image?key={card['key']}&shard={card['shard']}&side=320")

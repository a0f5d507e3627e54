"""The samples that the report shows (plates), spread evenly over the whole dataset."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from florilegium.engine.core.errors import SampleError
from florilegium.engine.core.image.reading import decode
from florilegium.engine.core.tasks import CAPTION_TASKS
from florilegium.engine.results.dataset_sample import DatasetSample, read_samples
from florilegium.engine.results.shard_files import Wanted, read_rows
from florilegium.engine.results.shard_table import ShardTable
from florilegium.engine.storage.folder import Folder
from florilegium.pipelines.report.annotations import ShownAnnotation, shown_annotations
from florilegium.pipelines.report.captions import Caption, cut_caption
from florilegium.pipelines.report.drawing import Canvas, jpeg_uri, thumbnail_uri
from florilegium.pipelines.report.statistics import spread

PLATES = 24
"""Samples that the report shows."""
FIRST = 4
"""Samples that are shown large, before the numbers; the others come after them."""


@dataclass(frozen=True, kw_only=True)
class Plate:
    """One sample on the page."""

    number: int
    sample: DatasetSample
    canvas: Canvas
    image_uri: str
    thumbnail_uri: str
    annotations: tuple[ShownAnnotation, ...]
    failure: str = ""
    """Why the image cannot be decoded, and is not shown."""

    @property
    def regions(self) -> list[ShownAnnotation]:
        """Annotations with a region, largest first, so that small ones are drawn on top."""
        drawn = (one for one in self.annotations if one.shape)
        return sorted(drawn, key=lambda one: (-one.shape.area if one.shape else 0, not one.kept))

    @property
    def captions(self) -> list[Caption]:
        """The captions from brief to detailed, with their phrases."""
        phrases: dict[str, list[ShownAnnotation]] = {}
        for one in self.annotations:
            if one.annotation.kind == "phrase":
                phrases.setdefault(one.annotation.parent_id, []).append(one)
        return [
            cut_caption(one, phrases.get(one.annotation.id, ()))
            for task in CAPTION_TASKS
            for one in self.annotations
            if one.annotation.task == task
        ]

    @property
    def readings(self) -> list[ShownAnnotation]:
        """Text that was read in the image."""
        return [one for one in self.annotations if one.annotation.task == "ocr"]

    @property
    def remarks(self) -> list[ShownAnnotation]:
        """Other annotations of the whole image, such as tags."""
        return [
            one
            for one in self.annotations
            if one.annotation.kind == "text" and one.annotation.task not in CAPTION_TASKS
        ]

    @property
    def dropped(self) -> int:
        """The number of dropped annotations."""
        return sum(not one.kept for one in self.annotations)

    @property
    def is_bare(self) -> bool:
        """Whether no annotation was kept."""
        return self.dropped == len(self.annotations)

    @property
    def drops(self) -> list[tuple[str, int]]:
        """Filters with their reasons, and how many they dropped, most frequent first."""
        reasons = Counter(one.drop for one in self.annotations if not one.kept)
        return sorted(reasons.items(), key=lambda one: (-one[1], one[0]))

    @property
    def title(self) -> str:
        """The first kept caption, or the key."""
        captions = (one.shown for one in self.captions)
        return next((one.text for one in captions if one.kept), self.sample.key)


def richest_first(plates: Sequence[Plate]) -> list[Plate]:
    """Return the plates numbered anew: first the few with the most tasks kept, then the others in
    their order."""
    tasks = [
        len({one.annotation.task for one in plate.annotations if one.kept}) for plate in plates
    ]
    places = range(len(plates))
    first = sorted(places, key=lambda place: (-tasks[place], place))[:FIRST]
    order = [*first, *(place for place in places if place not in first)]
    return [replace(plates[place], number=number) for number, place in enumerate(order, 1)]


def choose_plates(
    output: Folder, shards: ShardTable, specialist_numbers: Mapping[str, int]
) -> Iterator[Plate]:
    """Yield the samples to show; one shard is open at a time."""
    chosen = spread(PLATES, sum(shards.column("samples")))
    number, first = 1, 0
    for name, samples in shards.rows("name", "samples"):
        wanted = {one - first for one in chosen if first <= one < first + samples}
        first += samples
        if wanted:
            for plate in _plates(output, name, wanted, specialist_numbers, number):
                yield plate
                number += 1


def _plates(
    output: Folder,
    shard: str,
    wanted: set[int],
    specialist_numbers: Mapping[str, int],
    number: int,
) -> Iterator[Plate]:
    samples = islice(read_samples(output, shard, Wanted(positions=wanted)), len(wanted))
    plates = [_without_annotations(sample, each) for each, sample in enumerate(samples, number)]
    rows = _rows(output, shard, [plate.sample.key for plate in plates])
    for plate in plates:
        annotations = shown_annotations(rows[plate.sample.key], plate.canvas, specialist_numbers)
        yield replace(plate, annotations=tuple(annotations))


def pixels_of(image: bytes) -> tuple[np.ndarray, str]:
    """Return the RGB pixels of an image and ""; else one grey pixel and the reason."""
    try:
        return decode(image), ""
    except SampleError as error:
        return np.full((1, 1, 3), 128, np.uint8), error.reason


def _without_annotations(sample: DatasetSample, number: int) -> Plate:
    pixels, failure = pixels_of(sample.image)
    return Plate(
        number=number,
        sample=sample,
        canvas=Canvas.over((sample.width, sample.height)),
        image_uri=jpeg_uri(pixels),
        thumbnail_uri=thumbnail_uri(pixels),
        annotations=(),
        failure=failure,
    )


def _rows(output: Folder, shard: str, keys: list[str]) -> dict[str, list[dict[str, Any]]]:
    """Return the rows of a few samples, by key."""
    rows: dict[str, list[dict[str, Any]]] = {key: [] for key in keys}
    table = read_rows(output, shard)
    for row in table.filter(pc.is_in(table["key"], pa.array(keys, pa.string()))).to_pylist():
        rows[row["key"]].append(row)
    return rows

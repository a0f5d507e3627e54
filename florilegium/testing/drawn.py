"""Drawn pictures and samples for the tests of plugins: the same pixels and ids on every machine.

`samples` has what a dataset may bring: several sizes, an image one pixel wide, one without colour,
one about which nothing is known. Every task that is installed has an annotation in it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from hashlib import sha256

import numpy as np

from florilegium.engine.core.annotation import SOURCE, Annotation, MaskRLE, Provenance, stamp
from florilegium.engine.core.image.encoding import encode_png
from florilegium.engine.core.sample import Picture, Sample
from florilegium.engine.core.task import Task
from florilegium.engine.core.tasks import TABLE

EARLIER = "earlier"
"""The specialist of the annotations that a sample is made with."""
_CAPTION = "A red circle stands beside a blue square on green grass."
_PHRASES = ("red circle", "blue square")
_COLOURS = ((200, 40, 40), (40, 60, 190), (230, 200, 60))
_BOXES = ((0.1, 0.2, 0.5, 0.8), (0.55, 0.3, 0.95, 0.9))
"""Where the circle and the square are: x1, y1, x2, y2 as shares of the picture."""


def photo(width: int = 96, height: int = 64, *, seed: int = 0) -> np.ndarray:
    """Draw a circle and a square on grass below a sky, with some noise.

    Returns:
        RGB pixels, uint8, (height, width, 3). Another `seed` gives other colours and noise.
    """
    random = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width]
    depth = (y / max(height - 1, 1))[..., None]
    pixels = (1 - depth) * np.array([150.0, 190, 240]) + depth * np.array([60.0, 130, 50])
    first, second = random.permutation(len(_COLOURS))[:2] if seed else (0, 1)
    x1, y1, x2, y2 = _scaled(_BOXES[0], width, height)
    across, down = max(x2 - x1, 1) / 2, max(y2 - y1, 1) / 2
    middle_x, middle_y = (x1 + x2) / 2, (y1 + y2) / 2
    is_circle = ((x - middle_x) / across) ** 2 + ((y - middle_y) / down) ** 2 <= 1
    pixels[is_circle] = _COLOURS[first]
    x1, y1, x2, y2 = _scaled(_BOXES[1], width, height)
    pixels[(x >= x1) & (x < x2) & (y >= y1) & (y < y2)] = _COLOURS[second]
    noisy = pixels + random.normal(0, 4, pixels.shape)
    return noisy.clip(0, 255).astype(np.uint8)


def sample(
    pixels: np.ndarray | None = None,
    annotations: Sequence[Annotation] = (),
    *,
    labels: Sequence[Annotation] = (),
    key: str = "photo",
    upstream: Mapping[str, frozenset[str]] | None = None,
    metadata: str = "{}",
) -> Sample:
    """Make a sample as a stage gets it.

    Args:
        pixels: RGB, (height, width, 3), or grey, (height, width), uint8; by default `photo()`.
        annotations: of an earlier specialist. They get ids and provenance, as in a build; an `id`
            that one has is a name by which a `parent_id` finds it.
        labels: of the source, which stand before them.
        key: the name of the sample; another key gives other ids.
        upstream: the specialists that the stage reads, with their tasks; by default one, with the
            tasks of `annotations`.
        metadata: that of the source, as JSON text.
    """
    pixels = photo() if pixels is None else pixels
    data = encode_png(pixels)
    of_source = stamp(labels, Provenance(specialist=SOURCE, stage=SOURCE), key)
    of_others = stamp(annotations, Provenance(specialist=EARLIER, stage=EARLIER), key)
    tasks = frozenset(one.task for one in of_others)
    return Sample(
        key=key,
        width=pixels.shape[1],
        height=pixels.shape[0],
        picture=Picture(data),
        sha256=sha256(data).hexdigest(),
        annotations=(*of_source, *of_others),
        labels=tuple(of_source),
        upstream=({EARLIER: tasks} if tasks else {}) if upstream is None else upstream,
        metadata=metadata,
    )


def samples() -> list[Sample]:
    """Make samples of many kinds, with annotations of every installed task in all but the last."""
    grey = photo(80, 80, seed=3).mean(axis=2).astype(np.uint8)
    pictures = {
        "wide": photo(),
        "tall": photo(64, 96, seed=1),
        "large": photo(320, 240, seed=2),
        "grey": grey,
        "one_tone": np.full((60, 90, 3), 127, np.uint8),
        "one_pixel_wide": photo(1, 40),
        "one_pixel_high": photo(40, 1),
    }
    upstream = {EARLIER: frozenset(TABLE)}
    made = [
        sample(pixels, examples(pixels.shape[1], pixels.shape[0]), key=key, upstream=upstream)
        for key, pixels in pictures.items()
    ]
    return [*made, sample(photo(seed=4), key="without_annotations", upstream=upstream)]


def broken(one: Sample) -> Sample:
    """Return the same sample with an image that cannot be decoded, as after a bad download."""
    return replace(one, picture=Picture(encode_png(photo())[:100]))


def examples(width: int, height: int) -> list[Annotation]:
    """Return annotations of every installed task, for a `photo` of this size in pixels."""
    made = [one for task in TABLE.values() for one in _examples(task, width, height)]
    texts = {one.id for one in made if one.kind == "text"}
    regions = {one.id for one in made if one.kind == "region" and not one.parent_id}
    known = texts | regions
    return [one for one in made if not one.parent_id or one.parent_id in known]


def _examples(task: Task, width: int, height: int) -> list[Annotation]:
    """Return a statement about the picture, or one about each thing in it."""
    if task.kind == "text":
        return [_example(task, 0, width, height)]
    return [_example(task, number, width, height) for number in range(len(_PHRASES))]


def _example(task: Task, number: int, width: int, height: int) -> Annotation:
    name = _PHRASES[number]
    fields = {*task.needs, *task.either[:1]}
    words = {"sentence": _CAPTION if task.kind == "text" else f"A {name}.", "reading": "STOP"}
    box = _scaled(_BOXES[number], width, height)
    start = _CAPTION.index(name)
    parent = f"object_detection{number}" if task.is_of_region else ""
    return Annotation(
        kind=task.kind,
        task=task.name,
        text=words.get(task.words, name) if "text" in fields else "",
        label=name.split()[-1] if "label" in fields else "",
        language="en" if task.words == "sentence" else "",
        box_xyxy=box if task.kind != "text" else (),
        mask_rle=_mask(box, width, height) if "mask_rle" in fields else None,
        quad=_quad(box) if "quad" in fields else (),
        span=(start, start + len(name)) if "span" in fields else (),
        score=0.9 - 0.2 * number,
        parent_id="caption0" if "parent_id" in fields and task.kind == "phrase" else parent,
        id=f"{task.name}{number}",
    )


def _scaled(shares: Sequence[float], width: int, height: int) -> tuple[float, ...]:
    """Return a box in pixels, with corners on whole pixels, at least one wide and high."""
    x1, y1 = int(shares[0] * width), int(shares[1] * height)
    x2, y2 = max(int(shares[2] * width), x1 + 1), max(int(shares[3] * height), y1 + 1)
    return (float(x1), float(y1), float(x2), float(y2))


def _quad(box: tuple[float, ...]) -> tuple[float, ...]:
    x1, y1, x2, y2 = box
    return (x1, y1, x2, y1, x2, y2, x1, y2)


def _mask(box: tuple[float, ...], width: int, height: int) -> MaskRLE:
    from pycocotools import mask as coco_mask

    x1, y1, x2, y2 = map(int, box)
    inside = np.zeros((height, width), np.uint8, order="F")
    inside[y1:y2, x1:x2] = 1
    return MaskRLE((height, width), coco_mask.encode(inside)["counts"].decode())

"""Labels made from truth, right in everything, and ways to spoil them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from pycocotools import mask as coco_mask

from florilegium.engine.core.annotation import Annotation, MaskRLE
from florilegium.engine.core.tasks import CAPTION_TASKS
from florilegium.engine.results.dataset_sample import DatasetSample
from florilegium.pipelines.shape_world.scene import Relation, Scene, Thing
from florilegium.pipelines.shape_world.score.claims import claims_of
from florilegium.pipelines.shape_world.score.measure import score_labels
from florilegium.pipelines.shape_world.score.score import Score

SIDE = 100
PLAIN = {
    "caption": "A blue striped circle below a red circle.",
    "detailed_caption": (
        "The picture shows a blue striped circle, a red circle, a blue square and a green sign "
        'that says "STOP". The blue striped circle is below the red circle.'
    ),
    "more_detailed_caption": (
        "There are four things in the picture. A blue striped circle is at the bottom left. A red "
        "circle is at the top left. A blue square is at the top right. A green sign that says "
        '"STOP" is at the bottom right. The red circle is to the left of the blue square.'
    ),
}


def thing(
    name: str, colour: str, box_xyxy: Sequence[float], pattern: str = "solid", word: str = ""
) -> Thing:
    """A thing that fills its box."""
    left, top, right, bottom = (int(edge) for edge in box_xyxy)
    mask = np.zeros((SIDE, SIDE), dtype=bool)
    mask[top:bottom, left:right] = True
    return Thing(
        name=name,
        colour=colour,
        pattern=pattern,
        word=word,
        box_xyxy=(float(left), float(top), float(right), float(bottom)),
        mask=mask,
    )


def scene(number: int = 0) -> Scene:
    """Two circles on the left, a square and a sign on the right; nearly the same for any number."""
    things = (
        thing("circle", "red", (10, 10, 30, 30)),
        thing("square", "blue", (60, 10, 80, 30 + number % 5)),
        thing("circle", "blue", (10, 60, 40, 90), pattern="striped"),
        thing("sign", "green", (50, 60, 95, 80), word="STOP"),
    )
    relations = (
        Relation(subject=0, predicate="left of", object=1),
        Relation(subject=1, predicate="right of", object=0),
        Relation(subject=0, predicate="above", object=2),
        Relation(subject=2, predicate="below", object=0),
    )
    pixels = np.zeros((SIDE, SIDE, 3), dtype=np.uint8)
    return Scene(number=number, pixels=pixels, things=things, relations=relations, captions=PLAIN)


def empty_scene() -> Scene:
    """Nothing at all."""
    pixels = np.zeros((SIDE, SIDE, 3), dtype=np.uint8)
    captions = dict.fromkeys(CAPTION_TASKS, "A plain picture.")
    return Scene(number=0, pixels=pixels, things=(), relations=(), captions=captions)


def perfect(scene: Scene) -> list[Annotation]:
    """All that a scene holds, annotated rightly, with score 1."""
    predicted = [*map(_box, scene.things), *map(_mask, scene.things)]
    predicted += [_line(each) for each in scene.things if each.word]
    for task, text in scene.captions.items():
        caption = Annotation(kind="text", task=task, text=text, id=task, confidence=1.0)
        predicted += [caption, *_phrases(caption, scene)]
    return [replace(one, id=one.id or f"{place}") for place, one in enumerate(predicted)]


def _box(thing: Thing) -> Annotation:
    return region("object_detection", thing.box_xyxy, label=thing.name)


def region(task: str, box_xyxy: Sequence[float], label: str = "", text: str = "") -> Annotation:
    """A box with certainty."""
    box = tuple(float(edge) for edge in box_xyxy)
    return Annotation(
        kind="region", task=task, label=label, text=text, box_xyxy=box, confidence=1.0
    )


def _mask(thing: Thing) -> Annotation:
    return mask(thing.mask, box_xyxy=thing.box_xyxy, label=thing.name)


def mask(pixels: np.ndarray, box_xyxy: tuple[float, ...] = (), label: str = "") -> Annotation:
    """A mask with certainty."""
    rle = coco_mask.encode(np.asfortranarray(pixels, dtype=np.uint8))
    height, width = rle["size"]
    return Annotation(
        kind="region",
        task="segmentation",
        label=label,
        box_xyxy=box_xyxy,
        mask_rle=MaskRLE(size=(height, width), counts=rle["counts"].decode("ascii")),
        confidence=1.0,
    )


def _line(thing: Thing) -> Annotation:
    left, top, right, bottom = thing.box_xyxy
    return region("ocr", (left + 3, top + 3, right - 3, bottom - 3), text=thing.word.lower())


def _phrases(caption: Annotation, scene: Scene) -> list[Annotation]:
    claims = claims_of(caption.text)
    return [
        phrase(caption, (mention.start, mention.stop), true.box_xyxy, label=true.name)
        for mention in claims.mentions
        for true in scene.things
        if (true.name, true.colour)
        == (claims.things[mention.things[0]].name, claims.things[mention.things[0]].colour)
    ]


def phrase(
    caption: Annotation, span: tuple[int, int], box_xyxy: Sequence[float], label: str = ""
) -> Annotation:
    """A phrase of a caption, with certainty."""
    return Annotation(
        kind="phrase",
        task="phrase_grounding",
        text=caption.text[slice(*span)],
        label=label,
        span=span,
        box_xyxy=tuple(float(edge) for edge in box_xyxy),
        parent_id=caption.id,
        confidence=1.0,
    )


def labelled(scene: Scene, annotations: Sequence[Annotation]) -> DatasetSample:
    """A sample of a scene, by its number."""
    return DatasetSample(
        key=f"{scene.number:06d}",
        sha256="",
        width=SIDE,
        height=SIDE,
        annotations=tuple(annotations),
        image=b"",
    )


def spoilt(
    task: str, place: int, spoil: Callable[[Annotation], Annotation | None]
) -> list[Annotation]:
    """Perfect labels of the scene of which one of a task is changed, or taken out by `None`."""
    labels = perfect(scene())
    chosen = [one for one in labels if one.task == task][place]
    changed = [spoil(one) if one is chosen else one for one in labels]
    return [one for one in changed if one is not None]


def scored(annotations: Sequence[Annotation], true: Scene | None = None) -> Score:
    """The score of one sample."""
    true = true or scene()
    return score_labels([labelled(true, annotations)], lambda key: true)

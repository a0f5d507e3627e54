"""A stage for tests of training that says all that is true about a scene of the known world."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from pycocotools.mask import encode

from florilegium.engine.core.annotation import Annotation, MaskRLE
from florilegium.engine.core.sample import Sample
from florilegium.engine.core.stage import Specialist, StageConfig
from florilegium.pipelines.shape_world.captions import phrase
from florilegium.pipelines.shape_world.scene import SIGN, Scene, Thing
from florilegium.pipelines.shape_world.truth import scene_of


class TruthConfig(StageConfig):
    """Options of `Truth`."""

    url: str
    """The world."""


class Truth(Specialist[TruthConfig]):
    """Says boxes, masks, captions, the phrases of the detailed caption and the words on signs."""

    Config = TruthConfig
    produces = (
        "object_detection",
        "segmentation",
        "caption",
        "detailed_caption",
        "more_detailed_caption",
        "phrase_grounding",
        "ocr",
    )

    def predict(self, samples: Sequence[Sample]) -> list[list[Annotation]]:
        return [list(_annotations(scene_of(self.config.url, sample.key))) for sample in samples]


def _annotations(scene: Scene) -> Iterator[Annotation]:
    for task, text in scene.captions.items():
        yield Annotation(kind="text", task=task, text=text, id=task)
    for number, thing in enumerate(scene.things):
        box = tuple(map(float, thing.box_xyxy))
        yield _box(thing, box, f"box{number}")
        yield _mask(thing, box, f"box{number}")
        if thing.name == SIGN:
            yield Annotation(kind="region", task="ocr", text=thing.word, box_xyxy=box)
        caption = scene.captions["detailed_caption"]
        words = phrase(thing, article="").strip()
        start = caption.find(words)
        if start >= 0:
            yield Annotation(
                kind="phrase",
                task="phrase_grounding",
                text=words,
                label=thing.name,
                box_xyxy=box,
                span=(start, start + len(words)),
                parent_id="detailed_caption",
            )


def _box(thing: Thing, box: tuple[float, ...], name: str) -> Annotation:
    return Annotation(
        kind="region", task="object_detection", label=thing.name, box_xyxy=box, id=name
    )


def _mask(thing: Thing, box: tuple[float, ...], parent: str) -> Annotation:
    rle = encode(np.asfortranarray(thing.mask.astype(np.uint8)))
    return Annotation(
        kind="region",
        task="segmentation",
        label=thing.name,
        box_xyxy=box,
        mask_rle=MaskRLE(size=tuple(rle["size"]), counts=rle["counts"].decode()),
        parent_id=parent,
    )

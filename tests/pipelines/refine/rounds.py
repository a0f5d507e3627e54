"""Refined runs made by hand: real datasets of drawn images whose labels the test gives."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw

from florilegium.engine.core.annotation import Annotation, from_json
from florilegium.engine.core.sample import Sample
from florilegium.engine.core.stage import Specialist, StageConfig
from florilegium.engine.storage.folder import Folder
from florilegium.pipelines.dataset.lineage import Round, Student, round_folder, write_lineage
from tests.building import build

Labels = Mapping[str, Sequence[Annotation]]
"""Labels of each sample, by key."""

TASKS = ("object_detection", "segmentation", "ocr", "tag", "caption", "phrase_grounding")
SIDE = 64


class SaysConfig(StageConfig):
    """The annotations."""

    labels: str
    """A JSON file: annotations by key."""


class Says(Specialist[SaysConfig]):
    """Says what a file tells it to."""

    Config = SaysConfig
    produces = TASKS

    def predict(self, samples: Sequence[Sample]) -> list[list[Annotation]]:
        labels = json.loads(Path(self.config.labels).read_text("utf-8"))
        return [[from_json(one) for one in labels.get(sample.key, ())] for sample in samples]


def refined(
    folder: Path,
    *rounds: Labels,
    keys: Sequence[str] = ("a", "b", "c"),
    is_finished: bool = False,
    lineage: Sequence[Round] | None = None,
    **config: Any,
) -> Folder:
    """Build a dataset for each round and, if finished, that of the last into the run itself."""
    images = folder / "images"
    images.mkdir(parents=True)
    for key in keys:
        draw(images / f"{key}.png")
    output = Folder(str(folder / "run"))
    for number, labels in enumerate((*rounds, *rounds[-1:] * is_finished)):
        path = folder / f"labels-{number}.json"
        path.write_text(json.dumps({key: [*map(_json, ones)] for key, ones in labels.items()}))
        url = round_folder(output, number).url if number < len(rounds) else output.url
        stage = {"use": "tests.pipelines.refine.rounds:Says", "labels": str(path)}
        build(images, Path(url), specialists={"says": stage}, **config)
    write_lineage(output, [*(lineage or map(entry, range(len(rounds))))])
    return output


def _json(annotation: Annotation) -> dict[str, Any]:
    mask = annotation.mask_rle
    return {**asdict(annotation), "mask_rle": mask and mask._asdict()}


def draw(path: Path) -> None:
    """Draw a red square and a blue disc."""
    image = Image.new("RGB", (SIDE, SIDE), "#e8e0d0")
    drawing = ImageDraw.Draw(image)
    drawing.rectangle((6, 8, 26, 28), fill="#c33")
    drawing.ellipse((34, 30, 58, 54), fill="#36c")
    image.save(path)


def entry(number: int, *, is_promoted: bool = True, **changes: Any) -> Round:
    """Return the entry of a round that is better than the one before it."""
    students = tuple(
        Student(fold=fold, digest=f"{fold}{number}" * 16, steps=100, losses={"caption": 1.5})
        for fold in range(2)
    )
    values: dict[str, Any] = {
        "parent": number - 1,
        "recipe": f"recipe-{number}",
        "students": students if number else (),
        "measured_by": "truth",
        "quality": {"boxes": 0.7 + 0.1 * number, "captions": 0.5 + 0.05 * number},
        "reason": f"reason {number}",
        **changes,
    }
    return Round(number=number, is_promoted=is_promoted, **values)


def box(label: str, *box_xyxy: float, **changes: Any) -> Annotation:
    """Return a detection."""
    values = {"task": "object_detection", "kind": "region", **changes}
    return Annotation(label=label, box_xyxy=box_xyxy, **values)


def text(words: str, task: str = "caption") -> Annotation:
    """Return an annotation of the whole image."""
    return Annotation(kind="text", task=task, text=words)

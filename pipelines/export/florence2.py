"""Export as the Florence-2 JSONL that fine-tuning tools read.

    OUTPUT/train/annotations.jsonl   {"image": "cat.jpg", "prefix": "<OCR>", "suffix": ...}
    OUTPUT/train/cat.jpg             each image once, upright: locations are of these pixels
    OUTPUT/valid/  OUTPUT/test/      the same

Which sample goes where follows from the digest of its image.
"""

from __future__ import annotations

import json
import os
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from engine.core.errors import UsageError
from engine.core.image import read_header
from engine.core.image_member import ImageMember, image_member
from engine.core.sample import fold_of
from engine.records.dataset import Dataset
from engine.storage.folder import Folder
from pipelines.training.config import TrainConfig
from pipelines.training.examples import ExampleMaker
from pipelines.training.survey import survey

ANNOTATIONS = "annotations.jsonl"
TRAIN, VALID, TEST = "train", "valid", "test"
"""The folders."""
_PARTS = 20


@dataclass(frozen=True, kw_only=True)
class Exported:
    """What was written: images and lines by folder, and lines by task, 0 where there is none."""

    images: Mapping[str, int]
    lines: Mapping[str, int]
    tasks: Mapping[str, int]


def export_jsonl(dataset: str, config: TrainConfig, output: Path) -> Exported:
    """Write a finished dataset as images and lines of prompt and answer, one line per task.

    About one sample in twenty goes to `valid` and one to `test`. The folder appears when it is
    complete.

    Raises:
        UsageError: the dataset cannot be trained on or gives no example, or the output is there
            already.
    """
    output = Path(output).absolute()
    if output.exists():
        raise UsageError(f"{output} exists: choose another folder, or remove it")
    folder = Folder(dataset)
    labels = survey(folder, config)
    maker = ExampleMaker(
        config, classes=labels.classes, phrases=labels.phrases, ambiguous=labels.ambiguous
    )
    partial = output.with_name(f".{output.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    exported = _write(folder, maker, partial, config.chosen)
    if not exported.lines:
        shutil.rmtree(partial)
        raise UsageError(
            f"no sample of {folder.url} gives an example of {', '.join(config.chosen)}: check "
            f"`tasks`, `custom` and `ambiguous`, or label more samples"
        )
    os.replace(partial, output)
    return exported


def _write(dataset: Folder, maker: ExampleMaker, output: Path, chosen: Sequence[str]) -> Exported:
    images: Counter[str] = Counter()
    lines: Counter[str] = Counter()
    tasks = Counter(dict.fromkeys(chosen, 0))
    with ExitStack() as stack:
        files: dict[str, IO[str]] = {}
        for part in (TRAIN, VALID, TEST):
            (output / part).mkdir(parents=True)
            path = output / part / ANNOTATIONS
            files[part] = stack.enter_context(path.open("w", encoding="utf-8"))
        finished = Dataset.of(dataset)
        is_original = finished.manifest["images"] == "original"
        for sample in finished:
            part = part_of(sample.sha256)
            examples = list(maker.every(sample))
            image = _upright(sample.image, is_original=is_original) if examples else None
            name = f"{sample.key}.{image.extension}" if image else ""
            if image:
                (output / part / name).write_bytes(image.data)
                images[part] += 1
            for example in examples:
                row = {"image": name, "prefix": example.prefix, "suffix": example.target}
                files[part].write(json.dumps(row, ensure_ascii=False) + "\n")
                lines[part] += 1
                tasks[example.task] += 1
    return Exported(images=dict(images), lines=dict(lines), tasks=dict(tasks))


def part_of(sha256: str) -> str:
    """Return the folder of an image: the same for the same bytes."""
    return {0: VALID, 1: TEST}.get(fold_of(sha256, _PARTS), TRAIN)


def _upright(image: bytes, *, is_original: bool) -> ImageMember:
    """Return an image as readers take it that know nothing of EXIF or odd formats."""
    extension = read_header(image).extension
    return image_member(image, kind="jpg" if is_original else "original", extension=extension)

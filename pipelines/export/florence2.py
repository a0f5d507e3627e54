"""The Florence-2 JSONL that fine-tuning tools read.

    OUTPUT/train/annotations.jsonl   {"image": "cat.jpg", "prefix": "<OCR>", "suffix": ...}
    OUTPUT/train/cat.jpg             each image once, upright: locations are of these pixels
    OUTPUT/valid/  OUTPUT/test/      the same

The digest of a sample's image decides its folder.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import IO, ClassVar

from pydantic import BaseModel

from florilegium.engine.core.counted import counted
from florilegium.engine.core.errors import UsageError
from florilegium.engine.results.dataset import Dataset
from florilegium.engine.storage.folder import Folder
from florilegium.pipelines.export.exporter import Exported, Exporter, upright
from florilegium.pipelines.export.parts import TEST, TRAIN, VALID, part_of
from florilegium.pipelines.training.config import TrainConfig
from florilegium.pipelines.training.examples import ExampleMaker
from florilegium.pipelines.training.survey import survey, untrained

ANNOTATIONS = "annotations.jsonl"


class Florence2Config(TrainConfig):
    """The options of a training; an export uses those about tasks and examples."""

    model: str = ""
    """Not used: an export needs no model."""


@dataclass(frozen=True, kw_only=True)
class Florence2Exported(Exported):
    """Images and lines by folder, and lines by task, 0 where there is none."""

    images: Mapping[str, int]
    lines: Mapping[str, int]
    tasks: Mapping[str, int]

    def summary(self) -> Iterator[str]:
        """Yield a line for each folder."""
        for part, lines in self.lines.items():
            yield f"{part:6} {counted(self.images[part], 'image')}, {counted(lines, 'line')}"

    def warnings(self) -> Iterator[str]:
        """Yield a line for each task without an example."""
        return untrained(task for task, lines in self.tasks.items() if not lines)


class Florence2Exporter(Exporter[Florence2Config, Florence2Exported]):
    """Writes images, and a line with prompt and answer for each task that a sample has labels for.

    About one sample in twenty goes to `valid` and one to `test`.
    """

    Config: ClassVar[type[BaseModel]] = Florence2Config

    def write(self, dataset: Folder, output: Path) -> Florence2Exported:
        """Write the three folders.

        Raises:
            UsageError: the dataset cannot be trained on or gives no example.
            StorageError: a shard cannot be read.
        """
        labels = survey(dataset, self.config)
        maker = ExampleMaker(
            self.config, classes=labels.classes, phrases=labels.phrases, ambiguous=labels.ambiguous
        )
        exported = self._write(dataset, maker, output)
        if not exported.lines:
            raise UsageError(
                f"no sample of {dataset.url} gives an example of "
                f"{', '.join(self.config.chosen)}: check `tasks`, `custom` and `ambiguous`, or "
                f"label more samples"
            )
        return exported

    def _write(self, dataset: Folder, maker: ExampleMaker, output: Path) -> Florence2Exported:
        images: Counter[str] = Counter()
        lines: Counter[str] = Counter()
        tasks = Counter(dict.fromkeys(self.config.chosen, 0))
        with ExitStack() as stack:
            files: dict[str, IO[str]] = {}
            for part in (TRAIN, VALID, TEST):
                (output / part).mkdir()
                path = output / part / ANNOTATIONS
                files[part] = stack.enter_context(path.open("w", encoding="utf-8"))
            finished = Dataset.of(dataset)
            kind = finished.manifest["images"]
            for sample in finished:
                part = part_of(sample.sha256)
                examples = list(maker.every(sample))
                image = upright(sample.image, kind) if examples else None
                name = f"{sample.key}.{image.extension}" if image else ""
                if image:
                    (output / part / name).write_bytes(image.data)
                    images[part] += 1
                for example in examples:
                    row = {"image": name, "prefix": example.prefix, "suffix": example.target}
                    files[part].write(json.dumps(row, ensure_ascii=False) + "\n")
                    lines[part] += 1
                    tasks[example.task] += 1
        return Florence2Exported(images=dict(images), lines=dict(lines), tasks=dict(tasks))

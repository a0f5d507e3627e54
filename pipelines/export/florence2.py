"""The Florence-2 JSONL that fine-tuning tools read.

    OUTPUT/train/annotations.jsonl   {"image": "cat.jpg", "prefix": "<OCR>", "suffix": ...}
    OUTPUT/train/cat.jpg             each image once, upright: locations are of these pixels
    OUTPUT/valid/  OUTPUT/test/      the same

The digest of a sample's image decides its folder.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from pydantic import BaseModel

from florilegium.engine.core.counted import counted
from florilegium.engine.core.errors import UsageError
from florilegium.pipelines.export.exporter import SELECTING, Exported, Exporter
from florilegium.pipelines.export.parts import PartFiles
from florilegium.pipelines.export.selected import SelectedDataset
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
    supports: ClassVar[frozenset[str]] = SELECTING | {"split"}

    def write(self, dataset: SelectedDataset, output: Path) -> Florence2Exported:
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

    def _write(
        self, dataset: SelectedDataset, maker: ExampleMaker, output: Path
    ) -> Florence2Exported:
        tasks = Counter(dict.fromkeys(self.config.chosen, 0))
        with PartFiles(dataset, output, rows=ANNOTATIONS) as files:
            for sample in dataset:
                examples = list(maker.every(sample))
                files.add(
                    sample, ({"prefix": one.prefix, "suffix": one.target} for one in examples)
                )
                tasks.update(one.task for one in examples)
        return Florence2Exported(images=files.images, lines=files.lines, tasks=tasks)

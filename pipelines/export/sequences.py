"""Everything as a sequence, as for Unified-IO and OFA: input and target are text and tokens.

    OUTPUT/train/sequences.jsonl   {"image": "cat.jpg", "task": "object_detection",
                                    "direction": "forward", "input": "Which objects ...?",
                                    "target": "<box><bin_10>...</box> cat"}
    OUTPUT/train/cat.jpg           each image once, upright: coordinates are of these pixels
    OUTPUT/valid/  OUTPUT/test/    the same
    OUTPUT/tokens.json             the tokens that a tokenizer has to learn

The digest of a sample's image decides its folder, as for `florence2`.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import BaseModel, Field, field_validator

from florilegium.engine.core.counted import counted
from florilegium.engine.core.errors import UsageError, nearest
from florilegium.engine.core.names_among import NamesAmong
from florilegium.pipelines.export.exporter import SELECTING, ExportConfig, Exported, Exporter
from florilegium.pipelines.export.parts import PartFiles
from florilegium.pipelines.export.selected import SelectedDataset
from florilegium.pipelines.sequences.codec import Codec, find_codec
from florilegium.pipelines.sequences.examples import SEQUENCE_TASKS, SequenceMaker
from florilegium.pipelines.sequences.tokens import special_tokens

SEQUENCES, TOKENS = "sequences.jsonl", "tokens.json"


class SequencesConfig(ExportConfig):
    """Options of `SequencesExporter`."""

    tasks: Annotated[tuple[str, ...], NamesAmong(SEQUENCE_TASKS)] = SEQUENCE_TASKS
    """Tasks whose annotations become sequences."""
    mask_codec: str = "mask_patches"
    """The codec of masks, by its entry point; empty for polygons."""
    corners: int = Field(default=64, ge=4)
    """Corners of the polygons of one mask at most."""
    image_codec: str = ""
    """The codec of images, such as `image_patches`; empty for no images as targets."""

    @field_validator("tasks")
    @classmethod
    def _known(cls, tasks: tuple[str, ...]) -> tuple[str, ...]:
        for task in tasks:
            if task not in SEQUENCE_TASKS:
                raise ValueError(f"no sequence is of {task!r}, {nearest(task, SEQUENCE_TASKS)}")
        return tuple(dict.fromkeys(tasks))


@dataclass(frozen=True, kw_only=True)
class SequencesExported(Exported):
    """Images and lines by folder; lines by task and direction; annotations of other tasks."""

    images: Mapping[str, int]
    lines: Mapping[str, int]
    tasks: Mapping[tuple[str, str], int]
    left_out: Mapping[str, int]

    def summary(self) -> Iterator[str]:
        """Yield a line for each folder, and for each task and direction."""
        for part, lines in self.lines.items():
            yield f"{part:6} {counted(self.images[part], 'image')}, {counted(lines, 'line')}"
        for (task, direction), lines in sorted(self.tasks.items()):
            yield f"{task:26} {direction:8} {counted(lines, 'line')}"

    def warnings(self) -> Iterator[str]:
        """Yield how many annotations of a task are no sequences."""
        for task, count in sorted(self.left_out.items()):
            yield f"{task}: {counted(count, 'annotation')} left out"


class SequencesExporter(Exporter[SequencesConfig, SequencesExported]):
    """Writes images, and a line for each thing that can be asked about one, in both directions."""

    Config: ClassVar[type[BaseModel]] = SequencesConfig
    supports: ClassVar[frozenset[str]] = SELECTING | {"split"}

    def write(self, dataset: SelectedDataset, output: Path) -> SequencesExported:
        """Write the three folders and the tokens.

        Raises:
            UsageError: no sample gives a sequence.
            ConfigError: there is no codec of such a name, or it encodes something else.
            StorageError: a shard cannot be read.
        """
        codecs = {
            subject: _codec(name, subject)
            for subject, name in (
                ("mask", self.config.mask_codec),
                ("image", self.config.image_codec),
            )
            if name
        }
        maker = SequenceMaker(
            tasks=self.config.tasks,
            mask_codec=codecs.get("mask"),
            image_codec=codecs.get("image"),
            corners=self.config.corners,
        )
        exported = self._write(dataset, maker, output)
        if not exported.lines:
            raise UsageError(f"no sample of {dataset.url} gives a sequence: label more samples")
        tokens = json.dumps(special_tokens(*codecs.values()), indent=0)
        (output / TOKENS).write_text(tokens, encoding="utf-8")
        return exported

    def _write(
        self, dataset: SelectedDataset, maker: SequenceMaker, output: Path
    ) -> SequencesExported:
        tasks: Counter[tuple[str, str]] = Counter()
        left_out: Counter[str] = Counter()
        with PartFiles(dataset, output, rows=SEQUENCES) as files:
            for sample in dataset:
                others = (one.task for one in sample.annotations if one.task not in maker.tasks)
                left_out.update(others)
                size_wh = (sample.width, sample.height)
                examples = list(maker.examples(sample.annotations, size_wh, sample.pixels))
                files.add(sample, map(asdict, examples))
                tasks.update((one.task, one.direction) for one in examples)
        return SequencesExported(
            images=files.images, lines=files.lines, tasks=tasks, left_out=left_out
        )


def _codec(name: str, subject: str) -> Codec:
    codec = find_codec(name)
    if codec.subject != subject:
        raise UsageError(f"the codec {name!r} encodes {codec.subject}s, not {subject}s")
    return codec

"""The folders of an export for training: each image in one of three, by its digest."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from florilegium.engine.core.image_member import ImageKind
from florilegium.engine.core.sample import fold_of
from florilegium.engine.results.dataset_sample import DatasetSample
from florilegium.pipelines.export.exporter import upright
from florilegium.pipelines.export.selected import SelectedDataset

TRAIN, VALID, TEST = "train", "valid", "test"
"""The folders."""
PARTS = (TRAIN, VALID, TEST)
_FOLDS = 20
"""Equal folds of the samples, of which one is for validation and one for the test."""


def part_of(sha256: str) -> str:
    """Return the folder of an image: the same for the same bytes."""
    return {0: VALID, 1: TEST}.get(fold_of(sha256, _FOLDS), TRAIN)


class PartFiles:
    """Writes the folders of the dataset's split, else the three: each image once, upright, and
    lines of JSON that name it.

    `rows` is the name of the file of lines. `images` and `lines` count what was written, by folder.
    """

    def __init__(self, dataset: SelectedDataset, output: Path, *, rows: str) -> None:
        self.images: Counter[str] = Counter()
        self.lines: Counter[str] = Counter()
        self._output = output
        self._rows = rows
        self._kind: ImageKind = dataset.manifest["images"]
        self._parts: tuple[str, ...] = PARTS
        self._part_of = part_of
        if dataset.split:
            self._parts, self._part_of = dataset.split.parts, dataset.split.part_of
        self._files: dict[str, IO[str]] = {}
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            for part in self._parts:
                (self._output / part).mkdir()
                path = self._output / part / self._rows
                self._files[part] = stack.enter_context(path.open("w", encoding="utf-8"))
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stack.close()

    def add(self, sample: DatasetSample, rows: Iterable[Mapping[str, Any]]) -> None:
        """Write the rows of a sample, and its image if there are any."""
        name, part = "", self._part_of(sample.sha256)
        for row in rows:
            if not name:
                image = upright(sample.image, self._kind)
                name = f"{sample.key}.{image.extension}"
                (self._output / part / name).write_bytes(image.data)
                self.images[part] += 1
            line = json.dumps({"image": name, **row}, ensure_ascii=False)
            self._files[part].write(line + "\n")
            self.lines[part] += 1

"""The interface of exports, which write a finished dataset in a format of other programs.

A format is one class with one method, found by an entry point of `florilegium.exporters`, and a
pydantic model of its options beside it. The folder appears when it is complete.
"""

from __future__ import annotations

import os
import shutil
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

from pydantic import BaseModel, ConfigDict

from florilegium.engine.core.api import API_VERSION
from florilegium.engine.core.counted import counted
from florilegium.engine.core.errors import UsageError
from florilegium.engine.core.image.reading import read_header
from florilegium.engine.core.image_member import ImageKind, ImageMember, image_member
from florilegium.engine.planning.registry import find_installed
from florilegium.engine.storage.folder import Folder
from florilegium.pipelines.export.selected import SelectedDataset
from florilegium.pipelines.export.selection import ALL, Selection

EXPORTERS = "florilegium.exporters"


SELECTING = frozenset({"where", "tasks", "classes", "drop_empty"})
"""The options of `Selection` that a format need not know of."""
NOT_EXPORTED = "task_not_exported"
LeftOut = Counter[tuple[str, str]]
"""Annotations that are not exported, by task and reason."""


def left_out_lines(left_out: LeftOut) -> Iterator[str]:
    """Yield how many annotations of a task were left out, and why."""
    for (task, reason), count in sorted(left_out.items()):
        yield f"{task}: {counted(count, 'annotation')} left out, {reason}"


class ExportConfig(BaseModel):
    """Options of a format; its own `Config` adds to them."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Exported(ABC):
    """What an export wrote, and what it left out."""

    @abstractmethod
    def summary(self) -> Iterator[str]:
        """Yield lines that count what was written."""

    @abstractmethod
    def warnings(self) -> Iterator[str]:
        """Yield a line for each kind of content that was left out."""


@dataclass(frozen=True, kw_only=True)
class ExportedAnnotations(Exported):
    """What an export of annotations wrote; `left_out` are those that it did not."""

    left_out: LeftOut

    def warnings(self) -> Iterator[str]:
        """Yield how many annotations of a task were left out, and why."""
        yield from left_out_lines(self.left_out)


ConfigT = TypeVar("ConfigT", bound=BaseModel)
ExportedT = TypeVar("ExportedT", bound=Exported)


class Exporter(ABC, Generic[ConfigT, ExportedT]):
    """Writes a dataset in one format."""

    Config: ClassVar[type[BaseModel]] = ExportConfig
    """The pydantic model of the format's options."""
    api_version: ClassVar[int] = API_VERSION
    """The version of the plugin API that the class is written for; a class of another package gives
    the number, and is refused by a florilegium that has another one."""
    supports: ClassVar[frozenset[str]] = SELECTING
    """The options of `Selection` that the format can do. Those of `SELECTING` are done before it
    sees a sample; for `split` it has to write a part for each of `dataset.parts`, for `images` it
    has to take the names of images from `ImageFiles`."""

    def __init__(self, config: ConfigT) -> None:
        self.config: ConfigT = config

    @abstractmethod
    def write(self, dataset: SelectedDataset, output: Path) -> ExportedT:
        """Write what is selected of a dataset into an empty folder.

        Raises:
            UsageError: there is nothing to write.
            StorageError: a shard cannot be read.
        """


def find_exporter(name: str) -> type[Exporter[Any, Any]]:
    """Return the class of a format.

    Raises:
        ConfigError: there is no such format.
    """
    return find_installed(EXPORTERS, "export format", name, Exporter)  # type: ignore[type-abstract]


def export(
    dataset: str,
    exporter: Exporter[Any, ExportedT],
    output: Path,
    selection: Selection = ALL,
) -> ExportedT:
    """Write what is selected of a finished dataset into a new folder, which appears when it is
    complete.

    Raises:
        UsageError: the output exists, the dataset is not finished, there is nothing to write, or
            the format cannot do an option of the selection.
        StorageError: a shard cannot be read.
    """
    selected = selected_for(exporter, Folder(dataset), selection)
    output = Path(output).absolute()
    if output.exists():
        raise UsageError(f"{output} exists: choose another folder, or remove it")
    partial = output.with_name(f".{output.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)  # of a command that was killed
    partial.mkdir(parents=True)
    try:
        exported = exporter.write(selected, partial)
        os.replace(partial, output)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    return exported


def selected_for(
    exporter: Exporter[Any, Any], folder: Folder, selection: Selection = ALL
) -> SelectedDataset:
    """Return what is selected of a dataset, as `Exporter.write` takes it.

    Raises:
        UsageError: the dataset is not finished, or the format cannot do an option.
    """
    selected = SelectedDataset.select_of(folder, selection)
    for option in sorted(selection.given - exporter.supports):
        can = ", ".join(f"--{one.replace('_', '-')}" for one in sorted(exporter.supports))
        raise UsageError(
            f"{type(exporter).__name__} cannot do --{option.replace('_', '-')}: leave it out"
            + (f"; it can do {can}" if can else "")
        )
    return selected


def upright(image: bytes, kind: ImageKind) -> ImageMember:
    """Return an image for readers that ignore EXIF and know few formats.

    `kind` is that of the dataset: `jpg` and `png` images are already upright and keep their bytes.
    """
    extension = read_header(image).extension
    return image_member(
        image, kind="jpg" if kind == "original" else "original", extension=extension
    )

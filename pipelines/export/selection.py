"""What of a dataset is exported, and in which form: the options that all formats share."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal, get_args

from florilegium.engine.core.errors import UsageError, nearest
from florilegium.pipelines.export.classes import ClassMap, read_classes
from florilegium.pipelines.export.split import Split, parse_split
from florilegium.pipelines.export.where import Where, parse_where

Images = Literal["copy", "reference", "none"]
"""Whether images are written, named where they lie, or left out."""


@dataclass(frozen=True, kw_only=True)
class Selection:
    """Which annotations and images are exported; at first all, with copies of the images.

    An image leaves only where `where` cannot hold for it whatever its annotations are; with
    `drop_empty` all images leave of which no annotation is selected.
    """

    where: Where | None = None
    tasks: frozenset[str] | None = None
    split: Split | None = None
    images: Images = "copy"
    classes: ClassMap | None = None
    drop_empty: bool = False

    @property
    def given(self) -> frozenset[str]:
        """The names of the options that differ from the default."""
        return frozenset(one.name for one in fields(self) if getattr(self, one.name) != one.default)

    @property
    def is_of_annotations(self) -> bool:
        """Whether annotations are left out or renamed."""
        return bool(self.where or self.tasks is not None or self.classes)


ALL = Selection()


def parse_selection(
    *,
    where: str = "",
    tasks: str = "",
    split: str = "",
    images: str = "copy",
    classes: Path | None = None,
    drop_empty: bool = False,
) -> Selection:
    """Return the selection that texts of the command line stand for; "" is no limit.

    Raises:
        ConfigError: the class map is no YAML.
        UsageError: a text is not understood.
    """
    names = [name.strip() for name in tasks.split(",")]
    if tasks and not all(names):
        raise UsageError(f"--tasks {tasks!r:.100} names an empty task")
    if images == "link":
        raise UsageError(
            "images lie in the tars of the shards, where nothing can link to them: "
            "--images reference names them there, --images copy writes them"
        )
    for known in get_args(Images):
        if images == known:
            return Selection(
                where=parse_where(where) if where else None,
                tasks=frozenset(names) if tasks else None,
                split=parse_split(split) if split else None,
                images=known,
                classes=read_classes(classes) if classes else None,
                drop_empty=drop_empty,
            )
    raise UsageError(f"--images {images!r:.50}: {nearest(images, get_args(Images))}")

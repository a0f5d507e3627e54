"""The images of an export: written upright, named where they lie, or left out."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from florilegium.engine.core.errors import UsageError
from florilegium.engine.results.publication import SHARDS
from florilegium.pipelines.export.exporter import upright
from florilegium.pipelines.export.selected import SelectedDataset, SelectedSample


class ImageFiles:
    """Gives each image its name in an export, and writes it where images are copied.

    A reference is a URL of fsspec, which opens it: `tar://KEY.jpg::/data/mine/shards/000000-9f.tar`.
    `count` counts images by part.
    """

    def __init__(self, dataset: SelectedDataset, output: Path) -> None:
        """Raises:
        UsageError: references are asked for, and the images of the dataset are not upright.
        """
        self.count: Counter[str] = Counter()
        self._kind = dataset.manifest["images"]
        self._mode = dataset.chosen.images
        self._folder = dataset.folder
        self._output = output
        if self._mode == "reference" and self._kind == "original":
            raise UsageError(
                "a dataset with `images: original` has images that are not upright, and others "
                "would read them wrong: export with --images copy"
            )

    @property
    def are_written(self) -> bool:
        """Whether images are files of the export."""
        return self._mode == "copy"

    def add(self, sample: SelectedSample, folder: str, stem: str) -> str:
        """Return the name of an image: its path below the output, or a reference.

        Args:
            sample: the image is its.
            folder: where it is written, below the output.
            stem: its name there, without extension.
        """
        self.count[sample.part] += 1
        if self._mode == "reference":
            tar = self._folder.path(f"{SHARDS}/{sample.shard}.tar")
            return f"tar://{sample.key}.{sample.extension}::{tar}"
        if self._mode == "none":
            extension = "jpg" if self._kind == "original" else sample.extension
            return f"{folder}/{stem}.{extension}"
        image = upright(sample.image, self._kind)
        path = self._output / folder / f"{stem}.{image.extension}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(image.data)
        return path.relative_to(self._output).as_posix()

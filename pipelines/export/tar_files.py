"""Numbered tars with so many samples each, in the layout of WebDataset."""

from __future__ import annotations

import tarfile
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from florilegium.engine.results.publication import add_sample, tar_of


class TarFiles:
    """Writes samples into `FOLDER/000000.tar`, `000001.tar`, ...; the same samples give the same
    bytes."""

    def __init__(self, folder: Path, *, samples_per_tar: int) -> None:
        self.samples = 0
        self._folder = folder
        self._samples_per_tar = samples_per_tar
        self._open: tuple[tarfile.TarFile, IO[bytes]] | None = None

    def __enter__(self) -> Self:
        self._folder.mkdir(parents=True, exist_ok=True)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._close()

    def add(self, key: str, members: Mapping[str, bytes | memoryview]) -> None:
        """Write the files of a sample, by extension."""
        number, place = divmod(self.samples, self._samples_per_tar)
        if place == 0:
            self._close()
            file = (self._folder / f"{number:06d}.tar").open("wb")
            self._open = tar_of(file), file
        assert self._open is not None
        add_sample(self._open[0], key, members)
        self.samples += 1

    def _close(self) -> None:
        if self._open is not None:
            tar, file = self._open
            self._open = None
            tar.close()
            file.close()

"""Reads exported tars as WebDataset groups them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from webdataset.tariterators import group_by_keys, tar_file_expander


def samples_in(folder: Path) -> Iterator[dict[str, Any]]:
    """Yield the samples of all tars in a folder, their files by extension."""
    for path in sorted(folder.glob("*.tar")):
        with path.open("rb") as stream:
            files = tar_file_expander([{"url": str(path), "stream": stream}])
            yield from group_by_keys(one for one in files if "fname" in one)

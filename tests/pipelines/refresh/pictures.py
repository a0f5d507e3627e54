"""A folder of tiny pictures that changes from day to day, and its refresh."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from florilegium.engine.execution.preparation import prepare
from florilegium.engine.planning.config import validated
from florilegium.pipelines.dataset.refreshed import Refreshed
from florilegium.pipelines.refresh.options import RefreshConfig
from florilegium.pipelines.refresh.refresh import refresh_dataset
from tests.building import DESCRIBED


def picture(seed: int) -> bytes:
    """Return a small PNG; another seed gives other pixels."""
    pixels = np.random.default_rng(seed).integers(0, 255, (12, 16, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def put(source: Path, *numbers: int, seed: int = 0) -> None:
    """Write pictures `NUMBER.png` into a folder."""
    source.mkdir(exist_ok=True)
    for number in numbers:
        (source / f"{number:03d}.png").write_bytes(picture(1000 * seed + number))


def config_of(source: Path, output: Path | str, **keys: Any) -> RefreshConfig:
    """Return a config of a refresh in this process, with a stage that finds and one that tells."""
    defaults = {"runner": "in_process", "specialists": DESCRIBED, "shard_size": 4}
    document = {"source": str(source), "output": str(output), **defaults, **keys}
    return validated(RefreshConfig, document, where="test")


def refresh(
    source: Path, output: Path | str, *, accept: bool = False, retry: bool = False, **keys: Any
) -> Refreshed:
    """Refresh a dataset, and return the record."""
    config = config_of(source, output, **keys)
    run = prepare(config.run)
    return refresh_dataset(run, config.refresh, accept=accept, retry=retry).record


def files(output: Path) -> dict[str, tuple[int, bytes]]:
    """Return the time and the bytes of all files of an output, but for its lease and its log."""
    paths = [path for path in output.rglob("*") if path.is_file()]
    return {
        name: (path.stat().st_mtime_ns, path.read_bytes())
        for path in paths
        if not (name := str(path.relative_to(output))).startswith((".lease", "log"))
    }

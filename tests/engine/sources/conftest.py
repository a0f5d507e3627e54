"""Short ways to write tars and to read sources."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from florilegium.engine.core.limits import Limits
from florilegium.engine.core.sample import DeadLetter
from florilegium.engine.planning.config import SourceEntry
from florilegium.engine.planning.source_opening import open_source
from florilegium.engine.sources.source import Reading, Source

Members = Sequence[tuple[str, bytes]] | Mapping[str, bytes]
WriteTar = Callable[[str, Members], Path]


@pytest.fixture
def write_tar(tmp_path: Path) -> WriteTar:
    """Write a tar of members, in the order given, into the test's folder."""

    def write(name: str, members: Members) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        pairs = members.items() if isinstance(members, Mapping) else members
        with tarfile.open(path, "w:gz" if name.endswith("gz") else "w") as archive:
            for member, data in pairs:
                info = tarfile.TarInfo(member)
                info.size = len(data)
                archive.addfile(info, io.BytesIO(data))
        return path

    return write


def source_at(url: object, **options: object) -> Source[Any]:
    """Open a source; options are those of its config, its limits, and `shard_size`."""
    shard_size = options.pop("shard_size", 256)
    limits = {name: options.pop(name) for name in [*options] if name in Limits.model_fields}
    config = SourceEntry.model_validate({"url": str(url), **options})
    return open_source(config, shard_size=shard_size, limits=Limits(**limits))  # type: ignore[arg-type]


def read_all(source: Source[Any]) -> tuple[list[Reading], list[DeadLetter]]:
    """Read every item of a source."""
    results = [result for item in source.items() for result in source.read(item)]
    readings = [result for result in results if isinstance(result, Reading)]
    return readings, [result for result in results if isinstance(result, DeadLetter)]


def captions_of(readings: Sequence[Reading]) -> list[list[str]]:
    """Return the captions of each reading."""
    return [[a.text for a in r.annotations if a.task == "caption"] for r in readings]

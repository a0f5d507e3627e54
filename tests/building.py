"""Building small datasets in tests, without the command line."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from florilegium.engine.execution.preparation import Run, prepare
from florilegium.engine.execution.progress import Progress
from florilegium.engine.execution.run import execute
from florilegium.engine.planning.config import RunConfig, validated
from florilegium.engine.planning.slices import Slice
from florilegium.engine.results.manifest import Manifest
from florilegium.pipelines.build import build_slice, finish_slices, put_in_place

BRIGHTEST = {"bright": {"use": "tests.stages:Brightest"}}
DESCRIBED = {**BRIGHTEST, "describe": {"use": "tests.stages:Describe"}}
BRIGHT_ENOUGH = {"enough": {"use": "tests.stages:BrightEnough", "minimum": 0.55}}


def configure(source: Path | str | list[Any], output: Path | str, **keys: Any) -> RunConfig:
    """Return a config: by default in this process, with one small specialist."""
    defaults = {"runner": {"kind": "in_process"}, "specialists": BRIGHTEST}
    where = source if isinstance(source, list) else str(source)
    document = {"source": where, "output": str(output), **defaults, **keys}
    return validated(RunConfig, document, where="test")


def build(
    source: Path | str | list[Any],
    output: Path,
    *,
    retry: bool = False,
    replace: bool = False,
    **keys: Any,
) -> Manifest:
    """Build a dataset without a report and return its manifest."""
    run = prepare(configure(source, output, **keys))
    manifest = execute(run, Progress(), retry=retry, replace=replace)
    put_in_place(run, manifest)
    return manifest


def slice_run(source: Path, output: object, **keys: Any) -> Run:
    """Return the run of a build in slices of two samples a shard; `output` may be a URL."""
    defaults = {"filters": BRIGHT_ENOUGH, "shard_size": 2, "runner": {"kind": "in_process"}}
    document = {"source": str(source), "output": str(output), "specialists": DESCRIBED, **defaults}
    return prepare(validated(RunConfig, {**document, **keys}, where="test"))


def one_slice(
    source: Path, output: object, text: str, *, retry: bool = False, **keys: Any
) -> Manifest | None:
    """Build a slice such as `1/2`."""
    return build_slice(slice_run(source, output, **keys), Slice.parse(text), retry=retry)


def finished(source: Path, output: object, **keys: Any) -> Manifest | None:
    """Put the dataset of all slices in place."""
    return finish_slices(slice_run(source, output, **keys))


def shard_file(output: Path, suffix: str, number: int = 0) -> Path:
    """Return the one file of a shard that ends like this: `.tar`, `.parquet` or `_stats.json`."""
    (path,) = (output / "shards").glob(f"{number:06d}-*{suffix}")
    return path


def contents(output: Path) -> Mapping[str, bytes]:
    """Return the bytes of all files that a build promises to repeat, by relative path."""
    promised = [*sorted((output / "shards").iterdir()), output / "dead_letters.parquet"]
    promised += [output / "manifest.json", output / "README.md"]
    return {str(path.relative_to(output)): path.read_bytes() for path in promised}

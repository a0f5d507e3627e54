"""Building a dataset from Python, as `florilegium build` does on the command line."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from os import PathLike
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from florilegium.engine.execution.preparation import Run
    from florilegium.engine.results.dataset import Dataset


def build(
    config: str | PathLike[str] | Mapping[str, Any],
    *,
    source: str | None = None,
    output: str | PathLike[str] | None = None,
    overrides: Sequence[str] = (),
    retry_dead_letters: bool = False,
    replace: bool = False,
) -> Dataset:
    """Build a dataset, or bring it up to date, and open it. Finished work is not repeated.

        dataset = florilegium.build("quickstart", source="photos", output="out/mine")

    Args:
        config: a YAML file, the name of a shipped config, or the keys of one as a mapping. Of one
            with `refine`, round 0 is built.
        source: the URL or path of the images, instead of the config's.
        output: the URL or path of the dataset, instead of the config's.
        overrides: dotted keys, as for `--set`: `["filters.nms=null", "runner.kind=local"]`.
        retry_dead_letters: ask again about images that failed before.
        replace: let the samples of a source go that the config no longer names.

    Raises:
        UsageError: the config cannot be run; the message says what to change.
        OutputInUse: another command writes the output.
        RunError: too many images are lost, or the workers cannot go on.
        StorageError: a file cannot be read or written.
    """
    from florilegium.engine.execution.preparation import prepare
    from florilegium.pipelines.commands.build import runnable
    from florilegium.pipelines.commands.loading import load
    from florilegium.pipelines.commands.shipped import config_file

    given = config if isinstance(config, Mapping) else config_file(str(config))
    where = None if output is None else str(output)
    loaded = load(given, overrides=overrides, no_plugins=False, source=source, output=where).config
    run = prepare(runnable(loaded, given))
    return _outside_of_loops(partial(_built, run, retry=retry_dead_letters, replace=replace))


def _built(run: Run, *, retry: bool, replace: bool) -> Dataset:
    from florilegium.engine.execution.losses import refuse_losses
    from florilegium.engine.results.dataset import open_dataset
    from florilegium.pipelines.build import build_dataset

    manifest = build_dataset(run, retry=retry, replace=replace)
    refuse_losses(manifest, run.config.max_dead_letter_share)
    return open_dataset(run.output.url)


def _outside_of_loops(function: Callable[[], Dataset]) -> Dataset:
    """Call a function that runs an event loop, in another thread where this one runs one: that of
    a notebook."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return function()
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(function).result()

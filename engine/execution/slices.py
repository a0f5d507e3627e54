"""A build without one driver: a process makes its slice of the shards, another one gathers all.

    slices/division.json   the division that the first slice stored: the round of slices is open
           3/              the lease of slice 3, and its log

All this lies in the output until the shards are gathered. A slice may be killed and started again
at any time. Of the source's listing only the first one is used: the others read the index.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial

from florilegium.engine.core.counted import counted
from florilegium.engine.core.errors import OutputInUse, RunError, StorageError, UsageError
from florilegium.engine.execution.comparing import Measure, compare_run, with_comparisons
from florilegium.engine.execution.finished import divide, survey
from florilegium.engine.execution.log import LOG
from florilegium.engine.execution.observer import Observer, Observers
from florilegium.engine.execution.preparation import Run, refuse_caveats, remarks_of
from florilegium.engine.execution.progress import Progress
from florilegium.engine.execution.readings import Readings, readings_of
from florilegium.engine.execution.run import make, manifest_of, measured
from florilegium.engine.planning.index import INDEX_NAME, read_index
from florilegium.engine.planning.partition import (
    Partition,
    place_of,
    places,
)
from florilegium.engine.planning.slices import Division, Slice, read_division
from florilegium.engine.results.manifest import RECIPE, Manifest, read_manifest
from florilegium.engine.results.takedowns import refuse_to_bring_back
from florilegium.engine.storage.folder import Folder
from florilegium.engine.storage.lease import DIVISION, PARTS, writing

_MAX_NAMED = 8
"""Slices that are named with their missing shards, and shards of each, at most."""


def execute_slice(
    run: Run,
    part: Slice,
    progress: Progress,
    *,
    retry: bool = False,
    replace: bool = False,
    check: bool = False,
    observer: Observer | None = None,
) -> Manifest | None:
    """Make the shards of a slice that are missing, and return a manifest of them, for counting.

    The caller holds the lease of the slice. The first slice divides the sources; it returns `None`
    when a finished dataset has all of it already. The options are those of `execute`.

    Raises:
        ConfigError: as `execute`, or the slices before were of another division.
        RunError: so many images of the slice fail that the limit cannot be kept, or the workers
            cannot go on.
        StorageError: a file cannot be written.
    """
    refuse_caveats(run)
    log = Folder(f"{run.output.url}/{PARTS}/{part.number}")
    seen = Observers(progress, observer) if observer else progress
    compare = partial(
        _compared, run, partial(measured, run, progress, seen, log), progress, retry=retry
    )
    shared = _shared(run, part, progress, compare, retry=retry, replace=replace, check=check)
    if shared is None:
        return None
    division, shards = shared
    own_run, recipes = with_comparisons(run, division.compared)
    made, found = make(
        own_run,
        shards.only(part.has),
        progress,
        log=log,
        retry=retry,
        check=check,
        observer=observer,
        slice_recipes=recipes,
    )
    return manifest_of(run, made, found, remarks=())


def gather(run: Run, *, check: bool = False) -> Manifest | None:
    """Return the manifest of the shards that all slices made, not yet written.

    The caller holds the lease of the output. `None` when a dataset of this config is finished
    already and no slices are under way.

    Raises:
        RunError: shards are missing; the message says which, and how to make them.
        UsageError: no slices are under way.
        ConfigError: the config has no takedown list, and images were taken down.
    """
    division = read_division(run.output)
    if division is None:
        if _is_current(run):
            return None
        raise UsageError(
            f"{run.output.url} is not being built in slices: begin with `florilegium build CONFIG "
            f"--slice 1/16`, and so on to 16/16"
        )
    if run.takedown is None:
        refuse_to_bring_back(run.output)
    shards = _shards_of(run, division, _division(run, division.slices))
    _, recipes = with_comparisons(run, division.compared)
    found = survey(run, shards, check=check, asks_again=False, recipes=recipes)
    if found.jobs:
        raise RunError(_missing(found.jobs.numbers, division.slices, len(shards)))
    inputs = Readings(run).inputs_of(shards)
    return manifest_of(run, found.done.with_columns(inputs), found, remarks=division.remarks)


def join_logs(output: Folder) -> None:
    """Move the logs of slices to the end of the log of the dataset."""
    for part in filter(str.isdigit, output.names(PARTS)):
        if log := output.read(f"{PARTS}/{part}/{LOG}"):
            output.publish(LOG, (output.read(LOG) or b"") + log)
            output.remove(f"{PARTS}/{part}/{LOG}")


def end_slices(output: Folder) -> None:
    """Delete the division and what slices left beside the shards. The caller holds the lease of the
    output."""
    join_logs(output)
    output.remove(DIVISION)
    with suppress(StorageError):  # a slice that starts right now may write its lease there
        Folder(f"{output.url}/{PARTS}").clear()


def _compared(
    run: Run, measure: Measure, progress: Progress, shards: Partition, *, retry: bool
) -> tuple[str, ...]:
    """Compare the samples of the whole run, for all slices; return the files of what was found."""
    if not run.graph.comparing:
        return ()
    found = survey(run, shards, retry=retry)
    compared, _ = compare_run(run, shards, found, measure, progress, retry=retry)
    return tuple(node.comparison for node in compared.graph.comparing)


def _shared(
    run: Run,
    part: Slice,
    progress: Progress,
    compare: Callable[[Partition], tuple[str, ...]],
    *,
    retry: bool,
    replace: bool,
    check: bool,
) -> tuple[Division, Partition] | None:
    """Return the stored division, and the shards of all slices; the first slice stores it, once
    the run is compared."""
    while (division := read_division(run.output)) is None:
        try:
            with writing(Folder(f"{run.output.url}/{PARTS}")) as lease:
                if read_division(run.output) is not None:
                    continue
                shards = divide(run, replace=replace)
                if not (retry or check) and _has_all(run, shards):
                    return None
                run.output.publish(RECIPE, run.graph.recipe.encode())
                compared = compare(shards)
                lease.check()
                division = _division(run, part.of, inputs=shards.inputs_digest, compared=compared)
                run.output.create(DIVISION, division.to_json())
        except OutputInUse:
            progress.current = "waiting for the slice that divides the source"
            time.sleep(0.5 + part.number / part.of)  # not all at the same moment
    return division, _shards_of(run, division, _division(run, part.of))


def _division(
    run: Run, slices: int, *, inputs: str = "", compared: tuple[str, ...] = ()
) -> Division:
    return Division(
        slices=slices,
        recipe=run.graph.recipe,
        shard_size=run.config.shard_size,
        layers="" if run.config.layers is None else place_of(run.config.layers),
        sources=tuple(places(run.sources)),
        readings=tuple(readings_of(run)),
        inputs=inputs,
        remarks=tuple(remarks_of(run)),
        compared=compared,
    )


def _shards_of(run: Run, division: Division, own: Division) -> Partition:
    """Return the shards of a division as the index has them.

    Raises:
        ConfigError: this run has another division.
        StorageError: the index is another one.
    """
    division.refuse_others(own, run.output)
    index = read_index(run.output)
    shards = Partition.of(index, run.sources) if index is not None else None
    if shards is None or shards.inputs_digest != division.inputs:
        raise StorageError(
            f"{run.output.path(INDEX_NAME)} is not as the first slice wrote it: end the slices "
            f"with `florilegium build CONFIG --drop-slices` and begin again, finished shards are "
            f"not made again"
        )
    return shards


def _is_current(run: Run) -> bool:
    """Whether the dataset is finished, with the stages of this run."""
    manifest = read_manifest(run.output)
    is_same = manifest is not None and manifest["recipe"] == run.graph.recipe
    return is_same and not run.output.exists(RECIPE)


def _has_all(run: Run, shards: Partition) -> bool:
    """Whether the dataset is finished and has all that is in the sources now."""
    manifest = read_manifest(run.output)
    if manifest is None or not _is_current(run) or manifest["remarks"] != remarks_of(run):
        return False
    found = survey(run, shards)
    names = [one["name"] for one in manifest["shards"]]
    return not found.jobs and found.done.names == names


def _missing(shards: Sequence[int], slices: int, total: int) -> str:
    """Return which shards are missing and which slices make them."""
    by_slice: dict[int, list[int]] = {}
    for shard in shards:
        by_slice.setdefault(Slice.with_shard(shard, of=slices).number, []).append(shard)
    lines = [
        f"  --slice {number}/{slices}: {_listed(by_slice[number])}"
        for number in sorted(by_slice)[:_MAX_NAMED]
    ]
    if len(by_slice) > _MAX_NAMED:
        lines.append(f"  and {len(by_slice) - _MAX_NAMED} more slices")
    what = f"{len(shards)} of {counted(total, 'shard')} are missing"
    cure = "run `florilegium build CONFIG` again with"
    return "\n".join((f"{what}: {cure}", *lines, "and then with --finish"))


def _listed(shards: Sequence[int]) -> str:
    shown = ", ".join(f"{shard:06d}" for shard in shards[:_MAX_NAMED])
    more = f" and {len(shards) - _MAX_NAMED} more" if len(shards) > _MAX_NAMED else ""
    return f"{counted(len(shards), 'shard')} ({shown}{more})"

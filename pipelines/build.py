"""Building a dataset: run the engine, show how it goes, and put in place what people read."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from florilegium.engine.core.errors import StorageError
from florilegium.engine.execution.observer import RunFinished
from florilegium.engine.execution.preparation import Run, refuse_caveats
from florilegium.engine.execution.progress import Progress
from florilegium.engine.execution.run import execute
from florilegium.engine.execution.slices import end_slices, execute_slice, gather, join_logs
from florilegium.engine.planning.fingerprint import FORMAT_VERSION
from florilegium.engine.planning.slices import Slice
from florilegium.engine.results.comparison import COMPARED
from florilegium.engine.results.dataset import manifest_of
from florilegium.engine.results.finished_shards import refuse_vanished, stats_named
from florilegium.engine.results.manifest import DEAD_LETTERS, MANIFEST, Manifest
from florilegium.engine.results.publication import FileStats
from florilegium.engine.results.shard_table import ShardTable
from florilegium.engine.results.versions import (
    Retention,
    live_beside,
    remember,
    replace_manifest,
    switch,
    version_files,
)
from florilegium.engine.storage.folder import Folder
from florilegium.engine.storage.lease import DIVISION, PARTS, writing, writing_part
from florilegium.engine.storage.side_by_side import side_by_side
from florilegium.pipelines.dataset.card import write_card
from florilegium.pipelines.dataset.files import (
    CARD,
    LINEAGE,
    RUN,
    UNTIL_PUBLISHED,
    named_by_manifest,
)
from florilegium.pipelines.dataset.resolved import resolved_config
from florilegium.pipelines.dataset.takedown import begin, complete
from florilegium.pipelines.telemetry.observers import Parent, watched
from florilegium.pipelines.terminal.progress import shown


def build_dataset(
    run: Run,
    *,
    retry: bool = False,
    replace: bool = False,
    check: bool = False,
    step: str = "",
    parent: Parent | None = None,
) -> Manifest:
    """Build what is missing of a dataset, with its report; whatever was lost on the way.

    With `check`, finished shards are read, and made again where they are damaged. `step` is shown
    with the progress; `parent` is the command that the run belongs to.

    Raises:
        OutputInUse: another command writes the output.
        RunError: so many images fail that the limit cannot be kept, or the workers cannot go on.
        StorageError: a file cannot be written.
    """
    refuse_caveats(run)  # before anything is written
    progress = Progress(step=step)
    seen = watched(run, progress, parent=parent)  # before anything is written, too
    with writing(run.output) as lease, shown(progress), seen as observer:
        manifest = execute(
            run, progress, retry=retry, replace=replace, check=check, observer=observer
        )
        progress.current = "writing card and report"
        put_in_place(run, manifest, before_switch=lease.check)
        observer.observe(RunFinished(manifest=manifest))
    return manifest


def build_slice(
    run: Run, part: Slice, *, retry: bool = False, replace: bool = False, check: bool = False
) -> Manifest | None:
    """Build what is missing of a slice of a dataset; return a manifest of its shards, for counting,
    or `None` when a finished dataset has all of the source already.

    Raises:
        OutputInUse: another command builds this slice, or writes the whole output.
        ConfigError: slices of another division are under way.
        RunError: so many images of the slice fail that the limit cannot be kept, or the workers
            cannot go on.
        StorageError: a file cannot be written.
    """
    refuse_caveats(run)  # before anything is written
    progress = Progress(step=f"slice {part}")
    seen = watched(run, progress, folder=Folder(f"{run.output.url}/{PARTS}/{part.number}"))
    with writing_part(run.output, part.number) as lease, shown(progress), seen as observer:
        manifest = execute_slice(
            run, part, progress, retry=retry, replace=replace, check=check, observer=observer
        )
        lease.check()
        observer.observe(RunFinished(manifest=None))
    return manifest


def finish_slices(run: Run, *, check: bool = False) -> Manifest | None:
    """Put in place the dataset whose slices are all built; `None` when that was done before.

    Raises:
        OutputInUse: a slice is being built, or another command writes the output.
        RunError: shards are missing; the message names their slices.
        UsageError: no slices are under way, or those of another config.
        StorageError: a file cannot be written.
    """
    progress = Progress(step="end of the slices", current="gathering the shards")
    seen = watched(run, progress)
    with writing(run.output, ends_parts=True) as lease, shown(progress), seen as observer:
        manifest = gather(run, check=check)
        if manifest is not None:
            join_logs(run.output)  # before images that were taken down are deleted from the log
            progress.current = "writing card and report"
            put_in_place(run, manifest, before_switch=lease.check)
        end_slices(run.output)
        observer.observe(RunFinished(manifest=manifest))
    return manifest


def drop_slices(output: Folder) -> bool:
    """End slices that are under way, whether they are whole or not; return whether there were any.

    Finished shards are kept: the next build, by slices or not, takes them over.

    Raises:
        OutputInUse: a slice is being built, or another command writes the output.
    """
    with writing(output, ends_parts=True):
        were_there = output.exists(DIVISION)
        end_slices(output)
    return were_there


def put_in_place(
    run: Run,
    manifest: Manifest,
    *,
    before_switch: Callable[[], None] = lambda: None,
    beside: Callable[[], None] = lambda: None,
) -> None:
    """Write what stands beside the shards, then switch; write nothing when nothing is new.

    `beside` writes what the manifest does not name.
    """
    whole = _drawn_if_new(run, manifest, before_switch=before_switch)
    beside()
    finish(run, whole, before_switch=before_switch)


def _drawn_if_new(run: Run, manifest: Manifest, *, before_switch: Callable[[], None]) -> Manifest:
    """Write what stands beside the shards; return the manifest that names it, not yet written."""
    output, config = run.output, resolved_config(run)
    is_same_run = output.read(RUN) == config
    current = current_of(manifest)
    if is_same_run and current and _is_whole(current, output):
        return current
    before_switch()  # nothing is written over what another command wrote meanwhile
    if not is_same_run:
        output.publish(RUN, config)
    return _drawn(output, manifest, before_card=before_switch)


def current_of(manifest: Manifest) -> Manifest | None:
    """Return a manifest with the files that the one in place names, if a dataset has that already;
    the files that it will name do not count."""
    version = manifest.beside.version
    current = manifest if manifest.files == version.files else manifest.with_files(version.files)
    return current if current.file_sha256 == version.manifest else None


def finish(run: Run, manifest: Manifest, *, before_switch: Callable[[], None]) -> None:
    """Switch to a manifest, by which a dataset is known to be finished; then no version is held
    back any more."""
    output, beside = run.output, manifest.beside
    before_switch()
    if output.read(DEAD_LETTERS) != manifest.dead_letters_file:
        output.publish(DEAD_LETTERS, manifest.dead_letters_file)
    is_as_left = _is_as_left(output, manifest)
    listed = None if is_as_left else refuse_vanished(output, manifest.shards, beside.shards)
    if listed is not None:  # that took its time
        before_switch()
    if begin(run, manifest):
        listed = listed or refuse_vanished(output, manifest.shards, beside.shards)
        before_switch()
    kept = Retention(versions=run.config.keep_versions, days=run.config.keep_days)
    switch(output, manifest, kept, is_in_place=listed is None)
    names = output.names()
    if COMPARED in names:  # before a takedown is complete: they have what was taken down
        _remove_stale_comparisons(output, manifest)
    complete(output, manifest, kept)
    for name in UNTIL_PUBLISHED.intersection(names):
        output.remove(name)
    if listed:  # at last: what it has of images that were taken down is deleted until then
        remember(output, manifest, listed)


def _remove_stale_comparisons(output: Folder, manifest: Manifest) -> None:
    """Delete the comparisons of other versions: they only save measuring again."""
    for file in {f"{COMPARED}/{name}" for name in output.names(COMPARED)}.difference(
        manifest.comparisons
    ):
        output.remove(file)


def _is_as_left(output: Folder, manifest: Manifest) -> bool:
    """Whether all shards and manifests are those that the state of the dataset has, and each shard
    is one of a version: that of a version which was held back is none, now that this one is made.
    """
    beside = manifest.beside
    if not manifest.is_as_left or version_files(output) != list(beside.earlier):
        return False
    if beside.shards and not live_beside(output, manifest).issuperset(beside.shards.names):
        return False
    found = FileStats.of_snapshot(output, MANIFEST)
    return found is not None and found.sha256 == manifest.file_sha256


def draw_again(output: Folder) -> None:
    """Write card, report and statistics of a finished dataset anew; its manifest names them.

    Raises:
        OutputInUse: another command writes the output.
        UsageError: the dataset is not finished.
        StorageError: the manifest or a shard cannot be read.
    """
    with writing(output) as lease:
        document = manifest_of(output)
        names = [shard["name"] for shard in document["shards"]]
        whole = ShardTable.of(stats for stats in stats_named(output, names) if stats)
        if len(whole) < len(names) or document["format"] != FORMAT_VERSION:
            raise StorageError(
                f"{output.url} has damaged statistics, or was written by an earlier version: run "
                f"the same build again, it makes what is needed anew"
            )
        manifest = _drawn(output, Manifest.from_document(document, whole), before_card=lease.check)
        replace_manifest(output, manifest.to_json())


def _drawn(output: Folder, manifest: Manifest, *, before_card: Callable[[], None]) -> Manifest:
    """Write card, report and statistics; return the manifest that names them."""
    from florilegium.pipelines.report.page import write_report

    files = write_report(output, manifest.shards)
    before_card()
    files[CARD] = write_card(output, manifest)
    if output.exists(LINEAGE):
        files[LINEAGE] = FileStats.read(output, LINEAGE)
    return manifest.with_files(files)


def _is_whole(manifest: Manifest, output: Folder) -> bool:
    """Whether the files beside the shards are there, all of them, as a manifest names them."""
    look = partial(_is_as_named, output)
    return manifest.files.keys() == named_by_manifest(output) and all(
        side_by_side(look, manifest.files.items())
    )


def _is_as_named(output: Folder, named: tuple[str, FileStats]) -> bool:
    """Whether a file is there as a manifest names it; what cannot be read is written again."""
    name, file = named
    try:
        return FileStats.read(output, name) == file
    except StorageError:
        return False

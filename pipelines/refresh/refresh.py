"""One refresh: build what changed, compare it with the version before, publish it or hold it back.

Until the switch, readers have the version before, whole. A version that is held back has all its
shards and layers: the next refresh goes on from them, and one that accepts it repeats no work.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

from florilegium.engine.core.errors import OutputInUse, StorageError
from florilegium.engine.core.redaction import redacted
from florilegium.engine.execution.finished import Before
from florilegium.engine.execution.observer import RunFinished
from florilegium.engine.execution.preparation import Run, refuse_caveats
from florilegium.engine.execution.progress import Progress
from florilegium.engine.execution.run import execute
from florilegium.engine.planning.fingerprint import FORMAT_VERSION
from florilegium.engine.planning.index import Index
from florilegium.engine.planning.kept_places import keep_places
from florilegium.engine.results.dataset import Dataset
from florilegium.engine.results.manifest import RECIPE, Manifest, read_manifest
from florilegium.engine.results.versions import remember_held_back
from florilegium.engine.storage.folder import Folder
from florilegium.engine.storage.lease import Lease, writing
from florilegium.pipelines.build import current_of, put_in_place
from florilegium.pipelines.dataset.files import HELD_BACK, HELD_BACK_PAGE, REFRESH, REFRESH_PAGE
from florilegium.pipelines.dataset.refreshed import (
    ImageCounts,
    Refreshed,
    VersionCost,
    read_refreshed,
    version_of,
)
from florilegium.pipelines.refresh.changes import Changes, compare_versions
from florilegium.pipelines.refresh.drift import COLUMNS, Distributions, drifts
from florilegium.pipelines.refresh.limits import exceeded, too_many_lost
from florilegium.pipelines.refresh.notify import check_hooks, notify
from florilegium.pipelines.refresh.options import RefreshOptions
from florilegium.pipelines.refresh.spending import Spending
from florilegium.pipelines.telemetry.observers import watched
from florilegium.pipelines.terminal.progress import shown


@dataclass(frozen=True, kw_only=True)
class Finished:
    """The record of a refresh, and the manifest of the version that it made."""

    record: Refreshed
    manifest: Manifest


def refresh_dataset(
    run: Run,
    options: RefreshOptions,
    *,
    accept: bool = False,
    retry: bool = False,
    replace: bool = False,
    check: bool = False,
    on_problem: Callable[[str], None] = lambda _: None,
) -> Finished:
    """Bring a dataset up to date, unless what is new exceeds a limit; then call the hooks.

    With `accept`, the version that was held back is published. If the source has changed since, it
    is another version, and is held back in its turn if it exceeds a limit. `on_problem` gets a line
    for each hook that failed.

    Raises:
        ConfigError: a hook needs what is not there, or the run cannot be made.
        OutputInUse: another command writes the output.
        RunError: so many images fail that the limit cannot be kept, or the workers cannot go on.
        StorageError: a file cannot be read or written.
    """
    check_hooks(options.notify)
    refuse_caveats(run)  # before anything is written
    spending = Spending(run.output)
    try:
        finished = _refresh(
            run, options, spending, accept=accept, retry=retry, replace=replace, check=check
        )
    except OutputInUse:  # another refresh is at work, and has hooks of its own
        raise
    except Exception as error:
        _call(run, options, _failed(run, error, spending.spent), on_problem)
        raise
    _call(run, options, finished.record, on_problem)
    return finished


def _call(
    run: Run, options: RefreshOptions, record: Refreshed, on_problem: Callable[[str], None]
) -> None:
    """Call the hooks after the lease is released: a slow hook blocks no other command."""
    for problem in notify(options.notify, record.summary(redacted(run.output.url))):
        on_problem(problem)


def _failed(run: Run, error: Exception, spent: VersionCost) -> Refreshed:
    """Return the record of a refresh that an error ended: the current version stays."""
    images = 0
    with suppress(StorageError):  # it may be what failed
        images = ((read_manifest(run.output) or {}).get("totals") or {}).get("samples", 0)
    return Refreshed(
        outcome="failed",
        images=ImageCounts(before=images, after=images),
        spent=spent,
        error=redacted(f"{type(error).__name__}: {error}"),
    )


def _refresh(
    run: Run,
    options: RefreshOptions,
    spending: Spending,
    *,
    accept: bool,
    retry: bool,
    replace: bool,
    check: bool,
) -> Finished:
    progress = Progress(step="refresh")
    seen = watched(run, progress, required=(spending,))  # before anything is written, too
    with writing(run.output) as lease, shown(progress), seen as observer:
        before = Before.of(run.output)
        spending.resume(before.found.version.digest)
        held = read_refreshed(run.output, HELD_BACK)
        try:
            manifest = execute(
                run,
                progress,
                retry=retry,
                replace=replace,
                check=check,
                observer=observer,
                before=before,
            )
        except BaseException:
            keep_places(run.output, before.index)  # what is gone for the moment may come back
            raise
        spent = spending.spent
        if current := current_of(manifest):
            record = _nothing(run, current, lease, spent)
            observer.observe(RunFinished(manifest=manifest))
            return Finished(record=record, manifest=manifest)
        progress.current = "comparing with the version before"
        published = _current(run.output)
        record = _compared(run.output, published, manifest, spent)
        beyond = (
            *(exceeded(record, options.limits) if published else ()),
            *(too_many_lost(manifest, run.config.max_dead_letter_share) if published else ()),
        )
        record = dataclasses.replace(record, exceeded=beyond)
        is_accepted = accept and held is not None and held.version == record.version
        if beyond and not is_accepted:
            record = dataclasses.replace(record, outcome="held_back")
            spending.store()
            _hold_back(run.output, manifest, record, before.index, lease)
            observer.observe(RunFinished(manifest=None, is_held_back=True))
        else:
            record = dataclasses.replace(record, outcome="published", is_accepted=bool(beyond))
            progress.current = "writing card and report"
            _publish(run, manifest, record, lease)
            observer.observe(RunFinished(manifest=manifest))
    return Finished(record=record, manifest=manifest)


def _nothing(run: Run, manifest: Manifest, lease: Lease, spent: VersionCost) -> Refreshed:
    """Leave a dataset that is up to date as it is, but for files that were damaged."""
    put_in_place(run, manifest, before_switch=lease.check)
    images = ImageCounts(before=manifest.totals.samples, after=manifest.totals.samples)
    version = manifest.content_digest
    return Refreshed(
        outcome="nothing",
        version=version,
        before=version,
        images=images,
        dead_letters=dict.fromkeys(("before", "after"), manifest.totals.failures),
        spent=spent,
    )


def _publish(run: Run, manifest: Manifest, record: Refreshed, lease: Lease) -> None:
    """Make a version the current one; its record is written before, as it says of which version it
    is, and can be written again."""
    write = partial(_write, run.output, record, REFRESH, REFRESH_PAGE)
    put_in_place(run, manifest, before_switch=lease.check, beside=write)


def _hold_back(
    output: Folder, manifest: Manifest, record: Refreshed, index: Index | None, lease: Lease
) -> None:
    """Keep a version without publishing it: the current one stays, and is finished."""
    lease.check()
    keep_places(output, index)
    _write(output, record, HELD_BACK, HELD_BACK_PAGE)
    remember_held_back(output, manifest)
    output.remove(RECIPE)  # at last: until then, the refresh can be known as interrupted


def _write(output: Folder, record: Refreshed, name: str, page: str) -> None:
    from florilegium.pipelines.report.refresh_page import write_refresh_page

    output.publish(name, record.to_json())
    write_refresh_page(output, record, page)


def _current(output: Folder) -> Mapping[str, Any] | None:
    """Return the current manifest; `None` where there is none, or one of another format, whose
    shards are all made again and cannot be compared."""
    document = read_manifest(output)
    return document if document and document["format"] == FORMAT_VERSION else None


def _compared(
    output: Folder, before: Mapping[str, Any] | None, manifest: Manifest, spent: VersionCost
) -> Refreshed:
    """Return the record of a version, its outcome still open."""
    document = manifest.to_document()
    after = Dataset(folder=output, manifest=document)
    old = Dataset(folder=output, manifest=before or _empty(document))
    found = compare_versions(old, after)
    totals = old.manifest["totals"]
    letters = (letter for _, letter in manifest.dead_letters)
    old_counts, new_counts, of_new = _distributions(old, after, found)
    return Refreshed(
        outcome="published",
        version=manifest.content_digest,
        before=version_of(before) if before else "",
        images=found.images(totals["samples"], manifest.totals.samples, letters),
        annotations=found.tasks(totals["tasks"], manifest.totals.tasks),
        drift=drifts(old_counts, new_counts, of_new),
        dead_letters={"before": totals["failures"], "after": manifest.totals.failures},
        spent=spent,
        examples=found.examples(),
        shards_read=len(found.old) + len(found.new),
        distributions=new_counts.to_json(),
    )


def _distributions(
    old: Dataset, after: Dataset, found: Changes
) -> tuple[Distributions, Distributions, Distributions]:
    """Return the distributions of the version before, of the new one, and of what is new in it.

    Those of the version before are in its record; without one, all its shards are read.
    """
    stored = _stored(old)
    before = Distributions(stored)
    if stored is None:
        for shard in old.shards:
            before.add(old.table(shard, COLUMNS))
    now, of_new = Distributions(before.to_json()), Distributions()
    for shard in found.old:
        now.add(old.table(shard, COLUMNS), sign=-1)
    for shard in found.new:
        table = after.table(shard, COLUMNS)
        now.add(table)
        keys = sorted(found.touched.get(shard, ()))
        of_new.add(_of_keys(table, keys))
    return before, now, of_new


def _of_keys(table: Any, keys: list[str]) -> Any:
    import pyarrow as pa
    import pyarrow.compute as pc

    return table.filter(pc.is_in(table.column("key"), pa.array(keys, pa.string())))


def _stored(old: Dataset) -> Mapping[str, Mapping[str, int]] | None:
    """Return the histograms of a version from the record of its refresh; `None` where a build made
    it, which writes none."""
    if not old.shards:
        return {}
    record = read_refreshed(old.folder, REFRESH)
    if record is None or record.version != version_of(old.manifest):
        return None
    return record.distributions


def _empty(document: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a manifest without shards: before the first version."""
    totals = {"samples": 0, "tasks": {}, "failures": {}}
    return {**document, "shards": [], "totals": totals}

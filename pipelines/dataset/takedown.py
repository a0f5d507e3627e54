"""Deletes what was made of images that were taken down, and writes the receipt.

`begin` runs when the shards of the next version are written, `complete` when the manifest names
them; in between, readers see the version before. A takedown that was killed is completed by the
next build.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial

from florilegium.engine.core.errors import DamagedFile, StorageError
from florilegium.engine.core.sample import DeadLetter
from florilegium.engine.execution.preparation import Run
from florilegium.engine.results.listed import listed_in
from florilegium.engine.results.manifest import (
    Manifest,
    named_shards,
    read_dead_letters,
)
from florilegium.engine.results.publication import SHARDS, finished_names, read_stats
from florilegium.engine.results.state import STATE
from florilegium.engine.results.takedowns import (
    PENDING,
    Match,
    Receipt,
    by_name,
    complete_receipt,
    has_other_lists,
    list_in_effect,
    put_in_effect,
    read_pending,
    read_receipts,
    tidy,
)
from florilegium.engine.results.versions import (
    Retention,
    remove_stale,
    version_files,
    whole_manifests,
)
from florilegium.engine.sources.takedown import TAKEN_DOWN, Takedown, names_in
from florilegium.engine.storage.folder import Folder
from florilegium.engine.storage.side_by_side import side_by_side
from florilegium.pipelines.corrections.store import strip_corrections
from florilegium.pipelines.dataset.bases import Bases
from florilegium.pipelines.dataset.takedown_layers import Held, TakenLayers
from florilegium.pipelines.dataset.takedown_lines import strip_audit, strip_log
from florilegium.pipelines.dataset.takedown_rounds import checkpoints_of, clear_round, rounds_left


def begin(run: Run, manifest: Manifest) -> bool:
    """Delete from layers and logs what was made of listed images; `manifest` is the next one.
    Return whether anything was to do.

    The state of the dataset is deleted, too: it is about earlier versions. Nothing is done where
    the list is the one before, matches nothing new, and no build with another list was killed: that
    may have answered about images that only this one has.
    """
    if run.takedown is None:
        return False
    history = _History.of(run.output)
    letters = _letters(manifest)
    is_new = run.takedown.digest != history.list_digest or not history.has_all(letters)
    was_other = has_other_lists(run.output, history.previous)
    if history.pending is None and not is_new and not was_other:
        return False
    put_in_effect(run.output, run.takedown)
    held = tuple(_held(run, manifest, letters))
    layers = TakenLayers(run, manifest, held, history.pending)
    history = history.of_list(run, layers)
    receipt = _receipt(run, manifest, held, layers, history)
    run.output.publish(PENDING, receipt.to_json())
    run.output.remove(STATE)
    layers.delete()
    strip_log(run.output, receipt.matched)
    strip_audit(run.output, {one.key for one in receipt.matched})
    strip_corrections(run.output, *_named(receipt.matched))
    for folder in receipt.rounds:
        clear_round(Folder(f"{run.output.url}/{folder}"))
    return True


def _named(matches: Collection[Match]) -> tuple[set[str], set[str]]:
    """Return the keys and the digests of images."""
    return {one.key for one in matches}, {one.sha256 for one in matches if one.sha256}


def complete(output: Folder, manifest: Manifest, retention: Retention) -> None:
    """Delete earlier versions that hold listed images, once the manifest is replaced, and complete
    the receipt."""
    receipt = read_pending(output)
    if receipt is not None:
        _finish(output, manifest, receipt, retention)
    tidy(output)


def _finish(output: Folder, manifest: Manifest, receipt: Receipt, retention: Retention) -> None:
    gone = set(receipt.shards)
    for path in version_files(output):
        if not gone.isdisjoint(named_shards(output, path)):
            output.remove(path)
    remove_stale(output, retention, current=manifest)
    complete_receipt(output, replace(receipt, version=manifest.digest))


@dataclass(frozen=True, kw_only=True)
class _History:
    """The takedowns of a dataset so far: the entries that matched each key, the last list."""

    receipts: tuple[Receipt, ...]
    pending: Receipt | None
    known: Mapping[str, frozenset[str]]
    previous: Takedown

    @classmethod
    def of(cls, output: Folder) -> _History:
        receipts = tuple(read_receipts(output))
        known: dict[str, frozenset[str]] = {}
        for receipt in receipts:
            withdrawn = frozenset(receipt.withdrawn)
            known = {key: left for key, one in known.items() if (left := one - withdrawn)}
            known |= {one.key: frozenset(one.entries) for one in receipt.matched}
        return cls(
            receipts=receipts,
            pending=read_pending(output),
            known=known,
            previous=list_in_effect(output),
        )

    def of_list(self, run: Run, layers: TakenLayers) -> _History:
        """Return it without what an interrupted takedown found, by another list, of images that are
        no longer listed, but for what is deleted already."""
        assert run.takedown is not None
        if self.pending is None or self.pending.list_digest == run.takedown.digest:
            return self
        stored = {name for names in _stored(run.output).values() for name in names}
        digests = {one["digest"] for one in whole_manifests(run.output)}
        matched = tuple(
            replace(one, entries=tuple(listed))
            for one in self.pending.matched
            if (listed := [entry for entry in one.entries if entry in run.takedown.entries])
        )
        still = {one.shard for one in matched}
        pending = replace(
            self.pending,
            matched=matched,
            withdrawn=(),
            shards=tuple(one for one in self.pending.shards if one in still or one not in stored),
            versions=tuple(one for one in self.pending.versions if one not in digests),
            samples=tuple(sorted(layers.gone.intersection(self.pending.samples))),
        )
        return replace(self, pending=pending)

    @property
    def list_digest(self) -> str:
        """The digest of the last list; that of an empty one at first."""
        return self.previous.digest

    def has_all(self, letters: Mapping[str, DeadLetter]) -> bool:
        """Whether all images that were taken down have a receipt."""
        return letters.keys() <= self.known.keys()

    @property
    def number(self) -> int:
        """The number of the next receipt."""
        return self.receipts[-1].number + 1 if self.receipts else 1


def _letters(manifest: Manifest) -> dict[str, DeadLetter]:
    """Return the dead letters of listed images, by key."""
    return {one.key: one for _, one in manifest.dead_letters if one.reason == TAKEN_DOWN}


def keys_taken_down(output: Folder) -> set[str]:
    """Return the keys of the images that were taken down from a finished dataset."""
    return {row["key"] for row in read_dead_letters(output) if row["reason"] == TAKEN_DOWN}


def _held(run: Run, manifest: Manifest, letters: Mapping[str, DeadLetter]) -> Iterator[Held]:
    """Yield shards of earlier versions, and of builds that never ended, that hold listed images, or
    the images of these dead letters; they are looked at side by side."""
    assert run.takedown is not None
    current = set(manifest.shards.names)
    bases = Bases(run.output, manifest.source, current)
    others = [
        (name, bases.of(name))
        for names in _stored(run.output).values()
        for name in names
        if name not in current
    ]
    look = partial(_look, run.output, run.takedown, letters)
    yield from (one for one in side_by_side(look, others) if one)


def _look(
    output: Folder,
    takedown: Takedown,
    letters: Collection[str],
    shard: tuple[str, Collection[str]],
) -> Held | None:
    """Return a shard if it holds listed images, or cannot be read: of such a one, nothing is kept.
    `shard` is its name, and the folders that the locations of its inputs may be relative to."""
    name, bases = shard
    stats = read_stats(output, name)
    digest = stats.samples_digest if stats else ""
    matches: tuple[Match, ...] = ()
    try:
        matches = tuple(listed_in(output, stats, takedown, bases, letters)) if stats else ()
    except StorageError as error:
        if not isinstance(error, DamagedFile) and output.exists(f"{SHARDS}/{name}.tar"):
            raise  # an outage: what it holds is not known
        stats = None
    if stats is not None and not matches:
        return None
    return Held(name=name, samples_digest=digest, matches=matches)


def _stored(output: Folder) -> dict[int, list[str]]:
    """Return the names of all finished shards, of all versions, by number."""
    return finished_names(sorted(output.names(SHARDS)))


def _receipt(
    run: Run,
    manifest: Manifest,
    held: Collection[Held],
    layers: TakenLayers,
    history: _History,
) -> Receipt:
    """Return the receipt of what will be deleted, with what an interrupted takedown found."""
    assert run.takedown is not None
    entries = by_name(run.takedown.entries)
    letters = _letters(manifest)
    listed = {
        key: {entries[one] for one in names_in(letters[key]) if one in entries} for key in letters
    }
    matches = [
        replace(one, entries=tuple(sorted({*one.entries, *listed.get(one.key, ())})))
        for shard in held
        for one in shard.matches
    ]
    keys = {one.key for one in matches} | history.known.keys()
    matches += [
        Match(entries=tuple(sorted(listed[key])), key=key, source=letters[key].source)
        for key in sorted(letters.keys() - keys)
    ]
    shards = {one.name for one in held}
    hit = {entry for one in matches for entry in one.entries}
    hit |= {entry for found in listed.values() for entry in found}
    hit |= {entry for found in history.known.values() for entry in found}
    receipt = Receipt(
        number=history.number,
        list_digest=run.takedown.digest,
        entries=len(run.takedown.entries),
        matched=tuple(sorted(matches, key=lambda one: (one.key, one.shard))),
        unmatched=tuple(sorted(run.takedown.entries - history.previous.entries - hit)),
        withdrawn=tuple(sorted(history.previous.entries - run.takedown.entries)),
        shards=tuple(sorted(shards)),
        versions=tuple(sorted(_versions_with(run.output, shards))),
        layers=tuple(sorted(layers.affected)),
        reading_receipts=tuple(sorted(layers.readings)),
        samples=tuple(sorted(layers.gone)),
        log_lines=strip_log(run.output, matches, is_dry=True),
        audit_lines=strip_audit(run.output, {one.key for one in matches}, is_dry=True)
        + strip_corrections(run.output, *_named(matches), is_dry=True),
        rounds=tuple(rounds_left(run.output)),
        checkpoints=tuple(checkpoints_of(run.output, layers.root, was_there=bool(held))),
        not_reached=tuple(_not_reached(run, is_own=layers.root is not None)),
    )
    return receipt.joined(history.pending) if history.pending else receipt


def _versions_with(output: Folder, shards: Collection[str]) -> Iterator[str]:
    """Yield the digests of the manifests that name one of these shards."""
    for manifest in whole_manifests(output):
        if not {shard["name"] for shard in manifest["shards"]}.isdisjoint(shards):
            yield manifest["digest"]


def _not_reached(run: Run, *, is_own: bool) -> Iterator[str]:
    yield "the source itself: the images are still there unless their owner deleted them"
    yield "exports and other copies of the dataset outside of its folder: make them again"
    yield "models outside of the dataset that were trained on an earlier version of it"
    if not run.output.is_local:
        yield "earlier versions of objects, where the storage keeps them"
    if not is_own:
        yield (
            "layers elsewhere that only other datasets needed: build those with the same list, too"
        )
        yield (
            "layers elsewhere of builds that were killed before their shards were written: delete "
            "that folder where no dataset needs it"
        )

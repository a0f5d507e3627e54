"""Deletes what was made of images that were taken down, and writes the receipt.

`begin` runs when the shards of the next version are written, `complete` when the manifest names
them; in between, readers see the version before. A takedown that was killed is completed by the
next build.

A layer does not name images, only digests of samples. Those that an earlier shard had and its
successor has not are taken out of every layer, of any stage and gate; a layer keeps its answers
about all others, failures included, so no stage is asked again. Layers in the dataset itself that
belong to no shard of it any more are deleted: they may be about an image that the source had once.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

from engine.core.errors import StorageError
from engine.core.sample import DeadLetter, digest_of
from engine.execution.log import LOG
from engine.execution.run import Run
from engine.planning.config import LAYERS
from engine.results.layer import DAMAGE, layer_bytes, parse_layer, parse_metadata
from engine.results.layer_store import schema_of_layer
from engine.results.listed import listed_in
from engine.results.manifest import MANIFEST, Manifest, named_shards, read_manifest
from engine.results.publication import (
    SHARDS,
    finished_names,
    read_stats,
    samples_of_reading,
)
from engine.results.takedowns import (
    PENDING,
    Match,
    Receipt,
    by_name,
    complete_receipt,
    list_in_effect,
    put_in_effect,
    read_pending,
    read_receipts,
    tidy,
)
from engine.results.versions import Retention, remove_stale, version_files
from engine.sources.source import RECEIPTS
from engine.sources.takedown import TAKEN_DOWN, Takedown, names_in
from engine.storage.documents import parse_json
from engine.storage.folder import Folder
from engine.untrusted.escaped import escaped
from pipelines.dataset.clean import datasets_in, manifests_of
from pipelines.dataset.find import bases_of
from pipelines.dataset.lineage import CANDIDATES, ROUNDS

AUDIT_FILE = f"{CANDIDATES}/audit.jsonl"
"""The file of an audit, within the dataset of a round."""
_ENTRY = re.compile(r"(?=^\S)", re.MULTILINE)
"""Where an entry of the log begins: its other lines are indented."""


@dataclass(frozen=True, kw_only=True)
class _Held:
    """A shard of an earlier version that held listed images, or that cannot be read."""

    name: str
    samples_digest: str
    matches: tuple[Match, ...]


def begin(run: Run, manifest: Manifest) -> None:
    """Delete from layers and logs what was made of listed images; `manifest` is the next one.

    Nothing is done where the list is the one before, and matches nothing new.
    """
    if run.takedown is None:
        return
    history = _History.of(run.output)
    letters = _letters(manifest)
    is_new = run.takedown.digest != history.list_digest or not history.has_all(letters)
    if history.pending is None and not is_new:
        return
    put_in_effect(run.output, run.takedown)
    held = tuple(_held(run, manifest, letters))
    layers = _Layers(run, manifest, held, history.pending)
    receipt = _receipt(run, manifest, held, layers, history)
    run.output.publish(PENDING, receipt.to_json())
    layers.delete()
    _strip_log(run.output, receipt.matched)
    _strip_audit(run.output, receipt.matched)


def complete(output: Folder, retention: Retention) -> None:
    """Delete earlier versions that hold listed images, once the manifest is replaced, and complete
    the receipt."""
    receipt = read_pending(output)
    if receipt is not None:
        _finish(output, receipt, retention)
    tidy(output)


def _finish(output: Folder, receipt: Receipt, retention: Retention) -> None:
    gone = set(receipt.shards)
    for path in version_files(output):
        if not gone.isdisjoint(named_shards(output, path)):
            output.remove(path)
    remove_stale(output, retention)
    manifest = read_manifest(output) or {}
    complete_receipt(output, replace(receipt, version=manifest["digest"]))


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


def _held(run: Run, manifest: Manifest, letters: Mapping[str, DeadLetter]) -> Iterator[_Held]:
    """Yield shards of earlier versions, and of builds that never ended, that hold listed images, or
    the images of these dead letters."""
    assert run.takedown is not None
    current = {shard.name for shard in manifest.shards}
    bases = bases_of(run.output)
    for number, names in finished_names(sorted(run.output.names(SHARDS))).items():
        near = {bases[number]} if number in bases else set(bases.values())
        for name in names:
            if name in current:
                continue
            stats = read_stats(run.output, name)
            digest = stats.samples_digest if stats else ""
            try:
                found = listed_in(run.output, stats, run.takedown, near, letters) if stats else ()
                matches = tuple(found)
            except StorageError:
                stats, matches = None, ()
            if matches or stats is None:  # of one that cannot be read, nothing is kept
                yield _Held(name=name, samples_digest=digest, matches=matches)


def _receipt(
    run: Run,
    manifest: Manifest,
    held: Collection[_Held],
    layers: _Layers,
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
        log_lines=_strip_log(run.output, matches, is_dry=True),
        audit_lines=_strip_audit(run.output, matches, is_dry=True),
        not_reached=tuple(_not_reached(run, is_own=layers.root is not None)),
    )
    return receipt.joined(history.pending) if history.pending else receipt


def _versions_with(output: Folder, shards: Collection[str]) -> Iterator[str]:
    """Yield the digests of the manifests that name one of these shards."""
    for path in (MANIFEST, *version_files(output)):
        if not set(shards).isdisjoint(named_shards(output, path)):
            yield (read_manifest(output, path) or {})["digest"]


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


class _Layers:
    """The stored layers, and which of them have answers about samples that must go.

    `root` is the dataset in which they lie, `None` where they lie elsewhere and others may need
    them.
    """

    def __init__(
        self, run: Run, manifest: Manifest, held: Collection[_Held], pending: Receipt | None
    ) -> None:
        self._folder = run.layers
        self._stored = {name: run.layers.names(name) for name in run.layers.names()}
        self._samples: dict[str, list[str] | None] = {}
        self._new = {shard.number: shard.samples_digest for shard in manifest.shards}
        self.root = _root_of(run)
        self._old = {one.samples_digest for one in held}
        self.gone = frozenset(pending.samples if pending else ()) | {
            sample for one in held for sample in self._gone_from(one)
        }
        self._live = self._live_digests({one.name for one in held})

    def _gone_from(self, held: _Held) -> set[str]:
        """Return the digests of samples that a shard had and that its successor has not."""
        successor = self._new.get(int(held.name.partition("-")[0]), "")
        return set(self._samples_of(held.samples_digest)) - set(self._samples_of(successor))

    def _samples_of(self, digest: str) -> list[str]:
        """Return the digests of the samples of a shard, from any of its layers; none where there
        is no layer, or only damaged ones."""
        if digest not in self._samples:
            folders = (
                folder
                for folder, files in self._stored.items()
                if not folder.startswith(RECEIPTS) and f"{digest}.parquet" in files
            )
            read = (_sample_digests(self._folder, f"{one}/{digest}.parquet") for one in folders)
            self._samples[digest] = next(filter(None, read), None)
        return self._samples[digest] or []

    def _live_digests(self, held: Collection[str]) -> set[str]:
        """Return the digests of shards of the dataset, of its rounds and of their versions."""
        if self.root is None:
            return set(self._new.values())
        return set(self._new.values()) | {
            shard["samples_digest"]
            for dataset in datasets_in(self.root)
            for one in manifests_of(dataset)
            for shard in one["shards"]
            if shard["name"] not in held
        }

    @cached_property
    def affected(self) -> list[str]:
        """The layers that are deleted, or written again."""
        current = set(self._new.values())
        return [
            f"{folder}/{name}"
            for folder, names in self._stored.items()
            if not folder.startswith(RECEIPTS)
            for name in names
            if name.endswith(".parquet")
            and (digest := name.removesuffix(".parquet")) not in current
            and self._goes(digest)
        ]

    def _goes(self, digest: str) -> bool:
        is_stale = self.root is not None and digest not in self._live
        return is_stale or not self.gone.isdisjoint(self._samples_of(digest))

    @cached_property
    def readings(self) -> list[str]:
        """The files that remember which samples came from which inputs, of shards that are gone."""
        return [
            path
            for folder, names in self._stored.items()
            if folder.startswith(RECEIPTS)
            for path in (f"{folder}/{name}" for name in names)
            if self._is_of_old(path)
        ]

    def _is_of_old(self, path: str) -> bool:
        digest = samples_of_reading(self._folder.read(path) or b"")
        is_stale = self.root is not None and digest not in self._live
        return is_stale or (digest in self._old and digest not in self._new.values())

    def delete(self) -> None:
        """Delete what has answers about samples that must go; keep the answers about others."""
        for path in self.affected:
            self._keep_others(path)
            self._folder.remove(path)
        for path in self.readings:
            self._folder.remove(path)

    def _keep_others(self, path: str) -> None:
        """Write a layer again without the samples that must go."""
        try:
            layer, samples = parse_layer(self._folder.read(path) or b"")
        except ValueError:
            return  # damaged: nobody can use it
        kept = [number for number, one in enumerate(samples) if one not in self.gone]
        digests = [samples[number] for number in kept]
        target = digest_of(digests)
        is_wanted = self.root is None or target in self._live
        name = f"{path.partition('/')[0]}/{target}.parquet"
        if not kept or not is_wanted or self._folder.exists(name):
            return
        numbers = {old: new for new, old in enumerate(kept)}
        self._folder.publish(name, layer_bytes(layer.renumbered(numbers), digests), durable=False)


def _sample_digests(folder: Folder, name: str) -> list[str] | None:
    """Return the digests of the samples that a layer is about; `None` where it is damaged."""
    try:
        schema = schema_of_layer(folder, name)
        return None if schema is None else parse_metadata(schema)[1]
    except DAMAGE:
        return None


def _root_of(run: Run) -> Folder | None:
    """Return the dataset whose own the layers are: this one, or the one whose round it is."""
    suffix = f"/{LAYERS}"
    if not run.layers.url.endswith(suffix):
        return None
    root = run.layers.url.removesuffix(suffix)
    is_own = run.output.url == root or run.output.url.startswith(f"{root}/{ROUNDS}/")
    return Folder(root) if is_own else None


def _strip_log(output: Folder, matches: Collection[Match], *, is_dry: bool = False) -> int:
    """Remove the entries of the log that name one of these images; return their number."""
    data = output.read(LOG)
    if not data or not matches:
        return 0
    names = {escaped(name) for one in matches for name in (one.key, one.source) if name}
    named = re.compile(rf"(?<!\w)(?:{'|'.join(map(re.escape, sorted(names)))})(?!\w)")
    entries = [one for one in _ENTRY.split(data.decode("utf-8", "replace")) if one]
    kept = [one for one in entries if not named.search(one)]
    if len(kept) < len(entries) and not is_dry:
        output.publish(LOG, "".join(kept).encode())
    return len(entries) - len(kept)


def _strip_audit(output: Folder, matches: Collection[Match], *, is_dry: bool = False) -> int:
    """Remove the lines about these images from the file of an audit; return their number."""
    data = output.read(AUDIT_FILE)
    if not data or not matches:
        return 0
    keys = {one.key for one in matches}
    lines = data.splitlines(keepends=True)
    kept = [line for line in lines if _key_in(line) not in keys]
    if len(kept) < len(lines) and not is_dry:
        output.publish(AUDIT_FILE, b"".join(kept))
    return len(lines) - len(kept)


def _key_in(line: bytes) -> str:
    """Return the key that a line of an audit names; none where it is no such line."""
    try:
        row = parse_json(line)
    except ValueError:
        return ""
    return str(row.get("key", "")) if isinstance(row, dict) else ""

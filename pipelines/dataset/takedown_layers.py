"""Takes samples out of stored layers, which keep their answers about all others.

A layer does not name images, only digests of samples. Those that an earlier shard had and its
successor has not are taken out of every layer, of any stage and gate; failures stay, so no stage is
asked again. Layers in the dataset itself that belong to no shard of it any more are deleted: they
may be about an image that the source had once.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property

from florilegium.engine.core.sample import digest_of
from florilegium.engine.execution.preparation import Run
from florilegium.engine.execution.readings import readings_of
from florilegium.engine.planning.config import LAYERS
from florilegium.engine.results.layer import DAMAGE, layer_bytes, parse_layer, parse_metadata
from florilegium.engine.results.layer_store import schema_of_layer
from florilegium.engine.results.manifest import Manifest
from florilegium.engine.results.takedowns import Match, Receipt
from florilegium.engine.results.versions import whole_manifests
from florilegium.engine.sources.source import RECEIPTS
from florilegium.engine.storage.folder import Folder
from florilegium.pipelines.dataset.clean import datasets_in
from florilegium.pipelines.dataset.lineage import ROUNDS


@dataclass(frozen=True, kw_only=True)
class Held:
    """A shard of an earlier version that held listed images, or that cannot be read."""

    name: str
    samples_digest: str
    matches: tuple[Match, ...]


class TakenLayers:
    """The stored layers, and which of them have answers about samples that must go.

    `held` are the shards that held listed images, `earlier` is the receipt of an interrupted
    takedown. `root` is the dataset in which the layers lie, `None` where they lie elsewhere
    and others may need them.
    """

    def __init__(
        self, run: Run, manifest: Manifest, held: Collection[Held], earlier: Receipt | None
    ) -> None:
        self._run = run
        self._folder = run.layers
        self._stored = {name: run.layers.names(name) for name in run.layers.names()}
        self._samples: dict[str, list[str]] = {}
        self._new = dict(manifest.shards.rows("number", "samples_digest"))
        self.root = _root_of(run)
        found = {sample for one in held for sample in self._gone_from(one)}
        self.gone = frozenset(found | (self._still_gone(earlier) if earlier else set()))
        self._live = self._live_digests({one.name for one in held})

    def _gone_from(self, held: Held) -> set[str]:
        """Return the digests of samples that a shard had and that its successor has not."""
        return set(self._samples_of(held.samples_digest)) - self._successor_of(held.name)

    def _still_gone(self, earlier: Receipt) -> set[str]:
        """Return what an interrupted takedown found, but for samples that are there again."""
        return set(earlier.samples).difference(*map(self._successor_of, earlier.shards))

    def _successor_of(self, shard: str) -> set[str]:
        """Return the digests of the samples of the shard that takes the place of one."""
        return set(self._samples_of(self._new.get(int(shard.partition("-")[0]), "")))

    def _samples_of(self, digest: str) -> list[str]:
        """Return the digests of the samples of a shard, from any layer that has all of them; else,
        as where a build was killed, of those that its layers have."""
        if digest not in self._samples:
            folders = (
                folder
                for folder, files in self._stored.items()
                if not folder.startswith(RECEIPTS) and f"{digest}.parquet" in files
            )
            found: dict[str, None] = {}
            for folder in folders:
                samples = _sample_digests(self._folder, f"{folder}/{digest}.parquet")
                found |= dict.fromkeys(samples)
                if digest_of(samples) == digest:
                    found = dict.fromkeys(samples)
                    break
            self._samples[digest] = list(found)
        return self._samples[digest]

    def _live_digests(self, held: Collection[str]) -> set[str]:
        """Return the digests of shards of the dataset, of its rounds and of their versions."""
        if self.root is None:
            return set(self._new.values())
        return set(self._new.values()) | {
            shard["samples_digest"]
            for dataset in datasets_in(self.root)
            for one in whole_manifests(dataset)
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

    @property
    def readings(self) -> list[str]:
        """The folders that remember, for other lists, which samples came from which inputs."""
        current = {f"{RECEIPTS}{reading}" for reading in readings_of(self._run)}
        is_old = (one for one in self._stored if one.startswith(RECEIPTS) and one not in current)
        return list(is_old) if self.root else []

    def delete(self) -> None:
        """Delete what has answers about samples that must go; keep the answers about others."""
        for path in self.affected:
            self._keep_others(path)
            self._folder.remove(path)
        for name in self.readings:
            Folder(f"{self._folder.url}/{name}").clear()

    def _keep_others(self, path: str) -> None:
        """Write a layer again without the samples that must go."""
        try:
            layer, samples = parse_layer(self._folder.read(path) or b"")
        except ValueError:
            return  # damaged: it has no usable answers
        kept = [number for number, one in enumerate(samples) if one not in self.gone]
        folder, _, file = path.partition("/")
        shard = self._samples_of(file.removesuffix(".parquet"))
        target = digest_of([one for one in shard if one not in self.gone])
        is_wanted = self.root is None or target in self._live
        name = f"{folder}/{target}.parquet"
        if not kept or not is_wanted or self._folder.exists(name):
            return
        numbers = {old: new for new, old in enumerate(kept)}
        digests = [samples[number] for number in kept]
        self._folder.publish(name, layer_bytes(layer.renumbered(numbers), digests), durable=False)


def _sample_digests(folder: Folder, name: str) -> list[str]:
    """Return the digests of the samples that a layer is about; none where it is damaged."""
    try:
        schema = schema_of_layer(folder, name)
        return [] if schema is None else parse_metadata(schema)[1]
    except DAMAGE:
        return []


def _root_of(run: Run) -> Folder | None:
    """Return the dataset whose own the layers are: this one, or the one whose round it is."""
    suffix = f"/{LAYERS}"
    layers, output = run.layers.url.rstrip("/"), run.output.url.rstrip("/")
    if not layers.endswith(suffix):
        return None
    root = layers.removesuffix(suffix).rstrip("/")
    is_own = output == root or output.startswith(f"{root}/{ROUNDS}/")
    return Folder(root) if is_own else None

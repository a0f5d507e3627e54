"""Deletes files that no version of a dataset needs: layers of earlier stages, temporary files.

Layers are a cache. Those of the current stages stay, as they make the next build short. A
refinement keeps the layers of all its rounds.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from florilegium.engine.core.errors import UsageError
from florilegium.engine.planning.config import LAYERS
from florilegium.engine.planning.gates import gate_digests
from florilegium.engine.results.dataset import manifest_of
from florilegium.engine.results.finished_shards import stats_named
from florilegium.engine.results.layer import layer_folder
from florilegium.engine.results.manifest import RECIPE, read_manifest
from florilegium.engine.results.publication import (
    SHARDS,
    finished_names,
    samples_of_reading,
)
from florilegium.engine.results.versions import VERSIONS, live_shards
from florilegium.engine.sources.source import RECEIPTS
from florilegium.engine.storage.folder import TEMPORARY, Folder
from florilegium.engine.storage.lease import writing
from florilegium.pipelines.dataset.files import HELD_BACK
from florilegium.pipelines.dataset.lineage import datasets_of_round, round_numbers
from florilegium.pipelines.dataset.resolved import read_resolved


@dataclass(frozen=True, kw_only=True)
class Cleaned:
    """The deleted files, their bytes and their number of stages; and the files that stay."""

    stages: int
    files: int
    bytes: int
    kept: int


def clean(output: Folder, *, is_dry: bool = False) -> Cleaned:
    """Delete the layers that no version of a dataset was made from; `is_dry` only counts them.

    Of a version that is held back, no manifest has the stages: all layers of its shards stay.

    Raises:
        OutputInUse: another command writes the output.
        UsageError: the dataset is not finished, or its layers are outside of it, where other
            datasets may need them.
    """
    manifest_of(output)
    _refuse_shared_layers(output)
    with writing(output):
        datasets = list(datasets_in(output))
        for dataset in datasets:
            if dataset.exists(RECIPE):
                raise UsageError(
                    f"a build of {dataset.url} was interrupted, and goes on from its layers: "
                    f"finish it first"
                )
        manifests = [manifest for dataset in datasets for manifest in manifests_of(dataset)]
        live = _Live.of(manifests, held_back=_held_back(output))
        return _remove(output, live, is_dry=is_dry)


@dataclass(frozen=True, kw_only=True)
class _Live:
    """The folders of layers and the digests of shards that some manifests need, and the digests of
    shards that are held back."""

    folders: frozenset[str]
    digests: frozenset[str]
    held_back: frozenset[str]

    @classmethod
    def of(cls, manifests: list[dict[str, Any]], *, held_back: frozenset[str]) -> _Live:
        try:
            folders = frozenset(
                layer_folder(manifest["stages"][fingerprint]["name"], fingerprint, gate)
                for manifest in manifests
                for fingerprint, gate in gate_digests(manifest["stages"]).items()
            )
        except ValueError as error:
            raise UsageError(
                f"a manifest was changed ({error}): `florilegium verify` names what differs"
            ) from error
        return cls(
            folders=folders,
            digests=frozenset(
                shard["samples_digest"] for manifest in manifests for shard in manifest["shards"]
            ),
            held_back=held_back,
        )

    def keeps(self, output: Folder, folder: str, file: str) -> bool:
        """Whether a file of a folder of layers is needed."""
        if file.endswith(TEMPORARY):
            return False
        if folder.startswith(RECEIPTS):
            reading = output.read(f"{LAYERS}/{folder}/{file}") or b""
            return samples_of_reading(reading) in self.digests | self.held_back
        digest = file.partition(".")[0]
        return digest in self.held_back or (folder in self.folders and digest in self.digests)


def _held_back(output: Folder) -> frozenset[str]:
    """Return the digests of the shards of a version that is held back."""
    if not output.exists(HELD_BACK):
        return frozenset()
    live = live_shards(output)
    names = [one for found in finished_names(output.names(SHARDS)).values() for one in found]
    held = stats_named(output, [name for name in names if name not in live])
    return frozenset(stats.samples_digest for stats in held if stats)


def _remove(output: Folder, live: _Live, *, is_dry: bool) -> Cleaned:
    stages: set[str] = set()
    files = size = kept = 0
    for folder in output.names(LAYERS):
        if _is_elsewhere(output, f"{LAYERS}/{folder}"):
            continue  # a link: its target is not part of the dataset
        for file in output.names(f"{LAYERS}/{folder}"):
            path = f"{LAYERS}/{folder}/{file}"
            if live.keeps(output, folder, file):
                kept += 1
                continue
            stages.add(folder)
            files += 1
            size += output.size(path) or 0
            if not is_dry:
                output.remove(path)
        if not is_dry and not output.names(f"{LAYERS}/{folder}"):
            Folder(f"{output.url}/{LAYERS}/{folder}").clear()
    return Cleaned(stages=len(stages), files=files, bytes=size, kept=kept)


def datasets_in(output: Folder) -> Iterator[Folder]:
    """Yield the dataset and those of its rounds, which share its layers."""
    yield output
    for number in round_numbers(output):
        yield from datasets_of_round(output, number)


def manifests_of(dataset: Folder) -> Iterator[dict[str, Any]]:
    """Yield the manifests of a dataset, that of the current version first."""
    manifest = read_manifest(dataset)
    if manifest is not None:
        yield manifest
    for name in dataset.names(VERSIONS):
        if earlier := read_manifest(dataset, f"{VERSIONS}/{name}"):
            yield earlier


def _is_elsewhere(output: Folder, folder: str) -> bool:
    """Whether a folder of the output is a link."""
    return output.is_local and os.path.islink(output.path(folder))


def _refuse_shared_layers(output: Folder) -> None:
    layers = read_resolved(output).get("layers")
    is_named = isinstance(layers, str) and Folder(layers).path("") != output.path(f"{LAYERS}/")
    if not is_named and _is_elsewhere(output, LAYERS):
        layers, is_named = os.path.realpath(output.path(LAYERS)), True
    if is_named:
        raise UsageError(
            f"the layers of {output.url} lie in {layers}, which other datasets may share: delete "
            f"that folder yourself when none needs it; each build makes what it needs again"
        )

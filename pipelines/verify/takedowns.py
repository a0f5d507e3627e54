"""Checking that no listed image is in a dataset, by the list in effect, and its receipts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from florilegium.engine.core.errors import StorageError
from florilegium.engine.results.manifest import RECIPE
from florilegium.engine.results.takedowns import (
    PENDING,
    TAKEDOWNS,
    is_takedown_file,
    list_file,
    read_pending,
    read_receipts,
    stored_list,
)
from florilegium.engine.sources.takedown import NOTHING, TAKEN_DOWN, Takedown
from florilegium.engine.storage.folder import Folder, is_left_over
from florilegium.pipelines.dataset.bases import Bases
from florilegium.pipelines.verify.shard_contract import ShardCheck


class TakedownCheck:
    """The list in effect, held against every shard; a list that is being put into effect holds for
    the next version."""

    def __init__(self, output: Folder) -> None:
        self._output = output
        self._listed: Takedown = NOTHING
        self._bases: Bases | None = None

    def problems(self, document: Mapping[str, Any], checked: set[str]) -> Iterator[str]:
        """Read lists and receipts; yield what is wrong with them. Those read are `checked`;
        `document` is the manifest."""
        files = self._output.entries(TAKEDOWNS)
        for name, entry in sorted(files.items()):
            if entry.kind != "file" or not (is_takedown_file(name) or is_left_over(name)):
                yield f"{TAKEDOWNS}/{name} is neither a list nor a receipt"
        if not files:
            return
        try:
            receipts = read_receipts(self._output)
            pending = read_pending(self._output)
            if receipts:
                self._listed = stored_list(self._output, receipts[-1].list_digest)
                names = [shard["name"] for shard in document["shards"]]
                self._bases = Bases(self._output, document["source"], names)
                checked.add(list_file(self._listed))
        except StorageError as error:
            yield str(error)
            return
        checked.update(f"{TAKEDOWNS}/{one.number:06d}.json" for one in receipts)
        if pending and not self._output.exists(RECIPE):
            yield f"{PENDING}: a takedown was interrupted, run the same build again: it goes on"

    def problems_of(self, shard: ShardCheck) -> Iterator[str]:
        """Yield the samples and dead letters of a shard, of any version, that are on the list."""
        if self._bases is None or not self._listed.entries or shard.stats is None:
            return
        bases = self._bases.of(shard.stats.name)
        for key, sample in shard.samples.items():
            if any(
                self._listed.matching(
                    key=key,
                    location=sample["source"],
                    base=base,
                    metadata=sample["metadata"],
                    digests=(sample["sha256"], sample["image_sha256"]),
                )
                for base in bases
            ):
                yield f"{shard.path}: sample {key!r} is on the takedown list"
        for letter in shard.stats.dead_letters:
            is_listed = any(
                self._listed.matching(key=letter.key, location=letter.source, base=base)
                for base in bases
            )
            if is_listed and letter.reason != TAKEN_DOWN:
                yield f"{shard.path}: the dead letter {letter.key!r} is on the takedown list"

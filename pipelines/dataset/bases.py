"""The folders that the locations of the inputs of a shard may be relative to.

The index knows them for the sources of the current config. A kept version may have been made from
others: of these, only the URLs in its manifest are known.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from florilegium.engine.results.versions import whole_manifests
from florilegium.engine.sources.takedown import base_of
from florilegium.engine.storage.folder import Folder
from florilegium.pipelines.dataset.find import bases_of


class Bases:
    """The folders for the shards of all versions.

    `source` are the URLs of the current sources, `current` the names of the shards that were made
    from them alone.

    Raises:
        StorageError: the index is damaged, or a manifest cannot be read.
    """

    def __init__(self, output: Folder, source: Sequence[str], current: Collection[str]) -> None:
        self._by_number = bases_of(output)
        self._of_others: dict[str, set[str]] = {}
        for manifest in whole_manifests(output):
            if manifest["source"] != list(source):
                bases = {base for url in manifest["source"] for base in _bases_of_url(url)}
                names = {shard["name"] for shard in manifest["shards"]}.difference(current)
                for name in names:
                    self._of_others.setdefault(name, set()).update(bases)

    def of(self, shard: str) -> set[str]:
        """Return the folders for a shard, by its name; one that is empty where none is known."""
        number = int(shard.partition("-")[0])
        is_known = number in self._by_number
        own = {self._by_number[number]} if is_known else set(self._by_number.values())
        return (own | self._of_others.get(shard, set())) or {""}


def _bases_of_url(url: str) -> set[str]:
    """Return what the locations of a source may be relative to: its URL may be that of a file."""
    name = url.rstrip("/").rpartition("/")[2]
    return {base_of(url, ""), base_of(url, name if "." in name else "")}

"""Versions of a dataset: the switch from one to the next, and what goes afterwards.

Until the manifest is replaced, readers see the version before, whole; afterwards the new one.
"""

from __future__ import annotations

from engine.manifest import MANIFEST, RECIPE, SIGNATURE, named_shards
from engine.publication import SHARDS
from engine.storage import TEMPORARY, Folder

VERSIONS = "versions"
"""The folder of earlier manifests, `NUMBER.json`; there are any only where versions are kept."""


def switch(output: Folder, manifest: bytes, *, keep: int) -> None:
    """Let a manifest become the current one; keep so many versions, it included."""
    before = output.read(MANIFEST)
    is_kept = before not in (None, manifest) and keep > 1
    if before is not None and is_kept and named_shards(output):  # what is damaged is none
        number = max(_numbers(output), default=0) + 1
        output.publish(f"{VERSIONS}/{number:06d}.json", before)
    replace_manifest(output, manifest)
    output.remove(RECIPE)
    remove_stale(output, keep=keep)


def replace_manifest(output: Folder, manifest: bytes) -> None:
    """Publish a manifest; one that says something new is signed by nobody."""
    if output.read(MANIFEST) != manifest:
        output.publish(MANIFEST, manifest)
        output.remove(SIGNATURE)


def remove_stale(output: Folder, *, keep: int) -> None:
    """Delete versions beyond those that are kept, the shards that no version names, and what
    killed writers left behind."""
    numbers = _numbers(output)
    for number in numbers[: max(0, len(numbers) - (keep - 1))]:
        output.remove(f"{VERSIONS}/{number:06d}.json")
    live = live_shards(output)
    for name in output.names(SHARDS):
        if _is_left_over(name) or name.partition(".")[0].removesuffix("_stats") not in live:
            output.remove(f"{SHARDS}/{name}")
    for name in filter(_is_left_over, output.names()):
        output.remove(name)


def live_shards(output: Folder) -> set[str]:
    """Return the names of the shards of all versions that are there."""
    paths = [MANIFEST, *version_files(output)]
    return {name for path in paths for name in named_shards(output, path)}


def version_files(output: Folder) -> list[str]:
    """Return the paths of the manifests of earlier versions, oldest first."""
    return [f"{VERSIONS}/{number:06d}.json" for number in _numbers(output)]


def _numbers(output: Folder) -> list[int]:
    stems = [name.removesuffix(".json") for name in output.names(VERSIONS)]
    return sorted(int(stem) for stem in stems if stem.isdigit())


def _is_left_over(name: str) -> bool:
    return name.startswith(".") and name.endswith(TEMPORARY)

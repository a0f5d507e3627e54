"""Finds one image of a dataset by its key, by the path of its source, or by its digest.

When several images match, the error names all.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from difflib import get_close_matches
from typing import Any
from unicodedata import normalize

import numpy as np

from florilegium.engine.core.counted import counted
from florilegium.engine.core.errors import ConfigError, StorageError
from florilegium.engine.planning.index import read_index
from florilegium.engine.results.manifest import DEAD_LETTERS, read_dead_letters, read_manifest
from florilegium.engine.results.publication import SHARDS, finished_names, read_stats
from florilegium.engine.results.shard_files import read_rows, read_sample_json
from florilegium.engine.results.takedowns import read_receipts
from florilegium.engine.sources.takedown import TAKEN_DOWN, base_of
from florilegium.engine.storage.folder import Folder
from florilegium.engine.untrusted.escaped import escaped
from florilegium.engine.untrusted.names import is_shard_name

MIN_DIGITS = 6
"""Least number of hexadecimal digits of a digest to search for."""
_MAX_NAMED = 10


@dataclass(frozen=True, kw_only=True)
class Image:
    """An input of a dataset: a sample, or a dead letter with its row.

    `source` is its location relative to the source's URL; `digests` are those of its bytes.
    """

    shard: str
    key: str
    source: str
    digests: tuple[str, ...] = ()
    letter: Mapping[str, Any] | None = field(default=None, repr=False)


def find_image(output: Folder, wanted: str) -> Image:
    """Return the one image with a key, a path or a digest, tried in this order.

    A path may be relative to the source, begin with the source's own, or be the end of one, in
    whole names; a digest may be the first six digits or more of a SHA-256.

    Raises:
        ConfigError: there is none, which names near ones; or several, which names them.
        StorageError: a shard cannot be read.
    """
    shards = _shards(output)
    letters = _letters(output, shards)
    if not shards and not letters:
        raise ConfigError(f"{output.url} holds no finished shard: build the dataset first")
    if found := [*_by_key(output, shards, wanted), *(one for one in letters if one.key == wanted)]:
        return _only(found, wanted)
    images = [*(one for name in shards for one in _samples(output, name)), *letters]
    bases = bases_of(output)
    for found in (
        [one for one in images if wanted in (one.key, escaped(one.key), escaped(one.source))],
        [one for one in images if _is_at(one, wanted, bases)],
        [one for one in images if _ends_with(one, wanted, bases)],
        [one for one in images if _has_digest(one, wanted)],
    ):
        if found:
            return _only(found, wanted)
    if key := _taken_down(output, wanted):
        return _only([one for one in letters if one.key == key], wanted)
    raise ConfigError(f"no image has the key, path or digest {wanted!r}{_near(wanted, images)}")


def _taken_down(output: Folder, digest: str) -> str:
    """Return the key of an image that was taken down and had a digest, by the receipts; else ""."""
    digits = digest.lower()
    found = {
        one.key
        for receipt in read_receipts(output)
        for one in receipt.matched
        if len(digits) >= MIN_DIGITS and (one.sha256 or " ").startswith(digits)
    }
    letters = {row["key"] for row in read_dead_letters(output) if row["reason"] == TAKEN_DOWN}
    return min(found & letters, default="")


def _shards(output: Folder) -> list[str]:
    """Return the names of all shards that can be read."""
    manifest = read_manifest(output)
    if manifest is not None:
        return [shard["name"] for shard in manifest["shards"]]
    return [names[-1] for _, names in sorted(finished_names(output.names(SHARDS)).items())]


def _letters(output: Folder, shards: Sequence[str]) -> list[Image]:
    if read_manifest(output) is not None:
        rows = read_dead_letters(output)
    else:
        rows = [
            {"shard": stats.name, **asdict(letter)}
            for stats in (read_stats(output, name) for name in shards)
            if stats is not None
            for letter in stats.dead_letters
        ]
    for row in rows:
        if not is_shard_name(row["shard"]):
            raise StorageError(
                f"{output.path(DEAD_LETTERS)} is damaged: {row['shard']!r:.200} is no shard; run "
                f"the same build again, which writes it anew"
            )
    return [
        Image(shard=row["shard"], key=row["key"], source=row["source"], letter=row) for row in rows
    ]


def _samples(output: Folder, shard: str) -> Iterator[Image]:
    for record in read_sample_json(output, shard):
        digests = (record["sha256"], record["image_sha256"])
        yield Image(
            shard=shard,
            key=record["key"],
            source=record["source"],
            digests=tuple(dict.fromkeys(digests)),
        )


def _by_key(output: Folder, shards: Sequence[str], key: str) -> Iterator[Image]:
    """Yield the samples with a key among those that have annotations."""
    for shard in shards:
        if key in set(read_rows(output, shard, ["key"])["key"].to_pylist()):
            yield from (one for one in _samples(output, shard) if one.key == key)


def bases_of(output: Folder) -> dict[int, str]:
    """Return for each shard's number the folder that the locations of its inputs are relative
    to."""
    index = read_index(output)
    bases: dict[int, str] = {}
    for table in index.tables(["shard", "source", "location"]) if index is not None else ():
        shards = table["shard"].to_numpy()
        last = table.take(np.flatnonzero(np.diff(shards, append=-1)))  # of each shard
        bases |= {
            one["shard"]: base_of(one["source"].rpartition("#")[0], one["location"])
            for one in last.to_pylist()
        }
    return bases


def _whole(image: Image, bases: Mapping[int, str]) -> str:
    base = bases.get(int(image.shard.partition("-")[0]), "")
    return _plain(f"{base}/{image.source}" if base else image.source)


def _is_at(image: Image, wanted: str, bases: Mapping[int, str]) -> bool:
    """Whether a path is exactly that of an image: relative to its source, or absolute."""
    absolute = os.path.abspath(os.path.expanduser(wanted))
    whole = _whole(image, bases)
    return _plain(wanted) in (_plain(image.source), whole) or _plain(absolute) == whole


def _ends_with(image: Image, wanted: str, bases: Mapping[int, str]) -> bool:
    return f"/{_whole(image, bases)}".endswith(f"/{_plain(wanted)}")


def _plain(path: str) -> str:
    """Return a path in normal form: composed letters, forward slashes, nothing before the first
    name."""
    return normalize("NFC", path).replace("\\", "/").removeprefix("./")


def _has_digest(image: Image, wanted: str) -> bool:
    digits = wanted.lower()
    return len(digits) >= MIN_DIGITS and any(one.startswith(digits) for one in image.digests)


def _only(found: Sequence[Image], wanted: str) -> Image:
    """Return the only image that was found.

    Raises:
        ConfigError: there are several.
    """
    if len(found) == 1:
        return found[0]
    named = [f"  {_described(one)}" for one in found[:_MAX_NAMED]]
    if len(found) > _MAX_NAMED:
        named.append(f"  and {len(found) - _MAX_NAMED} more")
    lines = "\n".join(named)
    count = counted(len(found), "image")
    raise ConfigError(f"{wanted!r} may mean {count}; name one by its path or digest:\n{lines}")


def _described(image: Image) -> str:
    what = f"sha256 {image.digests[0][:16]}" if image.digests else "dead letter"
    return f"{escaped(image.key)}  {escaped(image.source)}  shard {image.shard}  {what}"


def _near(wanted: str, images: Collection[Image]) -> str:
    """Return a hint with names like the one that was not found."""
    names = dict.fromkeys(name for one in images for name in (one.key, one.source))
    close = get_close_matches(wanted, map(escaped, names), n=3, cutoff=0.5)
    if close:
        return f": did you mean {' or '.join(map(repr, close))}?"
    few = sorted(escaped(one.key) for one in images)
    if len(few) <= 20:
        return f"; the keys are {', '.join(few)}"
    return f"; there are {len(few)} images, with keys like {few[0]!r}"

"""Keys for new inputs, the same as `Keys` gives, without a set of the keys of all others.

Nearly every input gets the slug of its name. Hashes find those that do not, or may not: their keys
are made one by one, against the keys that have the same hashes, which are read for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import chain

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from florilegium.engine.core.hashes import Hashes, gathered, hashes_of, is_among, repeated
from florilegium.engine.core.keys import KEY_BYTES, Keys, slug
from florilegium.engine.storage.spool import Spool

_NUMBERED = "^[0-9]{6,}$"
"""A key that may be one of img2dataset's: its first five digits are those of its tar."""


def stem_of(location: str) -> str:
    """Return the name by which the key of a file, a tar or a range of rows is made."""
    folder, _, name = location.rpartition("/")
    stem = name.rpartition(".")[0] or name
    stem = stem.removesuffix(".tar")  # of `photos.tar.gz`
    return f"{folder}/{stem}" if folder else stem


def slugs_of(locations: pa.Array) -> pa.Array:
    """Return the slug of each location's stem."""
    stems = pc.replace_substring_regex(locations, r"([^/])\.[^/.]*$", r"\1")
    stems = pc.replace_substring_regex(stems, r"\.tar$", "")
    runs = pc.replace_substring_regex(stems, "[^0-9A-Za-z_-]+", "_")
    runs = pc.replace_substring_regex(runs, "-{2,}", "-")
    cut = pc.utf8_slice_codeunits(pc.ascii_trim(runs, "_"), 0, KEY_BYTES)
    slugs = pc.ascii_trim(cut, "_")
    slugs = pc.if_else(pc.equal(slugs, ""), "image", slugs)
    is_other = pc.invert(pc.string_is_ascii(locations))
    others = [slug(stem_of(one)) for one in locations.filter(is_other).to_pylist()]
    return pc.replace_with_mask(slugs, is_other, pa.array(others, pa.string()))


class NewKeys:
    """Makes keys, source after source.

    `read_known` yields the keys of files and of packs that exist, each time that it is called;
    there are `most` of them at most.
    `has_packs`: a source has packs, whose keys depend on the numbers that files begin with.
    """

    def __init__(
        self,
        read_known: Callable[[], Iterator[tuple[pa.Array, pa.Array]]],
        *,
        most: int,
        has_packs: bool,
    ) -> None:
        self._read_known = read_known
        self._has_packs = has_packs
        self._keys = Keys()
        self._made: list[Spool] = []
        self._taken = gathered(self._known_files(), most)
        self._taken.sort()

    def _known_files(self) -> Iterator[Hashes]:
        """Yield hashes of the keys of files; take in those of packs."""
        for files, packs in self._read_known():
            for key in packs.to_pylist():
                self._keys.add_pack(key)
            if self._has_packs:
                self._keys.add_numbers(_numbers_in(files))
            yield hashes_of(files)

    def of_packs(self, locations: Sequence[str]) -> list[str]:
        """Return the keys of new packs."""
        return [self._keys.of_pack(stem_of(one)) for one in locations]

    def of_files(self, inputs: Spool) -> tuple[npt.NDArray[np.int64], list[str]]:
        """Return the rows whose keys are not simply the slugs in the column `key`, in ascending
        order, and their keys. `inputs` are all new files of a source, in order."""
        hashes = gathered(map(_hashes, inputs.tables(["key"])), inputs.rows)
        is_special = is_among(hashes, repeated(hashes)) | is_among(hashes, self._taken)
        is_special |= self._are_in_packs(inputs)
        looked_up = np.empty(0, np.uint64)
        while True:
            looked_up = np.union1d(looked_up, hashes[is_special])
            keys = self._keys.copy()
            for key in self._existing(looked_up):
                keys.add_file(key)
            found = [keys.of_file(stem_of(one)) for one in _locations(inputs, is_special)]
            # A key may be that of an input which was not looked at, existing or new.
            made = np.sort(hashes_of(pa.array(found, pa.string())))
            unseen = made[is_among(made, self._taken) & ~is_among(made, looked_up)]
            is_hit = is_among(hashes, made) & ~is_special
            if not (len(unseen) or is_hit.any()):
                break
            looked_up = np.union1d(looked_up, unseen)
            is_special |= is_hit
        self._keys = keys
        for table in inputs.tables(["key"]) if self._has_packs else ():
            self._keys.add_numbers(_numbers_in(table["key"]))
        self._made.append(inputs)
        hashes[is_special] = hashes_of(pa.array(found, pa.string()))
        self._taken = np.concatenate([self._taken, hashes]) if len(self._taken) else hashes
        self._taken.sort()
        return np.flatnonzero(is_special), found

    def _are_in_packs(self, inputs: Spool) -> npt.NDArray[np.bool_]:
        """Return which files have the number of a pack, and so never their slugs."""
        numbers = pa.array(sorted(self._keys.numbered_packs), pa.string())
        found = [np.empty(0, np.bool_)]
        for table in inputs.tables(["key"]) if len(numbers) else ():
            begin = pc.utf8_slice_codeunits(table["key"], 0, 5)
            is_numbered = pc.match_substring_regex(table["key"], _NUMBERED)
            found.append(pc.and_(is_numbered, pc.is_in(begin, numbers)).to_numpy())
        return np.concatenate(found) if len(numbers) else np.zeros(inputs.rows, np.bool_)

    def _existing(self, hashes: Hashes) -> Iterator[str]:
        """Yield the keys of files with one of these hashes, if there are any."""
        if not is_among(hashes, self._taken).any():
            return
        made = (table["key"] for spool in self._made for table in spool.tables(["key"]))
        for keys in chain((files for files, _ in self._read_known()), made):
            yield from keys.filter(pa.array(is_among(hashes_of(keys), hashes))).to_pylist()


def _hashes(table: pa.Table) -> Hashes:
    return hashes_of(table["key"])


def _numbers_in(keys: pa.Array) -> list[str]:
    """Return the first five digits of the keys that may be those of img2dataset."""
    numbered = keys.filter(pc.match_substring_regex(keys, _NUMBERED))
    return pc.unique(pc.utf8_slice_codeunits(numbered, 0, 5)).to_pylist()


def _locations(inputs: Spool, wanted: npt.NDArray[np.bool_]) -> Iterator[str]:
    start = 0
    for table in inputs.tables(["location"]) if wanted.any() else ():
        stop = start + table.num_rows
        yield from table["location"].filter(pa.array(wanted[start:stop])).to_pylist()
        start = stop

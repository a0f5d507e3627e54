"""The keys of samples: unique in a dataset, and valid names in a tar.

A file has its own key. A pack (a tar, or a range of rows) has many samples, with names that are
unique within it only: their keys begin with the key of the pack. No key of a file or a pack
contains `--`, so `pack--name` is unique. This module knows no files.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from hashlib import blake2b
from itertools import groupby

KEY_BYTES = 80
"""Bytes of a key in UTF-8, at most: a tar of the USTAR format holds names of 100 bytes."""
PACK_BYTES = 40
"""Bytes of the key of a pack, at most; the keys of its samples begin with it."""
_MAX_BYTES = 200
_SEPARATOR = "--"
_NUMBERED = 5
"""Digits in the name of a shard of img2dataset: all keys in `00042.tar` begin with `00042`."""


def slug(name: str, limit: int = KEY_BYTES) -> str:
    """Return a WebDataset key for a name: letters and digits of every script, `_` and `-`.

    A run of other characters becomes one `_`, a run of `-` one `-`.
    """
    runs = groupby(unicodedata.normalize("NFC", name), key=_is_of_a_key)
    text = "".join("".join(run) if is_of_a_key else "_" for is_of_a_key, run in runs)
    return _cut(re.sub("-{2,}", "-", text).strip("_"), limit).strip("_") or "image"


def _is_of_a_key(letter: str) -> bool:
    return letter in "_-" or unicodedata.category(letter)[0] in "LMN"


Taken = dict[str, int]
"""Used keys, each with the last number that was appended to it."""


def is_key(name: object) -> bool:
    """Whether a value can be the key of a sample: no path, and short enough for a file name."""
    is_text = isinstance(name, str) and 0 < len(name.encode("utf-8", "replace")) <= _MAX_BYTES
    return is_text and all(map(_is_of_a_key, str(name)))


def unique_key(name: str, taken: Taken, *, limit: int = KEY_BYTES) -> str:
    """Return an unused key for a name, and record it; the same for the same name."""
    base = key = slug(name, limit)
    if key in taken:
        key = _with_suffix(key, _digest(name), limit)
    # Avoids trying all numbers again for each of many samples with one name.
    while key in taken:
        taken[base] += 1
        key = _with_suffix(base, str(taken[base]), limit)
    taken[key] = 1
    return key


def packed_key(pack: str, name: str, taken: Taken) -> str:
    """Return the key of a sample in a pack; `taken` are those of other samples in it.

    The keys of img2dataset, which begin with the number of their tar, are unique as they are.
    """
    key = unique_key(name, taken, limit=KEY_BYTES - len(pack.encode()) - len(_SEPARATOR))
    return key if _is_numbered(pack, key) else f"{pack}{_SEPARATOR}{key}"


class Keys:
    """Makes unique keys for the files and packs of a dataset."""

    def __init__(self) -> None:
        self._files: Taken = {}
        self._packs: Taken = {}
        self._numbers: set[str] = set()

    def copy(self) -> Keys:
        """Return others that know the same keys."""
        keys = Keys()
        keys._files, keys._packs = dict(self._files), dict(self._packs)
        keys._numbers = set(self._numbers)
        return keys

    @property
    def numbered_packs(self) -> set[str]:
        """The keys of packs that are numbers of img2dataset."""
        return {key for key in self._packs if _is_number(key)}

    def add_file(self, key: str) -> None:
        """Record the key of a file that exists."""
        self._files.setdefault(key, 1)
        if _is_numbered(key[:_NUMBERED], key):
            self._numbers.add(key[:_NUMBERED])

    def add_pack(self, key: str) -> None:
        """Record the key of a pack that exists."""
        self._packs.setdefault(key, 1)

    def add_numbers(self, numbers: Iterable[str]) -> None:
        """Record numbers of img2dataset that begin the keys of files."""
        self._numbers.update(numbers)

    def of_file(self, name: str) -> str:
        """Return the key of a new file."""
        key = slug(name)
        is_in_a_pack = key[:_NUMBERED] in self._packs and _is_numbered(key[:_NUMBERED], key)
        key = unique_key(f"{key}-{_digest(name)}" if is_in_a_pack else name, self._files)
        if _is_numbered(key[:_NUMBERED], key):
            self._numbers.add(key[:_NUMBERED])
        return key

    def of_pack(self, name: str) -> str:
        """Return the key of a new pack."""
        key = slug(name).rstrip("-") or "image"
        if len(key.encode()) > PACK_BYTES or key in self._numbers:
            key = _with_suffix(key, _digest(name), PACK_BYTES)
        return unique_key(key, self._packs, limit=PACK_BYTES)


def _is_numbered(pack: str, key: str) -> bool:
    """Whether a key is one of img2dataset's: the number of its tar, then that of the sample."""
    is_number = key.isascii() and key.isdigit() and len(key) > _NUMBERED
    return _is_number(pack) and is_number and key.startswith(pack)


def _is_number(key: str) -> bool:
    return key.isascii() and key.isdigit() and len(key) == _NUMBERED


def _digest(name: str) -> str:
    return blake2b(name.encode("utf-8", "surrogatepass"), digest_size=4).hexdigest()


def _with_suffix(key: str, suffix: str, limit: int) -> str:
    return f"{_cut(key, limit - len(suffix) - 1).rstrip('_-')}-{suffix}"


def _cut(text: str, limit: int) -> str:
    """Return the beginning of a text, at most so many bytes of UTF-8."""
    return text.encode("utf-8", "replace")[:limit].decode("utf-8", "ignore")

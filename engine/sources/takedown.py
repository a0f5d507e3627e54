"""A takedown list: images that must not be in a dataset, whoever has them in a source.

    # one entry on each line
    key:holiday/cat                 the key of a sample
    sha256:9f86d081884c7d65...      the digest of the image's bytes, in the source or as published
    url:https://example.org/cat.jpg the URL in the metadata of the image, or where the source has it

An input that an entry matches becomes a dead letter of its own reason. This module knows neither
what was made of the image nor how that is deleted.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from florilegium.engine.core.errors import ConfigError
from florilegium.engine.core.redaction import redacted_urls
from florilegium.engine.core.sample import DeadLetter, digest_of
from florilegium.engine.sources.files import dead_letter
from florilegium.engine.storage.folder import Folder
from florilegium.engine.untrusted.escaped import cut

TAKEN_DOWN = "taken_down"
"""The reason of the dead letter of a listed image."""
MAX_BYTES = 256 << 20
"""Bytes of a list, at most."""
MAX_ENTRIES = 1_000_000
"""Entries of a list, at most: every worker holds all of them in memory."""
MAX_CHARACTERS = 8192
"""Characters of an entry, at most."""
KEY, SHA256, URL = "key", "sha256", "url"
_KINDS = (KEY, SHA256, URL)
_DIGEST = re.compile(r"[0-9a-f]{64}")
_GLOB = frozenset("*?[{")
_MESSAGE = "on the takedown list, "
_NAME_LENGTH = 16


@dataclass(frozen=True, kw_only=True)
class Takedown:
    """The entries of a list, each as `kind:value`. An empty list takes nothing down."""

    entries: frozenset[str] = frozenset()

    @cached_property
    def digest(self) -> str:
        """The identity of the list: a digest of its entries, whatever their order."""
        return digest_of(sorted(self.entries))

    @cached_property
    def has_digests(self) -> bool:
        """Whether images are listed by digest."""
        return self._has(SHA256)

    @cached_property
    def has_urls(self) -> bool:
        """Whether images are listed by URL."""
        return self._has(URL)

    def _has(self, kind: str) -> bool:
        return any(entry.startswith(f"{kind}:") for entry in self.entries)

    def matching(
        self,
        *,
        key: str,
        location: str,
        base: str,
        metadata: str = "{}",
        digests: Iterable[str] = (),
    ) -> tuple[str, ...]:
        """Return the entries that match an input, sorted.

        Args:
            key: its key in the dataset.
            location: where it lies, relative to the source.
            base: what that is relative to, as `base_of` returns it.
            metadata: what the source knows of it, as JSON text.
            digests: the SHA-256 in hex of its bytes, in the source and as published.
        """
        if not self.entries:
            return ()
        names = {f"{KEY}:{key}", *(f"{SHA256}:{digest}" for digest in digests)}
        if self.has_urls:
            whole = f"{base}/{location}" if base else location
            urls = (location, redacted_urls(whole), *_urls_in(redacted_urls(metadata)))
            names |= {f"{URL}:{url}" for url in urls}
        return tuple(sorted(names & self.entries))

    def to_bytes(self) -> bytes:
        """Return the list in its canonical form: sorted, without comments."""
        return "".join(f"{entry}\n" for entry in sorted(self.entries)).encode()


NOTHING = Takedown()


def read_takedown(url: str) -> Takedown:
    """Read a list, a path or an fsspec URL.

    Raises:
        ConfigError: it does not exist, is too large, or a line of it is no entry.
    """
    parent, slash, name = url.rpartition("/")
    folder = Folder(parent or slash or ".")
    size = folder.size(name)
    if size is None:
        raise ConfigError(f"takedown = {cut(url)}: there is no such file; an empty file lists none")
    if size > MAX_BYTES:
        raise ConfigError(f"takedown = {cut(url)}: {size} bytes, the limit is {MAX_BYTES}")
    return parse_takedown(folder.read(name) or b"", url)


def parse_takedown(data: bytes, url: str) -> Takedown:
    """Return the list in the bytes of a file.

    Raises:
        ConfigError: a line is no entry, or there are too many; the message has its number.
    """
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise ConfigError(f"takedown = {cut(url)}, line {line}: it is no UTF-8 text") from error
    entries: set[str] = set()
    for number, whole in enumerate(text.split("\n"), start=1):
        entry = whole.strip()
        if not entry or entry.startswith("#"):
            continue
        try:
            entries.add(_entry(entry))
        except ValueError as error:
            raise ConfigError(f"takedown = {cut(url)}, line {number}: {error}") from None
        if len(entries) > MAX_ENTRIES:
            raise ConfigError(
                f"takedown = {cut(url)}, line {number}: the limit is {MAX_ENTRIES} entries; delete "
                f"the images from the source, and list those that may come again"
            )
    return Takedown(entries=frozenset(entries))


def _entry(text: str) -> str:
    """Return an entry in its canonical form.

    Raises:
        ValueError: it is none; the message has the cure.
    """
    kind, _, value = text.partition(":")
    kind, value = kind.strip(), value.strip()
    if kind not in _KINDS or not value:
        raise ValueError(f"{cut(text)} is no entry: write key:KEY, sha256:DIGEST or url:URL")
    if len(value) > MAX_CHARACTERS:
        raise ValueError(f"{len(value)} characters, the limit is {MAX_CHARACTERS}")
    if kind == SHA256:
        value = value.lower()
        if not _DIGEST.fullmatch(value):
            raise ValueError(f"{cut(value)} is no SHA-256: give its 64 hexadecimal digits")
    if kind == URL:
        value = redacted_urls(value) if "://" in value else _real(value)
    return f"{kind}:{value}"


def _real(path: str) -> str:
    """Return an absolute path without links in its folders; one relative to the source stays."""
    path = os.path.expanduser(path)
    if not os.path.isabs(path):
        return path
    folder, name = os.path.split(path)
    return os.path.join(os.path.realpath(folder), name)


def base_of(url: str, location: str) -> str:
    """Return the folder that the locations of a source are relative to; its URL may be that of a
    folder, of a file, or a pattern of files. `location` is that of one of its items."""
    if url and "://" not in url:
        url = os.path.realpath(os.path.expanduser(url))
    parts = url.rstrip("/").split("/")
    first_glob = next((index for index, part in enumerate(parts) if _GLOB & set(part)), len(parts))
    parts = parts[:first_glob]
    if parts and parts[-1] == location:
        parts.pop()
    return "/".join(parts)


def _urls_in(metadata: str) -> Iterator[str]:
    """Yield the texts of a sample's metadata that may be URLs."""
    try:
        values: Any = json.loads(metadata)
    except ValueError:  # of a source of another package
        return
    if isinstance(values, dict):
        yield from (value for value in values.values() if isinstance(value, str))


def name_of(entry: str) -> str:
    """Return a short name of an entry, from which the entry cannot be read."""
    return digest_of([entry])[:_NAME_LENGTH]


def taken_down(key: str, location: str, entries: Collection[str]) -> DeadLetter:
    """Make the dead letter of a listed image.

    It names the input as the index does, for the file still lies in the source, and the names of
    the entries; nothing of the image, its labels or its digests.
    """
    names = ", ".join(f"by {entry.partition(':')[0]} {name_of(entry)}" for entry in entries)
    return dead_letter(key, location, TAKEN_DOWN, f"{_MESSAGE}{names}")


def names_in(letter: DeadLetter) -> frozenset[str]:
    """Return the names of the entries that the dead letter of a listed image has."""
    found = letter.message.removeprefix(_MESSAGE).split(", ")
    return frozenset(one.rpartition(" ")[2] for one in found)

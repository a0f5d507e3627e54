"""WebDataset tars: a tar is an item, its samples are streamed, nothing is extracted.

Members belong to one sample while they are adjacent and share a key: the path up to the first
dot of the base name. A sample is one image (the first member with a plain image extension,
else the first with one at its end, as in `left.jpg`); its other images are named in the
metadata, not read. Each damaged part of a tar is one dead letter.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, BinaryIO, ClassVar

from florilegium.engine.core.errors import SampleError, StorageError
from florilegium.engine.core.image.header import TOO_MANY_BYTES
from florilegium.engine.core.image.reading import image_suffixes
from florilegium.engine.core.limits import Limits
from florilegium.engine.core.sample import DeadLetter
from florilegium.engine.sources.archive import (
    ARCHIVE_TOO_LARGE,
    CORRUPT_TAR,
    UNREAD_COMPRESSION,
    Damage,
    Member,
    members,
)
from florilegium.engine.sources.compression import UnreadCompression
from florilegium.engine.sources.files import (
    LeftAlone,
    dead_letter,
    failed,
    list_items,
    suffix_among,
    unreadable,
)
from florilegium.engine.sources.labels import Labels
from florilegium.engine.sources.place import check_unchanged, original, state_of
from florilegium.engine.sources.source import FilesConfig, Item, Reading, Source, SourceConfig
from florilegium.engine.sources.text import is_utf8
from florilegium.engine.sources.url import place_of

UNREAD_SUFFIXES = {
    ".tar.br": "brotli",
    ".tar.lz4": "lz4",
    ".tar.lz": "lzip",
    ".tar.lzo": "lzop",
    ".tar.sz": "snappy",
    ".tar.z": "compress (.Z)",
    ".taz": "compress (.Z)",
}
"""Tars with a compression that is not supported: listed, so that none is silently missing."""
TAR_SUFFIXES = (
    ".tar",
    *(".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tbz", ".tar.xz", ".txz", ".tar.lzma", ".tlz"),
    *(".tar.zst", ".tar.zstd", ".tzst", *UNREAD_SUFFIXES),
)
NO_IMAGE = "no_image"

MAX_TEXT_BYTES = 4096
"""Bytes of other members, such as `cls`, up to which they become metadata if they are text."""
_MAX_PROBLEMS = 20

_CAPTION_EXTENSIONS = ("txt", "caption")
_TEXT_EXTENSIONS = frozenset(
    {*_CAPTION_EXTENSIONS, "text", "transcript", "json", "cls", "cls2", "class", "index", "id"}
)
"""Extensions of members that are always text; others are text when they are UTF-8."""


class WebDatasetSource(Source[FilesConfig]):
    """Tars of samples: a file, a brace range, a glob, or a folder of them."""

    Config: ClassVar[type[SourceConfig]] = FilesConfig
    is_packed: ClassVar[bool] = True
    companions: ClassVar[tuple[str, ...]] = ()
    """Endings, after the stem of a tar, of files that belong to it."""

    def __init__(self, config: FilesConfig, *, shard_size: int) -> None:
        super().__init__(config, shard_size=shard_size)
        self.place = place_of(config)
        self._left_alone = LeftAlone()

    def items(self) -> Iterator[Item]:
        self._left_alone = LeftAlone()
        return list_items(self.place, TAR_SUFFIXES, self._left_alone, companions=self.companions)

    def remarks(self) -> tuple[str, ...]:
        return self._left_alone.remarks()

    def read(self, item: Item) -> Iterator[Reading | DeadLetter]:
        try:
            file = self.place.open(original(item.location))
        except StorageError:
            raise
        except Exception as error:  # each storage client has its own errors
            yield unreadable(item.location, error)
            return
        with file:
            before = state_of(file)
            if before and before[0] > self.limits.max_archive_bytes:
                message = f"{before[0]} bytes, the limit is {self.limits.max_archive_bytes}"
                yield dead_letter(item.location, item.location, ARCHIVE_TOO_LARGE, message)
                return
            stream = _members(item.location, file, self.limits)
            yield from _results(item.location, stream, self.config.encoding, self.limits)
            try:
                check_unchanged(file, before)
            except SampleError as error:
                yield unreadable(item.location, error)


@dataclass(kw_only=True)
class _Group:
    """Collects the members of one sample."""

    key: str
    limits: Limits
    names: dict[str, None] = field(default_factory=dict)
    image: tuple[str, bytes] | None = None
    oversized: str = ""
    texts: dict[str, bytes] = field(default_factory=dict)
    text_bytes: int = 0
    notes: dict[str, Any] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    damage: list[DeadLetter] = field(default_factory=list)

    def takes(self, key: str, extension: str) -> bool:
        """Whether a member belongs here; a repeated extension begins another sample."""
        return key == self.key and extension not in self.names

    def add(self, extension: str, member: Member) -> None:
        self.names[extension] = None
        is_label = extension in (*_CAPTION_EXTENSIONS, "json")
        if not member.is_regular:
            self.notes.setdefault("not_regular", []).append(extension)
        elif _is_image(extension):
            self._add_image(extension, member)
        elif not is_label and member.size > MAX_TEXT_BYTES:
            return  # no metadata
        elif self.text_bytes + member.size <= self.limits.max_label_bytes:
            self.texts[extension] = member.read()
            self.text_bytes += member.size
        elif len(self.problems) < _MAX_PROBLEMS:
            limit = self.limits.max_label_bytes
            others = f" after {self.text_bytes} of other texts" if self.text_bytes else ""
            self.problems.append(f"{extension}: {member.size} bytes{others}, the limit is {limit}")

    def _add_image(self, extension: str, member: Member) -> None:
        if member.size > self.limits.max_file_bytes:
            self.oversized = self.oversized or f"{member.name} has {member.size} bytes"
            return
        spare = extension
        if self.image is None or ("." in self.image[0] and "." not in extension):
            spare = self.image[0] if self.image else ""
            self.image = (extension, member.read())
        if spare:
            self.notes.setdefault("more_images", []).append(spare)

    def results(self, location: str, encoding: str) -> Iterator[Reading | DeadLetter]:
        """Yield the sample, then the damage found within it."""
        if self.image is not None:
            extension, data = self.image
            try:
                yield self._reading(location, extension, data, encoding)
            except Exception as error:
                yield failed(self.key, f"{location}/{self.key}.{extension}", error)
        elif self.oversized:
            limit = self.limits.max_file_bytes
            message = f"{self.oversized}, the limit is {limit} (limits.max_file_bytes)"
            yield dead_letter(self.key, f"{location}/{self.key}", TOO_MANY_BYTES, message)
        else:
            message = f"only {self._list()}; the members of a sample must be adjacent"
            yield dead_letter(self.key, f"{location}/{self.key}", NO_IMAGE, message)
        yield from self.damage

    def _list(self) -> str:
        links = self.notes.get("not_regular", ())
        names = [f"{name} (not a regular file)" if name in links else name for name in self.names]
        return ", ".join(name or "a file without extension" for name in names[:20])

    def _labels(self, encoding: str) -> Labels:
        """Read the small members. Each caption counts; a single one in the JSON, which often is the
        same in another form, only where no member has one."""
        labels = Labels(encoding, self.limits)
        labels.problems += self.problems
        if "json" in self.texts:
            labels.add_json(self.texts["json"])
        kinds = [name for name in _CAPTION_EXTENSIONS if name in self.texts]
        for kind in kinds:
            labels.add_caption(self.texts[kind], name=kind)
        in_json = labels.metadata.get("caption")
        if not kinds or isinstance(in_json, list):
            labels.add_caption(in_json)
        for extension, data in self.texts.items():
            if extension in (*_CAPTION_EXTENSIONS, "json"):
                continue
            if _is_text(extension) or is_utf8(data):
                labels.add_text(extension, data)
        labels.metadata |= self.notes
        return labels

    def _reading(self, location: str, extension: str, data: bytes, encoding: str) -> Reading:
        metadata, annotations = self._labels(encoding).finish()
        return Reading(
            name=self.key,
            location=f"{location}/{self.key}.{extension}",
            data=data,
            metadata=metadata,
            annotations=annotations,
        )


def stem_of(name: str) -> str:
    """Return a tar's name or path without its suffix, as in `00000` of `00000.tar.gz`."""
    return name[: len(name) - len(suffix_among(name, TAR_SUFFIXES))]


def _members(location: str, file: BinaryIO, limits: Limits) -> Iterator[Member | Damage]:
    # Brotli has no magic bytes, so the name counts.
    if suffix := suffix_among(location, UNREAD_SUFFIXES):
        message = str(UnreadCompression(UNREAD_SUFFIXES[suffix]))
        return iter((Damage(message, UNREAD_COMPRESSION),))
    return members(file, limits)


def _results(
    location: str, stream: Iterator[Member | Damage], encoding: str, limits: Limits
) -> Iterator[Reading | DeadLetter]:
    group: _Group | None = None
    for member in stream:
        if isinstance(member, Damage):
            letter = dead_letter(location, location, member.reason, member.message)
            if group is None:
                yield letter
            else:
                group.damage.append(letter)
            continue
        key, extension = _split(member.name)
        if posixpath.basename(key).startswith("."):
            continue  # hidden, as in a folder
        if group is None or not group.takes(key, extension):
            if group is not None:
                yield from group.results(location, encoding)
            group = _Group(key=key, limits=limits)
        try:
            group.add(extension, member)
        except StorageError:
            raise
        except Exception as error:  # hostile bytes raise anything
            # A sample at the cut is dropped, rather than given with half of its labels.
            message = f"cut in {member.name}: {error}; nothing after it can be read"
            yield dead_letter(key, f"{location}/{key}", CORRUPT_TAR, message)
            return
    if group is not None:
        yield from group.results(location, encoding)


def _split(name: str) -> tuple[str, str]:
    """Split a member's name into key and lower-case extension."""
    folder, base = posixpath.split(name.removeprefix("./"))
    stem, _, extension = base.partition(".") if not base.startswith(".") else (base, "", "")
    return posixpath.join(folder, stem), extension.lower()


def _is_text(extension: str) -> bool:
    return extension.rpartition(".")[2] in _TEXT_EXTENSIONS


def _is_image(extension: str) -> bool:
    return f".{extension.rpartition('.')[2]}" in image_suffixes()

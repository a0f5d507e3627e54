"""A folder of images, recursive, with the labels beside them.

A file is an input when it has the suffix of an image, or none. A `.txt` with the same stem is its
caption; sheets in the imagefolder layout of Hugging Face have captions and objects. A change of
either changes the item's signature.
"""

from __future__ import annotations

import posixpath
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator
from functools import cached_property
from typing import ClassVar

from florilegium.engine.core.errors import StorageError
from florilegium.engine.core.image.reading import image_suffixes
from florilegium.engine.core.sample import DeadLetter
from florilegium.engine.sources.files import LeftAlone, failed, nothing_found, suffix_of, unreadable
from florilegium.engine.sources.labels import Labels
from florilegium.engine.sources.place import original, printable, size_of
from florilegium.engine.sources.sheet import SHEET_NAMES
from florilegium.engine.sources.sheets import SheetReader
from florilegium.engine.sources.source import FilesConfig, Item, Reading, Source, SourceConfig
from florilegium.engine.sources.tally import SheetTally
from florilegium.engine.sources.url import place_of

UNDECODABLE_SUFFIXES = frozenset({".heic", ".heif", ".jxl", ".exr", ".dng", ".cr2", ".nef", ".arw"})
"""Formats that cannot be decoded; they are inputs, so that none is silently missing."""

_CAPTION_MARK = re.compile(r" caption=(\d)=")


class FolderConfig(FilesConfig):
    """Options of a folder of images."""

    caption_column: str = ""
    """The column of captions in sheets; by default `caption` or `text`, if there is."""


class FolderSource(Source[FolderConfig]):
    """Image files below a folder, or those that a glob selects."""

    Config: ClassVar[type[SourceConfig]] = FolderConfig

    def __init__(self, config: FolderConfig, *, shard_size: int) -> None:
        super().__init__(config, shard_size=shard_size)
        self.place = place_of(config)
        self._remarks: tuple[str, ...] = ()

    @cached_property
    def _sheets(self) -> SheetReader:
        """The sheets of the folder; made late, when the source has its limits."""
        config = self.config
        return SheetReader(self.place, config.encoding, config.caption_column, self.limits)

    def items(self) -> Iterator[Item]:
        is_selected = self.place.selected()
        suffixes = image_suffixes() | UNDECODABLE_SUFFIXES | {""}
        tally = SheetTally(self.place, self.config.encoding, self.limits)
        left_alone = LeftAlone()
        others: Counter[str] = Counter()
        count = 0
        for folder in self.place.folders():
            tally.enter(folder)
            has_texts = any(name.endswith((".txt", ".TXT")) for name in folder.files)
            captions: set[str] = set()
            rest: list[str] = []
            for name, signature in folder.files.items():
                path = folder.path + name
                if suffix_of(name) not in suffixes or not (is_selected(path) or not name):
                    others[suffix_of(name)] += 1
                    if name not in SHEET_NAMES and is_selected(path):
                        rest.append(name)
                    continue
                count += 1
                caption_names = _caption_names(name) if has_texts else ()
                captions.update(caption_names)
                for number, caption in enumerate(caption_names):
                    if caption in folder.files:
                        signature += f" caption={number}={folder.files[caption]}"
                        break
                if name:
                    signature += tally.marks_of(path)
                size = size_of(folder.files[name])
                yield Item(location=printable(path), signature=signature, size=size)
            for name in rest:
                if suffix_of(name) != ".txt":
                    left_alone.add(name)
                elif name not in captions:
                    left_alone.add_caption()
        self._remarks = (*left_alone.remarks(), *tally.finish())
        if count == 0:
            raise nothing_found(self.place, "images", others)

    def read(self, item: Item) -> Iterator[Reading | DeadLetter]:
        path = original(item.location)
        try:
            data = self.place.read(path, limit=self.limits.max_file_bytes)
        except StorageError:
            raise
        except Exception as error:  # each storage client has its own errors
            yield unreadable(item.location, error)
            return
        try:
            metadata, annotations = self._labels(path, item.signature).finish()
        except StorageError:
            raise
        except Exception as error:
            yield failed(item.location, item.location, error)
            return
        yield Reading(
            name=item.location,
            location=item.location,
            data=data,
            metadata=metadata,
            annotations=annotations,
        )

    def remarks(self) -> tuple[str, ...]:
        return self._remarks

    def _labels(self, path: str, signature: str) -> Labels:
        """Read the labels that the item's signature names."""
        labels = Labels(self.config.encoding, self.limits)
        if mark := _CAPTION_MARK.search(signature):
            caption = posixpath.join(
                posixpath.dirname(path), _caption_names(posixpath.basename(path))[int(mark[1])]
            )
            try:
                data = self.place.read(caption, limit=self.limits.max_label_bytes)
            except StorageError:
                raise
            except Exception as error:  # the image exists, only its label cannot be read
                labels.problems.append(f"txt: {unreadable(caption, error).message}")
            else:
                labels.add_caption(data, name="txt")
        self._sheets.add_labels(labels, path, signature)
        return labels


def _caption_names(name: str) -> tuple[str, ...]:
    """Return the possible names of an image's caption, the most likely first."""
    stem = posixpath.splitext(name)[0]
    stems = dict.fromkeys([stem, *(unicodedata.normalize(form, stem) for form in ("NFC", "NFD"))])
    return tuple(f"{one}{suffix}" for one in stems for suffix in (".txt", ".TXT"))

"""A folder of images, recursive, with the labels that lie beside them.

A file is an input when its suffix is one of images, or when it has none. A `.txt` with the
same stem is its caption; the nearest `metadata.jsonl` of the Hugging Face imagefolder layout
says captions and objects. A change of either changes the item's signature.
"""

from __future__ import annotations

import io
import json
import posixpath
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from engine.annotation import Annotation
from engine.errors import SampleError
from engine.image import MAX_BYTES, image_suffixes
from engine.sample import DeadLetter
from engine.sources import labels
from engine.sources.files import dead_letter, nothing_found, suffix_of, unreadable
from engine.sources.place import original, printable
from engine.sources.source import Item, Reading, Source, SourceConfig
from engine.sources.url import place_of

METADATA = "metadata.jsonl"
MAX_CAPTION_BYTES = 1 << 20
"""A caption file with more bytes than this is no caption."""
UNDECODABLE_SUFFIXES = frozenset({".heic", ".heif", ".jxl", ".exr", ".dng", ".cr2", ".nef", ".arw"})
"""Photographs that nobody here decodes: inputs all the same, so that none is silently missing."""

_CAPTION_MARK = " caption="
_METADATA_MARK = " metadata="


class FolderSource(Source):
    """Image files below a folder, or those that a glob selects."""

    def __init__(self, config: SourceConfig, *, shard_size: int) -> None:
        super().__init__(config, shard_size=shard_size)
        self.place = place_of(config)
        self._sheets: dict[str, _Sheet | None] = {}

    def items(self) -> Iterator[Item]:
        is_selected = self.place.selected()
        suffixes = image_suffixes() | UNDECODABLE_SUFFIXES | {""}
        sheets: dict[str, str] = {}
        others: Counter[str] = Counter()
        count = 0
        for folder in self.place.folders():
            sheet = folder.files.get(METADATA) or _inherited(sheets, folder.path)
            if sheet:
                sheets[folder.path] = sheet
            for name, signature in folder.files.items():
                path = folder.path + name
                if suffix_of(name) not in suffixes or not (is_selected(path) or not name):
                    others[suffix_of(name)] += 1
                    continue
                count += 1
                caption = folder.files.get(f"{posixpath.splitext(name)[0]}.txt")
                if caption:
                    signature += _CAPTION_MARK + caption
                if sheet:
                    signature += _METADATA_MARK + sheet
                yield Item(location=printable(path), signature=signature)
        if count == 0:
            raise nothing_found(self.place, "images", others)

    def read(self, item: Item) -> Iterator[Reading | DeadLetter]:
        path = original(item.location)
        try:
            data = self.place.read(path, limit=MAX_BYTES)
        except SampleError as error:
            yield dead_letter(item.location, item.location, error.reason, error.message)
            return
        except Exception as error:  # each storage client has its own errors
            yield unreadable(item.location, error)
            return
        metadata, annotations = self._labels(path, item.signature)
        yield Reading(
            name=item.location,
            location=item.location,
            data=data,
            metadata=labels.metadata_json(metadata),
            annotations=annotations,
        )

    def _labels(
        self, path: str, signature: str
    ) -> tuple[Mapping[str, Any], tuple[Annotation, ...]]:
        """Read the labels that the item's signature says there are."""
        metadata: dict[str, Any] = {}
        said: tuple[Annotation, ...] = ()
        if _METADATA_MARK in signature:
            sheet, name = self._sheet_for(path)
            metadata, said = sheet.labels_of(name) if sheet else ({}, ())
        if _CAPTION_MARK in signature:
            caption = f"{posixpath.splitext(path)[0]}.txt"
            try:
                data = self.place.read(caption, limit=MAX_CAPTION_BYTES)
            except Exception as error:  # the image is there, only its label is not
                return metadata | {labels.LABEL_ERROR: unreadable(caption, error).message}, said
            known = {annotation.text for annotation in said}
            written = labels.captions(data.decode("utf-8-sig", "replace"))
            said = tuple(caption for caption in written if caption.text not in known) + said
        return metadata, said

    def _sheet_for(self, path: str) -> tuple[_Sheet | None, str]:
        """Find the nearest sheet above a file, and the file's name in it."""
        folder = posixpath.dirname(path)
        while True:
            sheet_path = posixpath.join(folder, METADATA)
            if sheet_path not in self._sheets:
                try:
                    with self.place.open(sheet_path) as file:
                        self._sheets[sheet_path] = _Sheet(file.read())
                except Exception:  # then a folder above has it
                    self._sheets[sheet_path] = None
            sheet = self._sheets[sheet_path]
            if sheet is not None or not folder:
                return sheet, posixpath.relpath(path, folder) if folder else path
            folder = posixpath.dirname(folder)


class _Sheet:
    """A `metadata.jsonl`, kept as bytes with the place of each file's line."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._spans: dict[str, tuple[int, int]] = {}
        self._problem = ""
        start = 0
        for number, line in enumerate(io.BytesIO(data), 1):
            if line.strip():
                self._add(number, line, (start, start + len(line)))
            start += len(line)

    def _add(self, number: int, line: bytes, span: tuple[int, int]) -> None:
        try:
            name = posixpath.normpath(json.loads(line)["file_name"])
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            self._problem = self._problem or f"{METADATA} line {number}: {error!r}"
            return
        self._spans[name] = span

    def labels_of(self, name: str) -> tuple[dict[str, Any], tuple[Annotation, ...]]:
        """Return metadata and annotations of a file; perhaps only why there are none."""
        if name not in self._spans:
            # A line that cannot be read may have been the one for this file.
            return ({labels.LABEL_ERROR: self._problem} if self._problem else {}), ()
        start, stop = self._spans[name]
        row = json.loads(self._data[start:stop])
        row.pop("file_name")
        return labels.from_row(row, caption=row.get("text", row.get("caption")))


def _inherited(sheets: Mapping[str, str], path: str) -> str:
    """Return the signature of the nearest sheet above a folder, or an empty text."""
    while path and sheets:
        path = posixpath.dirname(path.rstrip("/"))
        path = f"{path}/" if path else ""
        if path in sheets:
            return sheets[path]
    return ""

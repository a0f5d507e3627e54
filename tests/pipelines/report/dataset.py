"""Finished datasets made by hand: real shards, published by the engine, of a few annotations."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from html.parser import HTMLParser
from typing import Any

import numpy as np
from PIL import Image

from florilegium.engine.core.annotation import Annotation
from florilegium.engine.core.image.reading import read_header
from florilegium.engine.core.judgement import Statements, Verdicts
from florilegium.engine.core.sample import DeadLetter, Record
from florilegium.engine.core.stage import Filter, StageConfig
from florilegium.engine.planning.graph import Graph, Node
from florilegium.engine.results.publication import (
    SHARDS,
    finished_names,
    publish_shard,
    read_stats,
)
from florilegium.engine.results.shard import Shard, ShardBytes
from florilegium.engine.results.shard_table import ShardTable
from florilegium.engine.storage.folder import Folder

TOO_WEAK = "too_weak"


class Strong(Filter[StageConfig]):
    """Drops what scores below one half."""

    def judge(self, statements: Statements) -> Verdicts:
        verdicts = Verdicts(len(statements))
        scored = ~np.isnan(statements.score)
        verdicts.measure("strength", statements.score, scored)
        verdicts.drop(scored & (statements.score < 0.5), TOO_WEAK)
        return verdicts


@dataclass(frozen=True, kw_only=True)
class Photo:
    """An image with its annotations; ids and specialists are given by hand."""

    key: str
    data: bytes
    annotations: Sequence[Annotation] = ()


def publish(
    output: Folder, *shards: Sequence[Photo], dead_letters: Sequence[DeadLetter] = ()
) -> ShardTable:
    """Publish shards; the dead letters are those of the first."""
    strong = Node(name="strong", use="", stage=Strong(StageConfig()), fingerprint="f")
    graph = Graph(specialists=(), filters=(strong,), images="original")
    stats = []
    for number, photos in enumerate(shards):
        shard = Shard(
            number=number,
            records=tuple(map(_record, photos)),
            labels=tuple(tuple(photo.annotations) for photo in photos),
            dead_letters=tuple(dead_letters) if number == 0 else (),
        )
        images = ShardBytes([photo.data for photo in photos])
        stats.append(publish_shard(shard, images, graph, {}, output))
    return ShardTable.of(stats)


def finished(output: Folder) -> ShardTable:
    """Return the statistics of all shards that are there, by number."""
    found = finished_names(output.names(SHARDS)).values()
    names = sorted(name for names in found for name in names)
    read = (read_stats(output, name) for name in names)
    return ShardTable.of(stats for stats in read if stats)


def _record(photo: Photo) -> Record:
    header = read_header(photo.data)
    return Record(
        key=photo.key,
        sha256=sha256(photo.data).hexdigest(),
        width=header.width,
        height=header.height,
        orientation=header.orientation,
        extension=header.extension,
        source=f"{photo.key}.{header.extension}",
        metadata="{}",
        digest=photo.key,
    )


def plain(width: int = 64, height: int = 48, colour: str = "teal", **save: Any) -> bytes:
    """Return a small image of one colour."""
    file = io.BytesIO()
    Image.new("RGB", (width, height), colour).save(file, save.pop("format", "JPEG"), **save)
    return file.getvalue()


def box(name: str = "box", *, label: str = "cat", **changes: Any) -> Annotation:
    """Return a detection."""
    values = {
        "id": name,
        "task": "object_detection",
        "specialist": "detector",
        "box_xyxy": (8.0, 6.0, 40.0, 30.0),
        "score": 0.9,
    }
    return Annotation(kind="region", label=label, **{**values, **changes})


def caption(text: str = "A cat sleeps.", **changes: Any) -> Annotation:
    """Return a brief caption."""
    values = {"id": "caption", "specialist": "captioner", "task": "caption"}
    return Annotation(kind="text", text=text, **{**values, **changes})


def phrase(text: str, span: tuple[int, ...], **changes: Any) -> Annotation:
    """Return a phrase of the caption, at the place of `box`."""
    values = {
        "id": f"phrase {span}",
        "specialist": "grounder",
        "parent_id": "caption",
        "box_xyxy": (8.0, 6.0, 40.0, 30.0),
        "score": 0.8,
    }
    return Annotation(
        kind="phrase", task="phrase_grounding", text=text, span=span, **{**values, **changes}
    )


@dataclass(frozen=True, kw_only=True)
class Element:
    """An element of a page and all text in it."""

    tag: str
    attributes: dict[str, str]
    text: list[str]

    @property
    def classes(self) -> list[str]:
        return self.attributes.get("class", "").split()

    @property
    def content(self) -> str:
        return "".join(self.text).strip()


class Page(HTMLParser):
    """A page as a browser reads it: its elements in order."""

    _VOID = frozenset({"meta", "img", "input", "link", "br"})

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[Element] = []
        self._open: list[Element] = []
        self.feed(html)
        self.close()

    def find(self, tag: str, *classes: str) -> list[Element]:
        """Return the elements of a tag that have all these classes."""
        return [
            one
            for one in self.elements
            if one.tag == tag and not set(classes).difference(one.classes)
        ]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = {name: value or "" for name, value in attrs}
        element = Element(tag=tag, attributes=attributes, text=[])
        self.elements.append(element)
        if tag not in self._VOID:
            self._open.append(element)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in self._VOID:
            self._open.pop()

    def handle_endtag(self, tag: str) -> None:
        while self._open and self._open.pop().tag != tag:
            pass

    def handle_data(self, data: str) -> None:
        for element in self._open:
            element.text.append(data)

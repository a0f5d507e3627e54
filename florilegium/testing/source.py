"""The contract of sources: what they list and read is sound, and the same again."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any

from florilegium.engine.core.errors import SampleError, StorageError
from florilegium.engine.core.image.reading import read_header
from florilegium.engine.core.limits import Limits
from florilegium.engine.core.sample import DeadLetter
from florilegium.engine.core.validity import problem_of
from florilegium.engine.planning.partition import partition
from florilegium.engine.results.shard import read_shard
from florilegium.engine.sources.source import Item, Reading, Source, SourceConfig, item_schema
from florilegium.testing.checks import (
    Check,
    Checks,
    config_faults,
    doc_faults,
    name_of,
    naming_faults,
)
from florilegium.testing.elsewhere import FailsElsewhere, called_elsewhere
from florilegium.testing.faults import ContractBroken, raised

_SHARD_SIZE = 8


@dataclass(frozen=True, kw_only=True)
class SourceReport:
    """What a build makes of a source: `items` are listed, which become `images` with `labels`
    (annotations of the source), or dead letters."""

    checks: tuple[str, ...]
    items: int
    images: int
    labels: int
    dead_letters: int


class SourceSubject:
    """A source that is checked, listed and read once."""

    def __init__(self, source_class: type[Source[Any]], config: SourceConfig) -> None:
        self.source_class = source_class
        self.config = config

    def new(self) -> Source[Any]:
        """Return another source of the same config."""
        return self.source_class(self.config, shard_size=_SHARD_SIZE)

    @cached_property
    def source(self) -> Source[Any]:
        """The source, listed to the end."""
        return self.new()

    @cached_property
    def items(self) -> list[Item]:
        """What the source lists."""
        return list(self.source.items())

    @cached_property
    def readings(self) -> list[list[Reading | DeadLetter]]:
        """What the source reads of each item."""
        return [list(self.source.read(item)) for item in self.items]

    @property
    def inputs(self) -> Iterator[Reading]:
        """The inputs that were read."""
        return (one for one in chain.from_iterable(self.readings) if isinstance(one, Reading))


def found_by_its_name(subject: SourceSubject) -> Iterator[str]:
    """A config finds the class, which has a docstring."""
    yield from naming_faults(subject.source_class)
    yield from doc_faults(subject.source_class)


def options_are_sound(subject: SourceSubject) -> Iterator[str]:
    """The config is frozen, documented, refuses unknown keys, and reaches a worker."""
    config_class: type = subject.source_class.Config
    if not issubclass(config_class, SourceConfig):
        yield f"its Config is {config_class.__name__}: derive it from SourceConfig"
        return
    yield from config_faults(config_class)
    if not isinstance(subject.config, config_class):
        yield f"the config is a {type(subject.config).__name__}, its Config is {config_class}"
    if pickle.loads(pickle.dumps(subject.config)) != subject.config:
        yield "its config is another one after pickling, which is how workers get it"


def lists_items(subject: SourceSubject) -> Iterator[str]:
    """There are items, each with a location and a signature, none twice."""
    if strange := [type(item).__name__ for item in subject.items if type(item) is not Item]:
        yield f"`items` yields {strange[0]}: yield Item(location=..., signature=...)"
        return
    if not subject.items:
        yield "it lists nothing: raise ConfigError with what is wrong with the URL"
    places = [(item.location, item.start, item.stop) for item in subject.items]
    if len(set(places)) < len(places):
        (place, *_) = (one for one in places if places.count(one) > 1)
        yield f"it lists {place[0]!r} twice, which makes a sample twice"
    for item in subject.items:
        if not item.location or not item.location.isprintable():
            yield f"the location {item.location!r} is empty or cannot be printed"
            return
    if unsigned := [item for item in subject.items if not item.signature]:
        yield (
            f"{unsigned[0].location!r} has no signature, so a change is never read: give size and "
            f"time of modification, or a digest"
        )


def lists_the_same_again(subject: SourceSubject) -> Iterator[str]:
    """Listing again, also by another instance, gives the same items in the same order."""
    for again in (list(subject.source.items()), list(subject.new().items())):
        if difference := _difference(subject.items, again):
            yield f"listed again it gives other items ({difference}): sort them by name"
            return


def lists_the_same_as_columns(subject: SourceSubject) -> Iterator[str]:
    """A source that lists as tables has the same items there, in the same order."""
    if subject.source_class.item_tables is Source.item_tables:
        return
    tables = list(subject.new().item_tables())
    if strange := [one.schema for one in tables if not one.schema.equals(item_schema())]:
        yield f"`item_tables` yields the columns {strange[0].names}: give those of `item_schema`"
        return
    rows = [Item(**row) for table in tables for row in table.to_pylist()]
    if difference := _difference(subject.items, rows):
        yield f"`item_tables` lists other items than `items` ({difference})"


def lists_the_same_elsewhere(subject: SourceSubject) -> Iterator[str]:
    """Another process lists the same items in the same order."""
    try:
        again = called_elsewhere(_listed, subject.source_class, subject.config)
    except FailsElsewhere as error:
        yield f"it cannot be listed in another process: {error}"
        return
    if difference := _difference(subject.items, again):
        yield f"another process lists other items ({difference}): sort what comes of a set"


def _listed(source_class: type[Source[Any]], config: SourceConfig) -> list[Item]:
    return SourceSubject(source_class, config).items


def _difference(items: list[Item], again: list[Item]) -> str:
    """Return where two listings differ first, empty where they do not."""
    if items == again:
        return ""
    pairs = zip(items, again, strict=False)
    lengths = f"{len(items)} items", f"{len(again)}"
    one, other = next((pair for pair in pairs if pair[0] != pair[1]), lengths)
    return f"{one}, then {other}"


def reads_inputs(subject: SourceSubject) -> Iterator[str]:
    """Each item is read as inputs or dead letters, with bytes, metadata and valid labels."""
    faults: dict[str, None] = {}
    empty: list[str] = []
    for item, read in zip(subject.items, subject.readings, strict=True):
        if len(read) > 1 and not subject.source.is_packed:
            faults["an item gives several inputs, which would get one key: set is_packed"] = None
        if not read:
            empty.append(item.location)
        for one in read:
            faults |= dict.fromkeys(_problems(one))
    yield from faults
    if empty:
        yield f"nothing comes of item {empty[0]!r}: yield a DeadLetter at least"
    elif not faults and not any(True for _ in subject.inputs):
        every = chain.from_iterable(subject.readings)
        messages = (one.message for one in every if isinstance(one, DeadLetter))
        yield f"no input can be read: {next(messages, 'there is none')}"


def _problems(one: object) -> Iterator[str]:
    if isinstance(one, DeadLetter):
        return
    if not isinstance(one, Reading):
        yield f"`read` yields {type(one).__name__}: yield Reading or DeadLetter"
        return
    data: object = one.data
    if not isinstance(data, bytes):
        yield f"the data of a Reading is {type(data).__name__}: give the bytes of the file"
        return
    if not one.name or not one.location:
        yield "a Reading has no name or no location"
    yield from _problems_of_metadata(one.metadata)
    yield from _problems_of_labels(one)


def _problems_of_metadata(metadata: str) -> Iterator[str]:
    try:
        known = json.loads(metadata)
    except (TypeError, ValueError) as error:
        yield f"its metadata is no JSON text ({error}): use json.dumps(..., sort_keys=True)"
        return
    if not isinstance(known, dict):
        yield "its metadata is no JSON object"
    elif list(known) != sorted(known):
        yield "the keys of its metadata are not sorted: use json.dumps(..., sort_keys=True)"


def _problems_of_labels(one: Reading) -> Iterator[str]:
    try:
        header = read_header(one.data)
        size = {"width": header.width, "height": header.height}
    except SampleError:
        size = {}  # it becomes a dead letter
    names = [label.id for label in one.annotations if label.id]
    for label in one.annotations:
        if problem := problem_of(label, **size):
            yield f"a label is refused: {problem}"
        if label.parent_id and label.parent_id not in names:
            yield f"a label has the parent {label.parent_id!r}, which is none of the same image"
    if len(set(names)) < len(names):
        yield "two labels of one image have the same id"


def reads_the_same_again(subject: SourceSubject) -> Iterator[str]:
    """Another instance, which has listed nothing, reads the same, in any order."""
    new = subject.new()
    pairs = list(zip(subject.items, subject.readings, strict=True))
    for item, read in reversed(pairs):
        if list(new.read(item)) != read:
            yield (
                f"another instance reads {item.location!r} otherwise: workers read without having "
                f"listed, and in any order"
            )
            return


def loses_only_what_is_gone(subject: SourceSubject) -> Iterator[str]:
    """A file that is gone after the listing becomes a dead letter."""
    url = Path(subject.config.url)
    if not url.exists():
        return  # no file, or not here
    with tempfile.TemporaryDirectory(prefix="florilegium-") as place:
        copy = Path(place) / "copy"
        if url.is_dir():
            shutil.copytree(url, copy)
        else:
            _copy_files(subject, url, copy)
        moved = copy if url.is_dir() else copy / url.name
        config = subject.config.model_copy(update={"url": str(moved)})
        source = subject.source_class(config, shard_size=_SHARD_SIZE)
        for item in list(source.items()):
            file = copy / item.location
            if file == moved or not file.is_file():
                continue
            os.unlink(file)
            yield from _faults_of_gone(source, item)
            return


def _copy_files(subject: SourceSubject, url: Path, copy: Path) -> None:
    """Copy a file and what is listed of the folder around it, which may hold much more."""
    for name in dict.fromkeys([url.name, *(item.location for item in subject.items)]):
        file, place = url.parent / name, copy / name
        if file.is_file() and place.resolve().is_relative_to(copy.resolve()):
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(file, place)


def _faults_of_gone(source: Source[Any], item: Item) -> Iterator[str]:
    try:
        read = list(source.read(item))
    except (SampleError, StorageError):
        return
    except Exception as error:
        yield f"of a file that is gone, it raises {raised(error)}\n      yield a DeadLetter"
        return
    if not read or not all(isinstance(one, DeadLetter) for one in read):
        yield "of a file that is gone it makes no dead letter, so it is missing without a word"


def remarks_are_text(subject: SourceSubject) -> Iterator[str]:
    """Remarks are a tuple of texts."""
    _ = subject.items
    remarks: object = subject.source.remarks()
    if not isinstance(remarks, tuple) or not all(isinstance(one, str) for one in remarks):
        yield f"`remarks` gives {remarks!r}: return a tuple of lines"


def becomes_samples(subject: SourceSubject) -> Iterator[str]:
    """A build makes samples of it."""
    _, images, _, letters = built(subject)
    if not images and letters:
        yield f"no image of it can be used: {letters[0].reason}: {letters[0].message}"


def built(subject: SourceSubject) -> tuple[int, int, int, list[DeadLetter]]:
    """Return how many items a build has, of which so many images and labels come, and the rest."""
    source = subject.new()
    specs = tuple(partition([source]))
    shards = [read_shard(spec, source, limits=Limits())[0] for spec in specs]
    return (
        sum(len(spec.entries) for spec in specs),
        sum(len(shard.records) for shard in shards),
        sum(len(labels) for shard in shards for labels in shard.labels),
        [letter for shard in shards for letter in shard.dead_letters],
    )


SourceCheck = Check[SourceSubject]
CHECKS: tuple[SourceCheck, ...] = (
    found_by_its_name,
    options_are_sound,
    lists_items,
    lists_the_same_again,
    lists_the_same_as_columns,
    reads_inputs,
    reads_the_same_again,
    loses_only_what_is_gone,
    remarks_are_text,
    becomes_samples,
    lists_the_same_elsewhere,
)
REQUIRED: Mapping[SourceCheck, tuple[SourceCheck, ...]] = {
    lists_items: (options_are_sound,),
    **dict.fromkeys(CHECKS[3:], (lists_items,)),
    **dict.fromkeys(
        (reads_the_same_again, loses_only_what_is_gone, becomes_samples), (reads_inputs,)
    ),
    becomes_samples: (reads_inputs, lists_the_same_as_columns),
    lists_the_same_elsewhere: CHECKS[:-1],
}


def check_source(source_class: type[Source[Any]], config: SourceConfig) -> SourceReport:
    """Check that a source keeps its contract, and return what a build makes of it.

    Args:
        source_class: a subclass of `Source`.
        config: of its `Config`; what it names is listed and read several times, whole.

    Raises:
        ContractBroken: an AssertionError with one sentence for each fault, and its cure.
    """
    found: object = source_class
    if not (isinstance(found, type) and issubclass(found, Source)):
        raise ContractBroken(repr(source_class), ["it is no source: derive a class from Source"])
    subject = SourceSubject(source_class, config)
    Checks(subject, CHECKS, REQUIRED).raise_faults(name_of(source_class))
    items, images, labels, letters = built(subject)
    return SourceReport(
        checks=tuple(check.__name__ for check in CHECKS),
        items=items,
        images=images,
        labels=labels,
        dead_letters=len(letters),
    )

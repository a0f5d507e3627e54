"""A shard: a fixed list of samples, read once, with their bytes beside them.

Each input becomes a record or a dead letter. Each image is decoded once here, so a record is an
image that decodes, with the size of its pixels.
"""

from __future__ import annotations

import itertools
import json
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from hashlib import sha256
from typing import Any, NamedTuple

import numpy as np

from florilegium.engine.core.annotation import (
    COORDINATE_DECIMALS,
    SOURCE,
    Annotation,
    Provenance,
    stamp,
)
from florilegium.engine.core.errors import FlorilegiumError, SampleError
from florilegium.engine.core.image.header import PIXELS_VERSION, ImageHeader
from florilegium.engine.core.image.reading import check
from florilegium.engine.core.image_member import ImageKind, image_member
from florilegium.engine.core.keys import Taken, packed_key
from florilegium.engine.core.limits import Limits
from florilegium.engine.core.redaction import redacted_urls
from florilegium.engine.core.sample import DeadLetter, Record, digest_of
from florilegium.engine.core.validity import is_number, problem_of
from florilegium.engine.planning.partition import ShardSpec, shard_name
from florilegium.engine.sources.files import dead_letter, failed
from florilegium.engine.sources.metadata import metadata_json, with_problems
from florilegium.engine.sources.own_output import without_bad
from florilegium.engine.sources.source import Item, Reading, Source
from florilegium.engine.sources.takedown import NOTHING, Takedown, base_of, taken_down

BOX_TOLERANCE = 1.0
"""Pixels by which a box of the source may leave the image, as by rounding: it is clipped. One that
leaves it further belongs to another size, and is left out."""

SHARD_TOO_LARGE = "shard_too_large"

SOURCE_FINGERPRINT = digest_of([SOURCE, "4"])[:16]
"""The stage fingerprint of the source's labels."""
_SOURCE_PROVENANCE = Provenance(specialist=SOURCE, stage=SOURCE_FINGERPRINT)


@dataclass(frozen=True, kw_only=True)
class Shard:
    """The samples of one shard without their bytes, and the inputs that never became samples.

    `labels` has, for each record, the annotations of the source.
    """

    number: int
    records: tuple[Record, ...]
    labels: tuple[tuple[Annotation, ...], ...]
    dead_letters: tuple[DeadLetter, ...]

    @property
    def name(self) -> str:
        """The shard's number as it is written in names."""
        return shard_name(self.number)

    @cached_property
    def digest(self) -> str:
        """The shard's identity: the digest of its samples' digests."""
        return digest_of(self.sample_digests)

    @property
    def sample_digests(self) -> list[str]:
        """The digest of each sample, in order."""
        return [record.digest for record in self.records]


class ShardBytes:
    """The original bytes of a shard's images in one array, which Ray shares without a copy."""

    def __init__(self, images: Iterable[bytes | memoryview]) -> None:
        """Join images one by one; an image that has no other reference is in memory once."""
        data, ends = bytearray(), [0]
        for image in images:
            data += image
            ends.append(len(data))
        self._ends = np.array(ends)
        self._data = np.frombuffer(data, np.uint8)
        self._data.flags.writeable = False

    def only(self, numbers: Sequence[int]) -> ShardBytes:
        """Return the bytes of these images alone, under their numbers."""
        wanted = set(numbers)
        count = len(self._ends) - 1
        return ShardBytes(self[n] if n in wanted else b"" for n in range(count))

    def __getitem__(self, number: int) -> memoryview:
        """Return the bytes of one image, without a copy."""
        return self._data.data[self._ends[number] : self._ends[number + 1]]


class Spot(NamedTuple):
    """A step of reading a shard: an input of an entry, by number, read or decoded."""

    entry: int
    reading: int
    is_decoding: bool


Watched = Callable[[Spot, str], AbstractContextManager[None]]
"""Returns the context in which an input, with its location, is read or decoded."""


def read_shard(
    spec: ShardSpec,
    source: Source[Any],
    *,
    limits: Limits,
    given_up: Mapping[Spot, SampleError] | None = None,
    watched: Watched = lambda *_: nullcontext(),
    takedown: Takedown = NOTHING,
    kind: ImageKind = "jpg",
) -> tuple[Shard, ShardBytes]:
    """Read the inputs of a shard: headers, digests, labels of the source and bytes.

    `given_up` are steps at which workers died, with the error for the dead letter. Images on a
    `takedown` list become dead letters; `kind` is how images are published, whose digests may be on
    it, too.
    """
    held = 0
    records: list[Record] = []
    labels: list[tuple[Annotation, ...]] = []
    images: deque[bytes] = deque()
    dead_letters: list[DeadLetter] = []
    given_up = given_up or {}
    base = _base(spec, source)
    for key, reading, spot in _readings(spec, source, given_up, watched):
        location = reading.source if isinstance(reading, DeadLetter) else reading.location
        if takedown.matching(key=key, location=location, base=base):
            entries = _listed_unread(takedown, base, key, reading)
            dead_letters.append(taken_down(key, location, entries))
            continue
        if isinstance(reading, DeadLetter):
            dead_letters.append(replace(reading, key=key))
            continue
        try:
            if error := given_up.get(spot):
                raise error
            _check_bytes(reading, held, limits)
            with watched(spot, reading.location):
                record, annotations = _record(key, reading, limits)
                entries = _listed(takedown, base, kind, record, reading.data)
        except SampleError as error:
            dead_letters.append(dead_letter(key, reading.location, error.reason, error.message))
            continue
        except Exception as error:  # labels that a source of another package did not check
            dead_letters.append(failed(key, reading.location, error))
            continue
        if entries:
            dead_letters.append(taken_down(key, location, entries))
            continue
        held += len(reading.data)
        records.append(record)
        labels.append(tuple(stamp(annotations, _SOURCE_PROVENANCE, record.digest)))
        images.append(reading.data)
    shard = Shard(
        number=spec.number,
        records=tuple(records),
        labels=tuple(labels),
        dead_letters=tuple(dead_letters),
    )
    # Each image is freed as soon as it is copied: a shard may have gigabytes of them.
    return shard, ShardBytes(images.popleft() for _ in range(len(images)))


def _base(spec: ShardSpec, source: Source[Any]) -> str:
    """Return what the locations of a shard's inputs are relative to."""
    return base_of(source.config.url, spec.entries[0].item.location) if spec.entries else ""


def _listed_unread(
    takedown: Takedown, base: str, key: str, reading: Reading | DeadLetter
) -> tuple[str, ...]:
    """Return all entries that match an input which is listed by key or place; it is not decoded."""
    if isinstance(reading, DeadLetter):
        return takedown.matching(key=key, location=reading.source, base=base)
    return takedown.matching(
        key=key,
        location=reading.location,
        base=base,
        metadata=reading.metadata,
        digests=[sha256(reading.data).hexdigest()],
    )


def _listed(
    takedown: Takedown, base: str, kind: ImageKind, record: Record, data: bytes
) -> tuple[str, ...]:
    """Return the entries of a takedown list that match an image, by all that its sample would have;
    `data` are its bytes, which are published in this `kind`."""
    digests = [record.sha256]
    if takedown.has_digests:
        published = image_member(data, kind=kind, extension=record.extension).data
        digests += [sha256(published).hexdigest()] if published is not data else []
    return takedown.matching(
        key=record.key,
        location=record.source,
        base=base,
        metadata=record.metadata,
        digests=digests,
    )


def _readings(
    spec: ShardSpec, source: Source[Any], given_up: Mapping[Spot, SampleError], watched: Watched
) -> Iterator[tuple[str, Reading | DeadLetter, Spot]]:
    """Yield what the source reads, each with a key that is unique in the dataset, and the step of
    decoding it."""
    for number, entry in enumerate(spec.entries):
        taken: Taken = {}
        steps = _steps(number, entry.item, source, given_up, watched)
        for count, reading in enumerate(steps):
            name = reading.key if isinstance(reading, DeadLetter) else reading.name
            key = packed_key(entry.key, name, taken) if source.is_packed else entry.key
            yield key, reading, Spot(number, count, is_decoding=True)


def _steps(
    number: int,
    item: Item,
    source: Source[Any],
    given_up: Mapping[Spot, SampleError],
    watched: Watched,
) -> Iterator[Reading | DeadLetter]:
    """Read one item, step by step, up to the step that is given up."""
    readings = _read(item, source)
    for count in itertools.count():
        spot = Spot(number, count, is_decoding=False)
        if error := given_up.get(spot):
            rest = "; nothing after it can be read" if source.is_packed else ""
            yield dead_letter(item.location, item.location, error.reason, error.message + rest)
            return
        with watched(spot, item.location):
            reading = next(readings, None)
        if reading is None:
            return
        yield reading


def _read(item: Item, source: Source[Any]) -> Iterator[Reading | DeadLetter]:
    """Read one item; after an unforeseen error, the rest of it is a dead letter."""
    try:
        yield from source.read(item)
    except SampleError as error:
        yield dead_letter(item.location, item.location, error.reason, error.message)
    except FlorilegiumError:
        raise
    except Exception as error:
        yield failed(item.location, item.location, error)


def _check_bytes(reading: Reading, held: int, limits: Limits) -> None:
    """Refuse an image that makes its shard too large for memory.

    Raises:
        SampleError: `shard_too_large`.
    """
    if held + len(reading.data) > limits.max_shard_bytes:
        raise SampleError(
            SHARD_TOO_LARGE,
            f"{len(reading.data)} bytes, after {held} of other images of its shard; the limit is "
            f"{limits.max_shard_bytes} together (limits.max_shard_bytes): choose a smaller "
            f"`shard_size`, or divide the archive",
        )


def _record(key: str, reading: Reading, limits: Limits) -> tuple[Record, tuple[Annotation, ...]]:
    """Return an image's record, and the labels of the source that fit the image."""
    # A truncated image, or one whose header has another size, is no sample.
    header = check(reading.data, max_pixels=limits.max_pixels, max_bytes=limits.max_file_bytes)
    annotations, metadata = _fitting(reading, header, limits.max_annotations)
    image_digest = sha256(reading.data).hexdigest()
    labels = json.dumps([asdict(label) for label in annotations], sort_keys=True)
    record = Record(
        key=key,
        sha256=image_digest,
        width=header.width,
        height=header.height,
        orientation=header.orientation,
        extension=header.extension,
        source=reading.location,
        metadata=metadata,
        digest=digest_of(
            [key, image_digest, str(PIXELS_VERSION), reading.location, metadata, labels]
        ),
    )
    return record, annotations


def _fitting(
    reading: Reading, header: ImageHeader, most: int
) -> tuple[tuple[Annotation, ...], str]:
    """Leave out labels that do not fit the image, and name them in the metadata."""
    width, height = header.width, header.height
    kept, problems = without_bad(
        [_clipped(label, width, height) for label in reading.annotations[:most]],
        lambda label: (
            problem_of(label, width=width, height=height) or _box_problem(label, width, height)
        ),
    )
    beyond = max(len(reading.annotations) - most, 0)
    problems += [f"the limit is {most} (limits.max_annotations)"] * beyond
    metadata = redacted_urls(reading.metadata)
    if not problems:
        return kept, metadata
    remark = f"{len(problems)} of {len(reading.annotations)} labels left out: {problems[0]}"
    return kept, metadata_json(with_problems(json.loads(metadata), [remark]))


def _clipped(label: Annotation, width: int, height: int) -> Annotation:
    """Clip a box that leaves the image by at most `BOX_TOLERANCE`; keep all other labels."""
    if not isinstance(label.box_xyxy, tuple | list) or len(label.box_xyxy) != 4:
        return label
    if not all(map(is_number, label.box_xyxy)):
        return label
    box_xyxy = np.array(label.box_xyxy, dtype=np.float64)
    inside = box_xyxy.clip(0, (width, height, width, height))
    if np.abs(box_xyxy - inside).max() > BOX_TOLERANCE:
        return label
    return replace(label, box_xyxy=tuple(inside.tolist()))


def _box_problem(label: Annotation, width: int, height: int) -> str:
    """Return why a well-formed box cannot be that of an object in the image, or ""."""
    if not label.box_xyxy:
        return ""
    x1, y1, x2, y2 = label.box_xyxy
    if min(x1, y1) < 0 or x2 > width or y2 > height:
        return f"{label.task}: a box that leaves the {width}x{height} image: {label.box_xyxy}"
    if round(x2 - x1, COORDINATE_DECIMALS) <= 0 or round(y2 - y1, COORDINATE_DECIMALS) <= 0:
        return f"{label.task}: a box without an area: {label.box_xyxy}"
    return ""

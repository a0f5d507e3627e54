"""Examples of good captions: a JSONL file beside its images.

    {"image": "images/000001.jpg", "task": "detailed_caption", "text": "A cat asleep on ..."}

Paths are relative to the file and stay inside its folder. `florilegium export --format few_shot`
writes such a file from a dataset and its audit.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b, sha256
from pathlib import Path
from typing import Any

from florilegium.engine.core.errors import ConfigError, SampleError, nearest
from florilegium.engine.core.image.reading import read_header
from florilegium.engine.core.sample import Sample, digest_of
from florilegium.engine.core.tasks import CAPTION_TASKS
from florilegium.specialists.online.context import one_line

MAX_EXAMPLES = 400
MAX_BYTES = 16 * 1024 * 1024
"""Maximum bytes of one image, or of the file itself."""
MAX_CHARACTERS = 4000
"""Maximum characters of a caption."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Example:
    """An image and its caption.

    `sha256` is that of the image's bytes, `source_sha256` that of the image it was made from, which
    identifies its sample.
    """

    image: Path
    sha256: str
    source_sha256: str
    task: str
    text: str
    width: int
    height: int


@dataclass(frozen=True, kw_only=True)
class Examples:
    """The examples of a file, in order."""

    path: str
    examples: tuple[Example, ...]

    @cached_property
    def digest(self) -> str:
        """A digest of tasks, captions and images, 16 hex digits; independent of names and order."""
        rows = sorted(f"{one.task} {one.sha256} {one.text}" for one in self.examples)
        return digest_of(rows)[:16]

    def of(self, task: str) -> list[Example]:
        """Return the examples of one task."""
        return [one for one in self.examples if one.task == task]

    def chosen(self, sample: Sample, task: str, count: int, seed: int) -> list[Example]:
        """Choose examples for a sample, never its own image.

        Examples are ranked by a digest of the seed, the sample's bytes and the example: an image
        always gets the same ones, and a new example in the file changes the choice only if it ranks
        among the first.
        """
        own = sample.sha256
        others = [one for one in self.of(task) if own not in (one.sha256, one.source_sha256)]
        return sorted(others, key=lambda one: _rank(seed, own or sample.key, one))[:count]


def _rank(seed: int, name: str, example: Example) -> bytes:
    parts = [str(seed), name, example.task, example.sha256, example.text]
    return blake2b(digest_of(parts).encode(), digest_size=8).digest()


def read_examples(path: str) -> Examples:
    """Read a file of examples and check their images.

    Raises:
        ConfigError: it is missing or too large, a line is no example, or an image is missing,
        damaged
            or outside of the file's folder.
    """
    if not path:
        raise ConfigError(
            "examples is empty: give the path of a JSONL file, as `florilegium export --format "
            "few_shot` writes it"
        )
    lines = _bytes(Path(path), f"examples = {path!r}").splitlines()
    examples = tuple(_examples(Path(path), lines))
    if not examples:
        raise ConfigError(f"examples = {path!r} has no example: write some")
    if len(examples) > MAX_EXAMPLES:
        raise ConfigError(
            f"examples = {path!r} has {len(examples)} examples, "
            f"more than {MAX_EXAMPLES}: remove some"
        )
    return Examples(path=path, examples=examples)


def _examples(path: Path, lines: Sequence[bytes]) -> Iterator[Example]:
    for number, line in enumerate(lines, start=1):
        if line.strip():
            yield _example(path.parent.resolve(), line, f"{path}, line {number}")


def _example(folder: Path, line: bytes, where: str) -> Example:
    image, task, text, source_sha256 = _values(line, where)
    location = (folder / image).resolve()
    if not location.is_relative_to(folder):
        raise ConfigError(
            f"{where}: the image {image!r} lies outside the folder of the file: move it into it"
        )
    data = _bytes(location, f"{where}: the image {image!r}")
    try:
        header = read_header(data)
    except SampleError as error:
        raise ConfigError(f"{where}: the image {image!r} cannot be used: {error}") from error
    digest = sha256(data).hexdigest()
    return Example(
        image=location,
        sha256=digest,
        source_sha256=source_sha256 or digest,
        task=task,
        text=text,
        width=header.width,
        height=header.height,
    )


def _values(line: bytes, where: str) -> tuple[str, str, str, str]:
    try:
        row: Any = json.loads(line)
    except ValueError:
        row = None
    names = ("image", "task", "text", "source_sha256")
    values = [row.get(name) if isinstance(row, dict) else None for name in names]
    image, task, text, digest = (value if isinstance(value, str) else "" for value in values)
    text = one_line(text)
    if not image or "\0" in image or not text:
        raise ConfigError(
            f'{where}: {line[:80]!r} is not of the form {{"image": "images/000001.jpg", '
            '"task": "detailed_caption", "text": "A cat ..."}'
        )
    if task not in CAPTION_TASKS:
        raise ConfigError(f"{where}: {task!r} is no caption task, {nearest(task, CAPTION_TASKS)}")
    if len(text) > MAX_CHARACTERS:
        raise ConfigError(
            f"{where}: a caption of {len(text)} characters, at most {MAX_CHARACTERS} are allowed"
        )
    return image, task, text, digest


def _bytes(path: Path, what: str) -> bytes:
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise ConfigError(f"{what} has {size} bytes, at most {MAX_BYTES} are allowed")
        return path.read_bytes()
    except (OSError, ValueError) as error:  # a null byte in a path is a ValueError
        raise ConfigError(f"{what} cannot be read: {error}") from error

"""Few-shot episodes, interleaved as Flamingo reads them: examples with their answers, then a query.

    OUTPUT/test/caption/04/000000.tar   KEY.json   {"text": "<image>Output: A cat.<|endofchunk|>...
                                                     <image>Output:", "target": "A dog.", ...}
                                        KEY.00.jpg ... KEY.04.jpg   images in the order of the text
    OUTPUT/train/  OUTPUT/valid/        the same; the examples of all come from `train`

The digest of an image decides its part. An image of which two parts have a copy is an error.
"""

from __future__ import annotations

import shutil
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, Field, field_validator, model_validator

from florilegium.engine.core.counted import counted
from florilegium.engine.core.errors import UsageError, nearest
from florilegium.engine.core.image.encoding import encode_jpeg
from florilegium.engine.core.image.resizing import shrunk
from florilegium.engine.core.keys import Taken, unique_key
from florilegium.engine.core.names_among import NamesAmong
from florilegium.engine.core.sample import Picture, digest_of
from florilegium.engine.results.dataset_sample import DatasetSample
from florilegium.engine.results.publication import to_json
from florilegium.pipelines.export.exporter import ExportConfig, Exported, Exporter
from florilegium.pipelines.export.parts import PARTS, TRAIN, part_of
from florilegium.pipelines.export.selected import SelectedDataset
from florilegium.pipelines.export.shots import EPISODE_TASKS, Shot, shots_of
from florilegium.pipelines.export.supports import (
    ClassSupports,
    Images,
    RandomSupports,
    SimilarSupports,
    Supports,
)
from florilegium.pipelines.export.tar_files import TarFiles
from florilegium.specialists.similarity.image_text import ImageTextConfig, load_image_text

_IMAGES = ".images"
"""Images while the episodes are written."""
_CHOICES: Mapping[str, Callable[..., Supports]] = {
    "random": RandomSupports,
    "class": ClassSupports,
    "similarity": SimilarSupports,
}
_BATCH = 32


class EpisodesConfig(ExportConfig):
    """Options of `EpisodesExporter`."""

    tasks: Annotated[tuple[str, ...], NamesAmong(EPISODE_TASKS)] = EPISODE_TASKS
    """What is asked about the images: captions, `tag` (what is in the image), `question_answer`,
    `transcript` (the text in the image)."""
    shots: tuple[Annotated[int, Field(ge=0, le=256)], ...] = Field(
        default=(0, 4, 8, 32), min_length=1
    )
    """Numbers of examples before a query; a query is asked once with each number."""
    supports: Literal["random", "class", "similarity"] = "random"
    """How the examples of a query are chosen; `class` prefers images with an object or a tag that
    the query's image has, and gives one of each class in turn where the class is asked for."""
    embedding: ImageTextConfig | None = None
    """The image-text model that compares images, for `supports: similarity`."""
    queries: int | None = Field(default=None, ge=1)
    """Queries of each task and part at most, chosen by the seed."""
    seed: int = 0
    """Chooses examples and queries."""
    longest_side: int = Field(default=480, ge=16)
    """Pixels of the longer side of an image at most; larger ones are made smaller, as 33 images of
    full size make a large sample. Flamingo was evaluated with 480."""
    samples_per_tar: int = Field(default=1000, ge=1)
    """Episodes of one tar at most."""

    @field_validator("tasks")
    @classmethod
    def _known(cls, tasks: tuple[str, ...]) -> tuple[str, ...]:
        for task in tasks:
            if task not in EPISODE_TASKS:
                raise ValueError(f"no episode is of {task!r}, {nearest(task, EPISODE_TASKS)}")
        return tuple(dict.fromkeys(tasks))

    @model_validator(mode="after")
    def _has_a_model(self) -> EpisodesConfig:
        if (self.supports == "similarity") != (self.embedding is not None):
            raise ValueError("`supports: similarity` and a model in `embedding` belong together")
        return self


@dataclass(frozen=True, kw_only=True)
class EpisodesExported(Exported):
    """How many episodes there are, by part, task and number of examples; `short` counts those that
    have fewer examples than they should, for want of images."""

    episodes: Mapping[tuple[str, str, int], int]
    short: Mapping[tuple[str, str, int], int]

    def summary(self) -> Iterator[str]:
        """Yield a line for each part, task and number."""
        for (part, task, count), episodes in self.episodes.items():
            yield f"{part:6} {task:22} {count:3} shots  {counted(episodes, 'episode')}"

    def warnings(self) -> Iterator[str]:
        """Yield a line where episodes have fewer examples."""
        for (part, task, count), episodes in self.short.items():
            yield (
                f"{part}, {task}: {counted(episodes, 'episode')} of {count} shots left out: there "
                f"are not so many other images in {TRAIN}"
            )


@dataclass(kw_only=True)
class _Gathered:
    """All images and what can be asked about them; an image is a file in `folder`."""

    folder: Path
    keys: list[str] = field(default_factory=list)
    sha256: list[str] = field(default_factory=list)
    digest: list[str] = field(default_factory=list)
    shots: dict[tuple[str, str], list[Shot]] = field(default_factory=lambda: defaultdict(list))

    def path(self, image: int) -> Path:
        """Return where an image lies."""
        return self.folder / f"{image}.jpg"


class EpisodesExporter(Exporter[EpisodesConfig, EpisodesExported]):
    """Writes episodes; memory holds texts and, for similarity, vectors, images lie on disk."""

    Config: ClassVar[type[BaseModel]] = EpisodesConfig

    def write(self, dataset: SelectedDataset, output: Path) -> EpisodesExported:
        """Write the tars.

        Raises:
            UsageError: nothing can be asked, no image is for training,
                or two parts have a copy of one image.
            StorageError: a shard cannot be read.
            ConfigError: the model of `embedding` cannot be used.
        """
        gathered = _Gathered(folder=output / _IMAGES)
        gathered.folder.mkdir()
        for sample in dataset:
            self._gather(sample, gathered)
        _check(gathered, dataset.url)
        vectors = self._vectors(gathered) if self.config.embedding else None
        images = Images(digest=gathered.digest, vectors=vectors)
        episodes: Counter[tuple[str, str, int]] = Counter()
        short: Counter[tuple[str, str, int]] = Counter()
        for task in self.config.tasks:
            supports = _CHOICES[self.config.supports](
                gathered.shots[TRAIN, task], images, seed=self.config.seed
            )
            for part in PARTS:
                queries = self._queries(gathered.shots[part, task], images)
                for count in self.config.shots if queries else ():
                    written, missing = self._write(
                        output / part / task / f"{count:02d}", queries, supports, count, gathered
                    )
                    episodes[part, task, count] = written
                    short.update({(part, task, count): missing} if missing else {})
        shutil.rmtree(gathered.folder)
        return EpisodesExported(episodes=episodes, short=short)

    def _gather(self, sample: DatasetSample, gathered: _Gathered) -> None:
        """Store the image of a sample, if anything can be asked about it, and its shots."""
        number, part = len(gathered.keys), part_of(sample.sha256)
        shots = list(shots_of(number, sample.annotations, self.config.tasks))
        if not shots:
            return
        pixels = shrunk(sample.pixels(), self.config.longest_side)
        gathered.path(number).write_bytes(encode_jpeg(pixels))
        gathered.keys.append(sample.key)
        gathered.sha256.append(sample.sha256)
        gathered.digest.append(sha256(sample.image).hexdigest())
        for shot in shots:
            gathered.shots[part, shot.task].append(shot)

    def _vectors(self, gathered: _Gathered) -> npt.NDArray[np.float32]:
        """Return the unit vector of each image by the model of `embedding`."""
        assert self.config.embedding is not None
        model = load_image_text(self.config.embedding)
        found: list[np.ndarray] = []
        for first in range(0, len(gathered.keys), _BATCH):
            numbers = range(first, min(first + _BATCH, len(gathered.keys)))
            found += model.look([Picture(gathered.path(number).read_bytes()) for number in numbers])
        return np.stack(found)

    def _queries(self, shots: Sequence[Shot], images: Images) -> list[Shot]:
        """Return the queries of a task and part, in stored order; of too many a random choice."""
        if self.config.queries is None or len(shots) <= self.config.queries:
            return list(shots)
        names = [f"{self.config.seed} {images.digest[one.image]} {one.question}" for one in shots]
        ranked = sorted(range(len(shots)), key=lambda number: digest_of([names[number]]))
        return [shots[number] for number in sorted(ranked[: self.config.queries])]

    def _write(
        self,
        folder: Path,
        queries: Sequence[Shot],
        supports: Supports,
        count: int,
        gathered: _Gathered,
    ) -> tuple[int, int]:
        """Write the episodes of these queries; return how many, and how many lack examples."""
        missing = 0
        taken: Taken = {}
        with TarFiles(folder, samples_per_tar=self.config.samples_per_tar) as tars:
            for query in queries:
                examples = supports.chosen(query, count)
                if len(examples) < count:
                    missing += 1
                    continue
                key = unique_key(gathered.keys[query.image], taken)
                tars.add(key, _members(query, examples, gathered))
            return tars.samples, missing


def _members(query: Shot, examples: Sequence[Shot], gathered: _Gathered) -> dict[str, bytes]:
    """Return the files of an episode."""
    numbers = [*(one.image for one in examples), query.image]
    fields: dict[str, Any] = {
        "task": query.task,
        "text": "".join(one.text for one in examples) + query.prompt,
        "target": query.answer,
        "keys": [gathered.keys[number] for number in numbers],
        "sha256": [gathered.sha256[number] for number in numbers],
    }
    images = {
        f"{place:02d}.jpg": gathered.path(number).read_bytes()
        for place, number in enumerate(numbers)
    }
    return {"json": to_json(fields), **images}


def _check(gathered: _Gathered, url: str) -> None:
    """Check that episodes can be made, and that no two parts have a copy of an image.

    Raises:
        UsageError: they cannot, or have.
    """
    if not gathered.keys:
        raise UsageError(f"nothing can be asked about the samples of {url}: label more of them")
    if all(part != TRAIN for part, _ in gathered.shots):
        raise UsageError(f"no image of {url} is for training: label more samples")
    first: dict[str, int] = {}
    for number, digest in enumerate(gathered.digest):
        other = first.setdefault(digest, number)
        if part_of(gathered.sha256[other]) != part_of(gathered.sha256[number]):
            raise UsageError(
                f"the samples {gathered.keys[other]!r} and {gathered.keys[number]!r} are one image "
                f"in two parts: answers would leak; remove one of them from the source"
            )

"""Pages as interleaved texts and images, with our annotations: the layout of Flamingo's M3W.

    OUTPUT/000000.tar  KEY.json     {"text": "Birds<|endofchunk|><image>They fly.<|endofchunk|>",
                                      "page": ..., "images": [{"key": ..., "annotations": [...]}]}
                        KEY.0.jpg    its images, upright, in the order of the text

For datasets whose images came from pages (source `pages`). Images that became no sample are left
out; the text around them stays.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from pydantic import BaseModel, Field, field_validator

from florilegium.engine.core.annotation import Annotation
from florilegium.engine.core.counted import counted
from florilegium.engine.core.errors import UsageError, nearest
from florilegium.engine.core.image_member import ImageKind
from florilegium.engine.core.keys import Taken, unique_key
from florilegium.engine.core.tasks import CAPTION_TASKS
from florilegium.engine.results.dataset_sample import DatasetSample
from florilegium.engine.results.publication import to_json
from florilegium.engine.sources.metadata import DROPPED
from florilegium.pipelines.export.exporter import ExportConfig, Exported, Exporter, upright
from florilegium.pipelines.export.flamingo import END, IMAGE, plain
from florilegium.pipelines.export.selected import SelectedDataset
from florilegium.pipelines.export.tar_files import TarFiles

ALT = "alt"
"""The name by which `describe` means the alt text of the page."""
NO_PAGE = "samples that come from no page"
IMAGE_MISSING = "pages of which images are missing"
TEXT_MISSING = "pages with texts left out, which are longer than metadata may be"
_FIELDS = {"page": str, "position": int, "positions": int}
_TEXTS = ("before", "after")


class InterleavedConfig(ExportConfig):
    """Options of `InterleavedExporter`."""

    max_images: int = Field(default=5, ge=1)
    """Images of one sample at most, as in Flamingo; a page with more becomes several samples."""
    describe: tuple[str, ...] = ()
    """What stands between an image and the text after it: the first of these that the image has.
    `alt` is the alt text of the page, others are tasks of captions."""
    samples_per_tar: int = Field(default=1000, ge=1)
    """Samples of one tar at most."""

    @field_validator("describe")
    @classmethod
    def _are_texts(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        known = (ALT, *CAPTION_TASKS)
        for name in names:
            if name not in known:
                raise ValueError(f"{name!r} describes no image, {nearest(name, known)}")
        return names


@dataclass(frozen=True, kw_only=True)
class InterleavedExported(Exported):
    """What was written, and how many pages or samples have a problem, by problem."""

    pages: int
    samples: int
    images: int
    problems: Mapping[str, int]

    def summary(self) -> Iterator[str]:
        """Yield the counts."""
        yield f"{counted(self.samples, 'sample')} of {counted(self.pages, 'page')}"
        yield counted(self.images, "image")

    def warnings(self) -> Iterator[str]:
        """Yield how often each problem occurs."""
        for problem, count in sorted(self.problems.items()):
            yield f"{problem}: {count}"


class Shown(NamedTuple):
    """An image of a page: its sample, and what the source knows of its place there."""

    position: int
    sample: DatasetSample
    place: Mapping[str, Any]


class InterleavedExporter(Exporter[InterleavedConfig, InterleavedExported]):
    """Writes pages; the images of one shard are in memory at once."""

    Config: ClassVar[type[BaseModel]] = InterleavedConfig

    def write(self, dataset: SelectedDataset, output: Path) -> InterleavedExported:
        """Write the tars.

        Raises:
            UsageError: no sample comes from a page.
            StorageError: a shard cannot be read.
        """
        kind: ImageKind = dataset.manifest["images"]
        problems: Counter[str] = Counter()
        taken: Taken = {}
        pages = images = 0
        with TarFiles(output, samples_per_tar=self.config.samples_per_tar) as tars:
            for shard in dataset.shards:
                for page, shown in _pages(dataset.samples(shard), problems).items():
                    pages, images = pages + 1, images + len(shown)
                    problems.update(_problems(shown))
                    for first in range(0, len(shown), self.config.max_images):
                        key = unique_key(f"{page} {first}" if first else page, taken)
                        tars.add(key, self._members(page, shown, first, kind))
            if not pages:
                raise UsageError(
                    f"no sample of {dataset.url} comes from a page: build it from a source of the "
                    f"kind `pages`"
                )
            return InterleavedExported(
                pages=pages, samples=tars.samples, images=images, problems=problems
            )

    def _members(
        self, page: str, shown: Sequence[Shown], first: int, kind: ImageKind
    ) -> dict[str, bytes | memoryview]:
        """Return the files of a sample: images of a page from the `first` on, and its text."""
        chosen = shown[first : first + self.config.max_images]
        members: dict[str, bytes | memoryview] = {}
        for number, one in enumerate(chosen):
            image = upright(one.sample.image, kind)
            members[f"{number}.{image.extension}"] = image.data
        following = [text_after(shown, number) for number in range(first, first + len(chosen))]
        before = "" if first else plain(str(chosen[0].place.get("before", "")))
        text = f"{before}{END}" if before else ""
        for one, after in zip(chosen, following, strict=True):
            text += f"{IMAGE}{self._description(one)}{after}{END}"
        fields = {"page": page, "title": chosen[0].place.get("title", ""), "text": text}
        members["json"] = to_json({**fields, "images": [_image_json(one) for one in chosen]})
        return members

    def _description(self, shown: Shown) -> str:
        for name in self.config.describe:
            texts = [one.text for one in shown.sample.annotations if one.task == name]
            text = str(shown.place.get(ALT, "")) if name == ALT else next(iter(texts), "")
            if text:
                return plain(text) + "\n"
        return ""


def text_after(shown: Sequence[Shown], number: int) -> str:
    """Return the text that follows an image up to the next one of those that are shown; between
    them may be images that became no sample."""
    one, following = shown[number], shown[number + 1 : number + 2]
    texts = [str(one.place.get("after", ""))]
    if following and following[0].position > one.position + 1:
        texts.append(str(following[0].place.get("before", "")))
    return plain("\n".join(filter(None, texts)))


def _pages(samples: Iterator[DatasetSample], problems: Counter[str]) -> dict[str, list[Shown]]:
    """Return the images of each page in their order; count samples that come from no page."""
    pages: dict[str, list[Shown]] = {}
    for sample in samples:
        place = json.loads(sample.metadata)
        if all(isinstance(place.get(name), kind) for name, kind in _FIELDS.items()):
            pages.setdefault(place["page"], []).append(Shown(place["position"], sample, place))
        else:
            problems[NO_PAGE] += 1
    return {page: sorted(shown, key=lambda one: one.position) for page, shown in pages.items()}


def _problems(shown: Sequence[Shown]) -> Iterator[str]:
    if len(shown) < shown[0].place["positions"]:
        yield IMAGE_MISSING
    if any(set(_TEXTS).intersection(one.place.get(DROPPED, ())) for one in shown):
        yield TEXT_MISSING


def _image_json(shown: Shown) -> dict[str, Any]:
    sample = shown.sample
    return {
        "key": sample.key,
        "sha256": sample.sha256,
        "width": sample.width,
        "height": sample.height,
        "position": shown.position,
        "alt": shown.place.get(ALT, ""),
        "annotations": [_annotation_json(one) for one in sample.annotations],
    }


def _annotation_json(annotation: Annotation) -> dict[str, Any]:
    mask = annotation.mask_rle
    return {**asdict(annotation), "mask_rle": mask and mask._asdict()}

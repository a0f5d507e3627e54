"""Annotations from a file, in place of the stages that would have made them.

The file is what `florilegium try --json` prints, the JSON of a sample of a dataset, or a list
written by hand. The stage that returns them is asked and checked as any other.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePath
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict

from florilegium.engine.core.annotation import ANNOTATION_NAMES, Annotation, MaskRLE
from florilegium.engine.core.errors import ConfigError
from florilegium.engine.core.limits import Limits
from florilegium.engine.core.sample import Sample
from florilegium.engine.core.stage import Specialist, StageConfig
from florilegium.engine.core.tasks import TABLE
from florilegium.engine.planning.config import validated
from florilegium.engine.results.contract import SHARD_SCHEMA
from florilegium.engine.untrusted.bounded_json import parsed

GIVEN = "given"
"""The name of the stage."""
_USE = "florilegium.pipelines.trial.given:Given"


class _Mask(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    size: tuple[int, int]
    counts: str


class GivenAnnotation(BaseModel):
    """What a specialist fills of an annotation; only the task has to be there."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    task: str
    kind: str = ""
    """By default that of the task."""
    text: str = ""
    label: str = ""
    language: str = ""
    box_xyxy: tuple[float, ...] = ()
    quad: tuple[float, ...] = ()
    mask_rle: _Mask | None = None
    score: float | None = None
    support: float | None = None
    span: tuple[int, ...] = ()
    id: str = ""
    parent_id: str = ""


Rows = list[dict[str, Any]]
_MADE = {*SHARD_SCHEMA.names, *ANNOTATION_NAMES} - set(GivenAnnotation.model_fields)
"""Columns that the engine fills: provenance and verdicts, which are not taken over."""


def read_given(
    path: Path, images: Sequence[str], limits: Limits
) -> tuple[dict[str, list[dict[str, Any]]], int]:
    """Return the annotations in a file by the image that they are of, and how many are left out
    because a filter dropped them.

    A list without the name of an image is taken for the only one.

    Raises:
        ConfigError: it cannot be read, is of another form, has nothing about these images, or does
            not tell which of them it is about.
    """
    try:
        most = limits.max_json_values
        content = parsed(path.read_bytes(), max_depth=limits.max_json_depth, max_values=most)
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: {error}: give a JSON file with annotations") from error
    entries = content.get("images") if isinstance(content, dict) else None
    if entries is None:
        if len(images) > 1:
            raise ConfigError(
                f"{path} does not tell which of {len(images)} images its annotations are of: give "
                f"one image, or write {{'images': [{{'image': NAME, 'annotations': [...]}}]}}"
            )
        entries = [content] if isinstance(content, dict) else [{"annotations": content}]
        entries = [{**entry, "image": images[0]} for entry in entries]
    found: dict[str, Rows] = {}
    dropped = 0
    for number, entry in enumerate(_mappings(entries, str(path))):
        image = _image_of(str(entry.get("image", "")), images, str(path))
        if image in found:
            raise ConfigError(f"{path} has annotations of {image} twice: give one list of them")
        if image:
            where = f"{path}: annotations of image {number + 1}"
            rows = _mappings(entry.get("annotations"), where)
            kept = [row for row in rows if row.get("kept") is not False]
            dropped += len(rows) - len(kept)
            found[image] = [*_checked(kept, where)]
    if not found:
        raise ConfigError(
            f"{path} has annotations of none of {', '.join(images)}: name them as they are given "
            f"here, or by the name of the file"
        )
    return found, dropped


def _mappings(entries: Any, where: str) -> Rows:
    if isinstance(entries, list) and all(isinstance(one, dict) for one in entries):
        return entries
    raise ConfigError(f"{where}: give a list of objects, as `florilegium try --json` prints them")


def _image_of(name: str, images: Sequence[str], where: str) -> str | None:
    """Return the image that is given by this name, else the only one whose file has it."""
    if name in images:
        return name
    same = [image for image in images if PurePath(image).name == name]
    if len(same) > 1:
        raise ConfigError(
            f"{where}: the image {name} may be {' or '.join(same)}: name it as it is given here"
        )
    return same[0] if same else None


def _checked(rows: Rows, where: str) -> Iterable[dict[str, Any]]:
    for number, row in enumerate(rows):
        own = {name: value for name, value in row.items() if name not in _MADE}
        one = validated(GivenAnnotation, own, where=f"{where}, {number + 1}")
        yield one.model_dump(exclude_defaults=True)


def by_digest(rows: Mapping[str, Rows], digests: Mapping[str, str]) -> dict[str, Rows]:
    """Return the annotations of images by their digests, as a build asks about equal images once.

    Raises:
        ConfigError: images with the same bytes are given different annotations.
    """
    first: dict[str, str] = {}
    for image, digest in digests.items():
        other = first.setdefault(digest, image)
        if rows.get(image) != rows.get(other):
            raise ConfigError(
                f"{other} and {image} have the same bytes, and different annotations are given: "
                f"try them one by one"
            )
    return {digests[image]: own for image, own in rows.items()}


def given_stage(answers: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, Any]:
    """Return the options of the stage; `answers` by the digest of the image's bytes."""
    return {"use": _USE, "answers": {digest: list(rows) for digest, rows in answers.items()}}


class GivenConfig(StageConfig):
    """Options of the stage."""

    answers: dict[str, tuple[GivenAnnotation, ...]]
    """Annotations by the SHA-256 of the image."""


class Given(Specialist[GivenConfig]):
    """Returns annotations that were made before."""

    Config: ClassVar[type[StageConfig]] = GivenConfig

    def __init__(self, config: GivenConfig) -> None:
        super().__init__(config)
        tasks = (one.task for answer in config.answers.values() for one in answer)
        self.produces = tuple(dict.fromkeys(tasks))

    def predict(self, samples: Sequence[Sample]) -> list[list[Annotation]]:
        return [_annotations(self.config.answers.get(sample.sha256, ())) for sample in samples]


def _annotations(given: Sequence[GivenAnnotation]) -> list[Annotation]:
    """Return annotations; a parent that is not among them is unknown, and left out."""
    names = {one.id for one in given if one.id}
    return [_with_parent(_annotation(one), names) for one in given]


def _with_parent(one: Annotation, names: set[str]) -> Annotation:
    return one if one.parent_id in names else replace(one, parent_id="")


def _annotation(given: GivenAnnotation) -> Annotation:
    mask = given.mask_rle
    kind = given.kind or (TABLE[given.task].kind if given.task in TABLE else "")
    values = given.model_dump(exclude={"kind", "mask_rle"})
    rle = MaskRLE(mask.size, mask.counts) if mask else None
    return Annotation(kind=kind, mask_rle=rle, **values)  # type: ignore[arg-type]

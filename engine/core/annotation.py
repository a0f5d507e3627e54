"""An annotation: one statement about one image, to Arrow columns and back.

What each field means stands in `engine.core.columns`. This module knows no task, no stage and no
file.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from operator import attrgetter
from typing import Any, NamedTuple

import pyarrow as pa

from florilegium.engine.core.columns import ANNOTATION_COLUMNS, arrow_fields
from florilegium.engine.core.task import Kind

SOURCE = "source"
"""The `specialist` of the labels that came with the source; the stage at which an input cannot be
read."""

COORDINATE_DECIMALS = 2
SCORE_DECIMALS = 5


class MaskRLE(NamedTuple):
    """A COCO run-length mask: `size` is (height, width), `counts` the compressed string.

    From what `pycocotools.mask.encode` returns:

        MaskRLE(size=(height, width), counts=encoded["counts"].decode())
    """

    size: tuple[int, int]
    counts: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Provenance:
    """Where an annotation comes from: specialist, model, revision, round, stage fingerprint."""

    specialist: str = ""
    model: str = ""
    revision: str = ""
    round: int = 0
    stage: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Annotation:
    """One statement about a sample.

    [The output](output.md) has the meaning, unit and range of each field. A specialist fills
    those from `kind` to `span`; the engine stamps the others. Empty means that there is none; a
    number that was not given is `None`.
    """

    kind: Kind
    task: str
    text: str = ""
    label: str = ""
    language: str = ""
    box_xyxy: tuple[float, ...] = ()
    quad: tuple[float, ...] = ()
    mask_rle: MaskRLE | None = None
    score: float | None = None
    support: float | None = None
    parent_id: str = ""
    span: tuple[int, ...] = ()

    confidence: float | None = None
    merged_from: tuple[str, ...] = ()
    id: str = ""
    specialist: str = ""
    model: str = ""
    revision: str = ""
    round: int = 0
    stage: str = ""

    @property
    def words(self) -> str:
        """The text, else the label: what the annotation says; empty for a bare region."""
        return self.text or self.label

    @property
    def name(self) -> str:
        """The label, else the text: what a thing is called, where there are both."""
        return self.label or self.text


def stamp(
    annotations: Sequence[Annotation],
    provenance: Provenance,
    sample_digest: str,
    question: str = "",
) -> list[Annotation]:
    """Give annotations their ids, provenance and stored precision.

    An id depends on the stage, the sample, the digest of the question, where there is one, and
    the position in the answer only, so the same stage says the same ids again. An id that an
    annotation already has is a name by which a `parent_id` in the same answer finds it; both get
    the new id. Coordinates keep two decimals and scores five: finer digits are noise that differs
    between machines.
    """
    if not annotations:
        return []
    places = range(len(annotations))
    ids = [annotation_id(provenance.stage, sample_digest, place, question) for place in places]
    renamed = {one.id: new for one, new in zip(annotations, ids, strict=True) if one.id}
    stamped = []
    for annotation, new_id in zip(annotations, ids, strict=True):
        stamped.append(
            Annotation(  # half the time of `replace`
                kind=annotation.kind,
                task=annotation.task,
                text=annotation.text,
                label=annotation.label,
                language=annotation.language,
                box_xyxy=_rounded(annotation.box_xyxy),
                quad=_rounded(annotation.quad),
                mask_rle=annotation.mask_rle,
                score=_rounded_score(annotation.score),
                support=_rounded_score(annotation.support),
                parent_id=renamed.get(annotation.parent_id, annotation.parent_id),
                span=tuple(map(int, annotation.span)),
                confidence=annotation.confidence,
                merged_from=annotation.merged_from,
                id=new_id,
                specialist=provenance.specialist,
                model=provenance.model,
                revision=provenance.revision,
                round=provenance.round,
                stage=provenance.stage,
            )
        )
    return stamped


def annotation_id(stage: str, sample_digest: str, place: int, question: str = "") -> str:
    """Return the id of an annotation from the stage's fingerprint, the digest of the sample, that
    of the question, where there is one, and the position in the answer."""
    asked = f"{sample_digest}/{question}" if question else sample_digest
    return blake2b(f"{stage}/{asked}/{place}".encode(), digest_size=8).hexdigest()


def _rounded(coordinates: Iterable[float]) -> tuple[float, ...]:
    return tuple([round(float(value), COORDINATE_DECIMALS) for value in coordinates])


def _rounded_score(score: float | None) -> float | None:
    return None if score is None else round(float(score), SCORE_DECIMALS)


ANNOTATION_FIELDS = arrow_fields(ANNOTATION_COLUMNS)
"""The columns of an annotation as Arrow has them, in the order of the output."""
ANNOTATION_NAMES = tuple(column.name for column in ANNOTATION_COLUMNS)


def to_columns(annotations: Sequence[Annotation]) -> dict[str, pa.Array]:
    """Turn annotations into Arrow columns, one entry per annotation."""
    columns: dict[str, list[Any]] = {
        name: list(map(attrgetter(name), annotations)) for name in ANNOTATION_NAMES
    }
    columns["mask_rle"] = [mask and mask._asdict() for mask in columns["mask_rle"]]
    return {field.name: pa.array(columns[field.name], field.type) for field in ANNOTATION_FIELDS}


def from_table(table: pa.Table) -> list[Annotation]:
    """Turn Arrow columns back into annotations; other columns are ignored."""
    columns = [table.column(name).to_pylist() for name in ANNOTATION_NAMES]
    return [
        from_json(dict(zip(ANNOTATION_NAMES, row, strict=True)))
        for row in zip(*columns, strict=True)
    ]


def from_json(row: dict[str, Any]) -> Annotation:
    """Build an annotation from one row of Parquet or one entry of a sample's JSON."""
    mask = row["mask_rle"]
    return Annotation(
        **{
            **row,
            "box_xyxy": tuple(row["box_xyxy"]),
            "quad": tuple(row["quad"]),
            "span": tuple(row["span"]),
            "merged_from": tuple(row["merged_from"]),
            "mask_rle": MaskRLE(tuple(mask["size"]), mask["counts"]) if mask else None,
        }
    )

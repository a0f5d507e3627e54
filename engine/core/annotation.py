"""An annotation: one statement about one image, and its columns in Arrow.

The three kinds are those of FLD-5B (Florence-2 paper, section 4): `text` about the whole
image, `region` (a box, a quad, a mask) and `phrase` (a span of a caption with its region).
This module knows no stage and no file.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace
from hashlib import blake2b
from typing import Any, Literal, NamedTuple, get_args

import pyarrow as pa

Kind = Literal["text", "region", "phrase"]

CAPTION_TASKS = ("caption", "detailed_caption", "more_detailed_caption")


class Fields(NamedTuple):
    """What an annotation of a task must have: its kind, all of `needs`, and one of `either`."""

    kind: Kind
    needs: tuple[str, ...]
    either: tuple[str, ...] = ()


FIELDS_OF: dict[str, Fields] = {
    "tag": Fields("text", ("label",)),
    **dict.fromkeys((*CAPTION_TASKS, "transcript"), Fields("text", ("text",))),
    "object_detection": Fields("region", ("label", "box_xyxy")),
    "open_vocabulary_detection": Fields("region", ("label", "box_xyxy")),
    "region_proposal": Fields("region", ("box_xyxy",)),
    "dense_region_caption": Fields("region", ("text", "box_xyxy")),
    "segmentation": Fields("region", ("mask_rle",)),
    "referring_segmentation": Fields("region", ("mask_rle",), either=("text", "label")),
    "region_category": Fields("region", ("label", "box_xyxy")),
    "region_description": Fields("region", ("text", "box_xyxy")),
    "region_ocr": Fields("region", ("text", "box_xyxy")),
    "ocr": Fields("region", ("text", "box_xyxy")),
    "phrase_grounding": Fields("phrase", ("text", "box_xyxy", "span", "parent_id")),
}
"""The tasks of the engine; a task of one's own needs nothing but a kind."""

TASKS = tuple(FIELDS_OF)
TEXT_TASKS, REGION_TASKS, PHRASE_TASKS = (
    tuple(task for task, fields_of in FIELDS_OF.items() if fields_of.kind == kind)
    for kind in get_args(Kind)
)

COORDINATE_DECIMALS = 2
SCORE_DECIMALS = 5


class MaskRLE(NamedTuple):
    """A COCO run-length mask: `size` is (height, width), `counts` the compressed string."""

    size: tuple[int, int]
    counts: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Provenance:
    """Who said it: the specialist, its model and revision, the round, the stage's fingerprint."""

    specialist: str = ""
    model: str = ""
    revision: str = ""
    round: int = 0
    stage: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Annotation:
    """One statement about a sample.

    A specialist fills the upper half; the engine stamps identity and provenance.

    Coordinates are absolute pixels of the upright image. `box_xyxy` has 4 floats or none,
    `quad` 8 floats (clockwise from the top-left corner of the text) or none, `span` the first
    and one-past-last character of the phrase in its caption or nothing. `score` is what the
    specialist said, in 0..1, or `None` when it said nothing. `support`, likewise, is its second
    score where it has one: of a grounded phrase how well the words fit the region, of a mask how
    stable it is, of a line how likely there is text. `confidence` is a calibrated probability,
    `None` until something calibrates. `parent_id` is the annotation this one was made from: the
    caption of a phrase, the box of a mask.
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


def stamp(
    annotations: Sequence[Annotation], provenance: Provenance, sample_digest: str
) -> list[Annotation]:
    """Give annotations their ids, provenance and stored precision.

    An id depends on the stage, the sample and the position in the answer only, so the same
    stage says the same ids again. An id that an annotation already has is a name by which a
    `parent_id` in the same answer finds it; both get the new id. Coordinates keep two decimals
    and scores five: finer digits are noise that differs between machines.
    """
    places = range(len(annotations))
    ids = [annotation_id(provenance.stage, sample_digest, place) for place in places]
    renamed = {said.id: new for said, new in zip(annotations, ids, strict=True) if said.id}
    stamped = []
    for annotation, new_id in zip(annotations, ids, strict=True):
        stamped.append(
            replace(
                annotation,
                id=new_id,
                parent_id=renamed.get(annotation.parent_id, annotation.parent_id),
                box_xyxy=_rounded(annotation.box_xyxy),
                quad=_rounded(annotation.quad),
                span=tuple(int(edge) for edge in annotation.span),
                score=_rounded_score(annotation.score),
                support=_rounded_score(annotation.support),
                specialist=provenance.specialist,
                model=provenance.model,
                revision=provenance.revision,
                round=provenance.round,
                stage=provenance.stage,
            )
        )
    return stamped


def annotation_id(stage: str, sample_digest: str, place: int) -> str:
    """Return the id of an annotation from the stage's fingerprint, the digest of the sample and
    the position in the answer."""
    return blake2b(f"{stage}/{sample_digest}/{place}".encode(), digest_size=8).hexdigest()


def _rounded(coordinates: Iterable[float]) -> tuple[float, ...]:
    return tuple(round(float(value), COORDINATE_DECIMALS) for value in coordinates)


def _rounded_score(score: float | None) -> float | None:
    return None if score is None else round(float(score), SCORE_DECIMALS)


MASK_TYPE = pa.struct([("size", pa.list_(pa.int32())), ("counts", pa.string())])
ANNOTATION_FIELDS: list[pa.Field] = [
    pa.field("id", pa.string()),
    pa.field("kind", pa.string()),
    pa.field("task", pa.string()),
    pa.field("text", pa.string()),
    pa.field("label", pa.string()),
    pa.field("language", pa.string()),
    pa.field("box_xyxy", pa.list_(pa.float64())),
    pa.field("quad", pa.list_(pa.float64())),
    pa.field("mask_rle", MASK_TYPE),
    pa.field("score", pa.float64()),
    pa.field("support", pa.float64()),
    pa.field("confidence", pa.float64()),
    pa.field("parent_id", pa.string()),
    pa.field("span", pa.list_(pa.int32())),
    pa.field("merged_from", pa.list_(pa.string())),
    pa.field("specialist", pa.string()),
    pa.field("model", pa.string()),
    pa.field("revision", pa.string()),
    pa.field("round", pa.int32()),
    pa.field("stage", pa.string()),
]
"""The columns of an annotation, in the order of the output contract."""

ANNOTATION_NAMES = tuple(field.name for field in ANNOTATION_FIELDS)
if {field.name for field in fields(Annotation)} != set(ANNOTATION_NAMES):
    raise TypeError("ANNOTATION_FIELDS and Annotation have drifted apart")


def to_columns(annotations: Sequence[Annotation]) -> dict[str, pa.Array]:
    """Turn annotations into Arrow columns, one entry per annotation."""
    return {
        field.name: pa.array(
            [_arrow_value(getattr(annotation, field.name)) for annotation in annotations],
            type=field.type,
        )
        for field in ANNOTATION_FIELDS
    }


def _arrow_value(value: Any) -> Any:
    return value._asdict() if isinstance(value, MaskRLE) else value


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

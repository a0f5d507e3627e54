"""Hostile documents, drawn by hypothesis: JSON, labels, tables, and bytes that were changed."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import strategies as st

TEXTS = st.one_of(
    st.text(st.characters(codec=None), max_size=12),
    st.sampled_from(["", "a fox", "\ud800", "\0", "\x1b[2J", "é", "\u202e", "NaN", "[" * 90, "{}"]),
)
NUMBERS = st.one_of(
    st.integers(),
    st.floats(),
    st.sampled_from([0, -1, 2**31, 2**63, 2**64, 10**40, -(10**400), 1e308, 1e-320]),
)
SCALARS = st.one_of(st.none(), st.booleans(), NUMBERS, TEXTS)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)
BOXES = st.one_of(
    st.lists(st.integers(0, 40), min_size=4, max_size=4), st.lists(SCALARS, max_size=5), VALUES
)
_RIGHT: dict[str, st.SearchStrategy[Any]] = {
    "id": st.sampled_from(["", "a", "b"]),
    "kind": st.sampled_from(["text", "region", "phrase"]),
    "task": st.sampled_from(
        ["caption", "object_detection", "phrase_grounding", "segmentation", "ocr", "mine"]
    ),
    "text": TEXTS,
    "label": TEXTS,
    "language": st.just("en"),
    "box_xyxy": BOXES,
    "quad": st.just([]) | st.lists(NUMBERS, min_size=8, max_size=8),
    "mask_rle": st.none() | st.fixed_dictionaries({"size": st.just([4, 4]), "counts": TEXTS}),
    "score": st.none() | st.floats(0, 1),
    "support": st.none(),
    "confidence": st.none(),
    "parent_id": st.sampled_from(["", "a", "b", "c"]),
    "span": st.just([]) | st.lists(NUMBERS, max_size=3),
    "merged_from": st.just([]),
    "specialist": st.just("x"),
    "model": st.just(""),
    "revision": st.just(""),
    "round": st.just(0),
    "stage": st.just(""),
}
ANNOTATIONS = st.fixed_dictionaries(
    {name: st.one_of(right, right, right, right, VALUES) for name, right in _RIGHT.items()}
)
"""Entries of our own output, each value of which may be anything."""

OBJECTS = st.one_of(
    st.fixed_dictionaries(
        {"bbox": st.lists(BOXES, max_size=4)},
        optional={
            "category": st.lists(SCALARS, max_size=4),
            "labels": VALUES,
            "iscrowd": st.lists(SCALARS, max_size=4),
            "Is_Group_Of": VALUES,
        },
    ),
    st.lists(
        st.fixed_dictionaries({}, optional={"bbox": BOXES, "category": SCALARS, "iscrowd": SCALARS})
        | SCALARS,
        max_size=4,
    ),
    VALUES,
)
ROWS = st.fixed_dictionaries(
    {},
    optional={
        "text": VALUES,
        "caption": VALUES,
        "objects": OBJECTS,
        "annotations": st.lists(ANNOTATIONS | VALUES, max_size=5) | VALUES,
        "metadata": VALUES | TEXTS,
        "source": VALUES,
        "label_error": VALUES,
        "file_names": VALUES,
    },
)
FILE_NAMES = st.sampled_from(
    ["0.jpg", "1.jpg", "./0.jpg", "x/../1.jpg", "X\\0.jpg", "é.jpg", "e\u0301.jpg"]
)


def as_json(value: Any) -> str:
    """Write any value as JSON; of integers that Python does not write, the text."""
    return json.dumps(value, default=str)


JSON = st.one_of(
    ROWS.map(as_json),
    VALUES.map(as_json),
    st.integers(1, 5000).map(lambda depth: "[" * depth + "]" * depth),
    st.integers(1, 40).map(lambda depth: f'{{"a": {"[" * depth}1{"]" * depth}}}'),
    st.integers(1, 3000).map(lambda depth: '{"a":' * depth + "1" + "}" * depth),
    st.just('{"a": ' + "9" * 5000 + "}"),
    st.just('{"text": "\\ud83d"}'),
    st.binary(max_size=20).map(lambda data: data.decode("latin-1")),
)


@st.composite
def changed(draw: st.DrawFn, data: bytes) -> bytes:
    """Change, cut, repeat or insert a few bytes."""
    changed = bytearray(data)
    for _ in range(draw(st.integers(0, 6))):
        at = draw(st.integers(0, max(len(changed) - 1, 0)))
        how = draw(st.integers(0, 4))
        if how == 0:
            changed[at : at + 1] = bytes([draw(st.integers(0, 255))])
        elif how == 1:
            changed[at : at + 4] = draw(
                st.sampled_from([b"\xff" * 4, bytes(4), b"\x7f" + bytes(3)])
            )
        elif how == 2:
            del changed[at:]
        elif how == 3:
            changed[at:at] = draw(st.binary(max_size=8))
        else:
            changed[at:at] = changed[at : at + 64]
    return bytes(changed)


def _of(type_: pa.DataType) -> Callable[[list[Any]], pa.Array]:
    return lambda values: pa.array(values, type_)


def _extension(name: str, storage: pa.DataType) -> Callable[[list[Any]], pa.Array]:
    makers = {"json": pa.json_, "uuid": pa.uuid, "bool8": pa.bool8}
    type_ = makers[name]()
    return lambda values: pa.ExtensionArray.from_storage(type_, pa.array(values, storage))


def _badly_encoded(values: list[Any]) -> pa.Array:
    return pa.array(values, pa.binary()).view(pa.string())


_WHEN = st.integers(-(2**63), 2**63 - 1)
_INTS = st.integers(-(2**31), 2**31 - 1)
_STRINGS = st.text(max_size=6)
_COLUMNS: list[tuple[st.SearchStrategy[Any], Callable[[list[Any]], pa.Array]]] = [
    (_INTS, _of(pa.int32())),
    (st.integers(0, 2**64 - 1), _of(pa.uint64())),
    (st.floats(), _of(pa.float64())),
    (st.decimals(-999, 999, places=3), _of(pa.decimal128(38, 3))),
    (_WHEN, _of(pa.timestamp("ns"))),
    (_WHEN, _of(pa.timestamp("us", "UTC"))),
    (st.integers(-(2**31), 2**31 - 1), _of(pa.date32())),
    (_WHEN, _of(pa.duration("ns"))),
    (st.integers(0, 86_399_999_999_999), _of(pa.time64("ns"))),
    (st.booleans(), _of(pa.bool_())),
    (st.none(), _of(pa.null())),
    (_STRINGS, _of(pa.string())),
    (_STRINGS, _of(pa.large_string())),
    (_STRINGS, lambda values: pa.array(values, pa.string()).dictionary_encode()),
    (st.binary(max_size=6), _badly_encoded),
    (st.binary(max_size=6), _of(pa.binary())),
    (st.binary(min_size=3, max_size=3), _of(pa.binary(3))),
    (st.lists(_STRINGS | st.none(), max_size=4), _of(pa.list_(pa.string()))),
    (st.lists(st.lists(_INTS, max_size=3), max_size=3), _of(pa.list_(pa.list_(pa.int64())))),
    (st.lists(st.tuples(_STRINGS, _INTS), max_size=3), _of(pa.map_(pa.string(), pa.int64()))),
    (st.lists(_WHEN, max_size=3), _of(pa.list_(pa.timestamp("us")))),
    (st.lists(_INTS, min_size=4, max_size=4), _of(pa.list_(pa.int32(), 4))),
    (
        st.fixed_dictionaries(
            {
                "bbox": st.lists(st.lists(st.floats(), max_size=5), max_size=3),
                "category": st.lists(_INTS, max_size=3),
            }
        ),
        _of(
            pa.struct(
                [("bbox", pa.list_(pa.list_(pa.float64()))), ("category", pa.list_(pa.int64()))]
            )
        ),
    ),
    (
        st.lists(st.fixed_dictionaries({"bbox": st.lists(st.floats(), max_size=5)}), max_size=3),
        _of(pa.list_(pa.struct([("bbox", pa.list_(pa.float64())), ("label", pa.string())]))),
    ),
    (_STRINGS, _extension("json", pa.string())),
    (st.binary(min_size=16, max_size=16), _extension("uuid", pa.binary(16))),
    (st.integers(-128, 127), _extension("bool8", pa.int8())),
]
_FEATURES = st.one_of(
    VALUES.map(as_json),
    st.just('{"info": {"features": {"objects": {"category": {"names": ["a", "b"]}}}}}'),
    st.just('{"info": {"features": {"objects": {"category": {"names": ["a", "b"]}}}}}'),
    st.just('{"info": {"features": {"objects": {"category": {"names": ["a", "b"]}}}}}'),
    st.fixed_dictionaries(
        {
            "info": st.fixed_dictionaries(
                {
                    "features": st.dictionaries(
                        st.sampled_from(["objects", "text", "label"]),
                        VALUES
                        | st.just({"names": ["a", "b"]})
                        | st.just({"feature": {"category": {"names": ["a"]}}}),
                    )
                }
            )
        }
    ).map(as_json),
)


@st.composite
def tables(draw: st.DrawFn, first: str, values: list[Any]) -> bytes:
    """Draw a Parquet file whose first column has these values, and others of any types."""
    columns = {first: pa.array(values)}
    if isinstance(values[0], bytes) and draw(st.booleans()):
        paths, make = draw(st.sampled_from(_COLUMNS))
        path = make([draw(paths) for _ in values])
        columns[first] = pa.StructArray.from_arrays([pa.array(values), path], ["bytes", "path"])
    for name in ("text", "caption", "objects", "label", "other_file_name"):
        if name in ("caption", "objects") or draw(st.booleans()):
            strategy, make = draw(st.sampled_from(_COLUMNS))
            columns[name] = make([draw(strategy | st.none()) for _ in values])
    table = pa.table(columns)
    if draw(st.booleans()):
        table = table.replace_schema_metadata({"huggingface": draw(_FEATURES).encode()})
    buffer = io.BytesIO()
    pq.write_table(
        table,
        buffer,
        store_schema=draw(st.booleans()),
        row_group_size=draw(st.integers(1, 3)),
        compression=draw(st.sampled_from(["zstd", "none"])),
    )
    return buffer.getvalue()

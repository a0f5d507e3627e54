"""What the columns of a Parquet file mean: image, captions, objects, scalars.

Reads the Arrow schema and the Hugging Face features stored in it; opens no file.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from florilegium.engine.core.errors import ConfigError, nearest
from florilegium.engine.sources.bounded_parquet import weight
from florilegium.engine.sources.labels import OBJECTS, Moment, Unread
from florilegium.engine.sources.objects import CATEGORY_KEYS

_CAPTIONS = ("caption", "text")


@dataclass(frozen=True, kw_only=True)
class Columns:
    """The columns that are read. `caption` may be empty.

    `class_names` has the class names of integer columns; those of the categories in `objects` have
    the key `objects`.
    """

    image: str
    caption: str
    others: tuple[str, ...]
    class_names: Mapping[str, tuple[str, ...]]

    @property
    def names(self) -> list[str]:
        """All columns, each once."""
        return list(
            dict.fromkeys(name for name in (self.image, self.caption, *self.others) if name)
        )


def find_columns(schema: pa.Schema, location: str, *, image: str, caption: str) -> Columns:
    """Find the columns that the options `image_column` and `caption_column` mean.

    Raises:
        ConfigError: a column is missing or holds something else; the nearest one is named.
    """
    if image not in schema.names:
        raise _missing("image_column", image, schema, location)
    image_type = schema.field(image).type
    if not _is_image(image_type):
        raise ConfigError(
            f"{location}: column {image!r} is {image_type}, not binary and not a "
            f"struct of bytes and path; set `image_column` to the one with the bytes of images"
        )
    if caption and caption not in schema.names:
        raise _missing("caption_column", caption, schema, location)
    default = next((name for name in _CAPTIONS if name in schema.names), "")
    others = tuple(f.name for f in schema if _is_scalar(f.type) or f.name == OBJECTS)
    return Columns(
        image=image,
        caption=caption or default,
        others=others,
        class_names=dict(_class_names(schema)),
    )


def _missing(option: str, name: str, schema: pa.Schema, location: str) -> ConfigError:
    hint = nearest(name, schema.names)
    return ConfigError(f"{location} has no column {name!r}; {hint} Set `{option}`.")


def python_values(column: pa.Array) -> list[Any]:
    """Return the values of a column as Python objects; text that is not UTF-8 as bytes."""
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if pa.types.is_duration(column.type):
        column = column.cast(pa.int64())
    elif pa.types.is_temporal(column.type):
        # Python has neither nanoseconds nor the year 10,000.
        texts = column.cast(pa.string()).to_pylist()
        return [text if text is None else Moment(text) for text in texts]
    try:
        return column.to_pylist()
    except UnicodeDecodeError:
        return column.cast(_of_bytes(column.type)).to_pylist()


def readable_values(column: pa.Array, *, most_bytes: int) -> list[Any]:
    """Return the values of a column; values that Python cannot represent or that are too large are
    `Unread`."""
    try:
        if weight(column) <= most_bytes:
            return python_values(column)
    except Exception:  # one value; which one, is found below
        pass
    return [_readable(column.slice(row, 1), most_bytes) for row in range(len(column))]


def _readable(one: pa.Array, most_bytes: int) -> Any:
    try:
        if (size := weight(one)) > most_bytes:
            return Unread(f"{size} bytes, the limit is {most_bytes} (limits.max_label_bytes)")
        return python_values(one)[0]
    except Exception as error:  # hostile bytes raise anything
        return Unread(f"it cannot be read: {error}")


def _of_bytes(type_: pa.DataType) -> pa.DataType:
    """Return a type in which every text is bytes."""
    if pa.types.is_string(type_) or pa.types.is_string_view(type_):
        return pa.binary()
    if pa.types.is_large_string(type_):
        return pa.large_binary()
    if pa.types.is_struct(type_):
        return pa.struct([field.with_type(_of_bytes(field.type)) for field in type_])
    if pa.types.is_large_list(type_):
        return pa.large_list(_of_bytes(type_.value_type))
    return pa.list_(_of_bytes(type_.value_type)) if pa.types.is_list(type_) else type_


def is_binary(type_: pa.DataType) -> bool:
    """Whether values of a type are bytes."""
    is_a = (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_binary_view)
    return any(check(type_) for check in is_a)


def _is_image(type_: pa.DataType) -> bool:
    if pa.types.is_struct(type_):
        return type_.get_field_index("bytes") >= 0 and is_binary(type_.field("bytes").type)
    return is_binary(type_)


def _is_scalar(type_: pa.DataType) -> bool:
    if pa.types.is_dictionary(type_):
        type_ = type_.value_type
    is_text = pa.types.is_string(type_) or pa.types.is_large_string(type_)
    return is_text or pa.types.is_primitive(type_) or pa.types.is_decimal(type_)


def _class_names(schema: pa.Schema) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Find the class names in the features that `datasets` writes into the schema."""
    try:
        stored = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
        features = stored["info"]["features"].items()
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return
    for column, feature in features:
        if names := _names_in(_category_feature(feature) if column == OBJECTS else feature):
            yield column, names


def _category_feature(feature: Any) -> Any:
    """Find the feature of the categories, in all forms of a sequence of structs."""
    while isinstance(feature, Mapping) and isinstance(feature.get("feature"), Mapping):
        feature = feature["feature"]
    if isinstance(feature, Sequence) and not isinstance(feature, str) and feature:
        feature = feature[0]
    if not isinstance(feature, Mapping):
        return None
    return next((feature[name] for name in CATEGORY_KEYS if name in feature), None)


def _names_in(feature: Any) -> tuple[str, ...]:
    while isinstance(feature, Mapping) and isinstance(feature.get("feature"), Mapping):
        feature = feature["feature"]
    names = feature.get("names") if isinstance(feature, Mapping) else None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        return ()
    return tuple(names)

from __future__ import annotations

import io

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from florilegium.engine.storage.parquet import (
    _MARK,
    check_seal,
    from_sealed_parquet,
    seal,
    sealed_schema,
    to_parquet,
    to_sealed_parquet,
)

TABLE = pa.table(
    {"number": [1, 2, None], "text": ["a", _MARK.decode() + "0" * 64, "c"]}
).replace_schema_metadata({"said": _MARK.decode()})


def test_a_sealed_file_is_an_ordinary_one_and_the_same_each_time() -> None:
    data = to_sealed_parquet(TABLE)
    assert data == to_sealed_parquet(TABLE)
    read = from_sealed_parquet(data)
    assert read.equals(TABLE)
    assert read.schema.metadata[b"said"] == _MARK


@pytest.mark.attack("changes")
def test_any_flipped_bit_of_a_sealed_file_is_noticed() -> None:
    """Pages have checksums of their own; headers, footer and metadata have not."""
    data = to_sealed_parquet(TABLE)
    for place in range(0, 8 * len(data), 3):
        changed = bytearray(data)
        changed[place // 8] ^= 1 << place % 8
        with pytest.raises((ValueError, OSError, pa.ArrowException)):
            from_sealed_parquet(bytes(changed))


@pytest.mark.attack("changes")
@pytest.mark.parametrize("size", [0, 1, 8, -1])
def test_a_sealed_file_that_is_cut_is_noticed(size: int) -> None:
    with pytest.raises((ValueError, OSError, pa.ArrowException)):
        from_sealed_parquet(to_sealed_parquet(TABLE)[:size])


def test_a_file_from_before_there_were_seals_is_read() -> None:
    plain = TABLE.replace_schema_metadata(None).drop_columns("text")
    assert from_sealed_parquet(bytes(to_parquet(plain))).equals(plain)


def sealed_by_groups() -> io.BytesIO:
    file = io.BytesIO()
    schema = sealed_schema(TABLE.schema)
    with pq.ParquetWriter(file, schema) as writer:
        for _ in range(3):
            writer.write_table(TABLE.cast(schema))
    seal(file)
    return file


def test_a_file_of_row_groups_has_a_seal_that_both_readers_know() -> None:
    file = sealed_by_groups()
    check_seal(file)
    assert from_sealed_parquet(file.getvalue()).num_rows == 9
    assert file.getvalue() == sealed_by_groups().getvalue()
    check_seal(io.BytesIO(to_sealed_parquet(TABLE)))
    check_seal(
        io.BytesIO(bytes(to_parquet(TABLE.replace_schema_metadata(None).drop_columns("text"))))
    )


@pytest.mark.attack("changes")
def test_any_changed_byte_of_a_file_of_row_groups_is_noticed() -> None:
    data = sealed_by_groups().getvalue()
    for place in range(0, len(data), 7):
        changed = bytearray(data)
        changed[place] ^= 4
        with pytest.raises((ValueError, OSError, pa.ArrowException)):
            check_seal(io.BytesIO(bytes(changed)))

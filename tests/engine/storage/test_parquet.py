from __future__ import annotations

import pyarrow as pa
import pytest

from florilegium.engine.storage.parquet import (
    _MARK,
    from_sealed_parquet,
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

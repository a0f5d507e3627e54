from __future__ import annotations

import pyarrow as pa
import pytest

from florilegium.engine.storage.spool import Spool, regrouped

SCHEMA = pa.schema([("number", pa.int64()), ("text", pa.string())])


def table(*numbers: int) -> pa.Table:
    return pa.table([list(numbers), [f"text {number}" for number in numbers]], schema=SCHEMA)


def test_rows_come_back_in_their_order_as_often_as_they_are_wanted() -> None:
    spool = Spool(SCHEMA)
    for piece in (table(3, 1), table(), table(2)):
        spool.add(piece)
    assert spool.rows == 3
    for _ in range(2):
        assert pa.concat_tables(spool.tables()).equals(table(3, 1, 2))
        assert pa.concat_tables(spool.tables(["text"])).equals(table(3, 1, 2).select(["text"]))
    spool.close()
    with pytest.raises(ValueError, match="closed"):
        list(spool.tables())


def test_a_spool_without_rows_needs_no_file() -> None:
    spool = Spool(SCHEMA)
    spool.add(table())
    assert list(spool.tables()) == []
    spool.close()


def test_tables_are_cut_and_joined_to_one_size() -> None:
    pieces = [table(1), table(), table(2, 3, 4, 5, 6, 7), table(8)]
    found = list(regrouped(pieces, 3))
    assert [one["number"].to_pylist() for one in found] == [[1, 2, 3], [4, 5, 6], [7, 8]]
    assert list(regrouped([], 3)) == []
    assert [one.num_rows for one in regrouped([table(1, 2), table(3, 4)], 2)] == [2, 2]

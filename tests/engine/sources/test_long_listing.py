"""A folder of very many objects on S3: how often it is listed, and what that costs."""

from __future__ import annotations

import tracemalloc

import pytest

from florilegium.engine.planning.config import SourceEntry
from florilegium.engine.planning.source_opening import open_source
from florilegium.engine.storage.folder import Folder, file_system
from florilegium.engine.storage.object_storage import PAGE, listed
from tests.listing_server import listing_of
from tests.object_storage import reached_at

PAGES = 3


def test_a_source_is_listed_once_and_its_kind_told_by_one_page() -> None:
    with listing_of(PAGES * PAGE, page=PAGE) as server, reached_at(server.address):
        source = open_source(SourceEntry(url="s3://bucket/photos"), shard_size=1000)
        assert source.config.kind == "folder"
        assert [size for size in server.pages if size > 1] == [PAGE]
        server.pages.clear()
        items = list(source.items())
        assert len(items) == PAGES * PAGE
        assert items[-1].location == f"{PAGES * PAGE - 1:09d}.jpg"
        assert [size for size in server.pages if size > 1] == [PAGE] * PAGES


@pytest.mark.usefixtures("usual_collector")
def test_a_listing_holds_one_page_at_a_time() -> None:
    with listing_of(1000, page=50) as server, reached_at(server.address):
        fs, path = file_system("s3://bucket/photos")
        entries = listed(fs, path)
        next(entries)
        assert server.pages == [50]
        tracemalloc.start()
        for _ in range(100):
            next(entries)
        _, early = tracemalloc.get_traced_memory()
        assert sum(1 for _ in entries) == 1000 - 101
        _, late = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert late < 1.5 * early, "as much for 20 pages as for 3"


def test_a_storage_that_begins_every_listing_at_its_start_has_each_file_once() -> None:
    with listing_of(100, page=10) as server, reached_at(server.address):
        cuts = [f"{number:09d}.jpg" for number in (19, 59)]
        tables = list(Folder("s3://bucket/photos").listing(cuts=cuts))
    names = [name for table in tables for name in table["name"].to_pylist()]
    assert sorted(names) == [f"{number:09d}.jpg" for number in range(100)]

"""README and the documentation do what they show."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.docs.blocks import blocks_of, pages
from tests.docs.page import Console

PAGES = [page for page in pages() if blocks_of(page.read_text("utf-8"), page)]


@pytest.mark.filterwarnings(
    # the streaming of datasets and webdataset leave files to the garbage collector
    "ignore:unclosed file",
    "ignore:Exception ignored in",
)
@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_block_of_a_page_does_what_it_shows(page: Path, console: Console) -> None:
    failures = console.run(blocks_of(page.read_text("utf-8"), page))
    assert not failures, "\n" + "\n".join(map(str, failures))

"""README and the documentation do what they show."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.docs.blocks import blocks_of, pages
from tests.docs.page import Console

PAGES = [page for page in pages() if blocks_of(page.read_text("utf-8"), page)]

REASONS = {
    "CONFIG stands for a config of yours",
    "it asks the network, and starts Ray",
    "minutes of training",
    "my_tables is a package of the reader",
    "needs a GPU and the weights of a model hub",
    "needs a Ray cluster",
    "needs a bucket",
    "needs a build that runs elsewhere",
    "needs a list of yours",
    "needs a package index",
    "needs pages of yours",
    "needs node_exporter",
    "needs the checkpoint of a training",
    "needs the weights of a model hub",
    "sections for a config that has the other stages, too",
    "needs what another program gave back",
    "needs the log of a person",
    "a page in a browser, until Ctrl-C",
    "the models of three stages are loaded",
}
"""All reasons why a block is not run. Commands of such a block are parsed all the same."""


@pytest.mark.filterwarnings(
    # the streaming of datasets and webdataset leave files to the garbage collector
    "ignore:unclosed file",
    "ignore:Exception ignored in",
)
@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_block_of_a_page_does_what_it_shows(page: Path, console: Console) -> None:
    if page.is_relative_to(ROOT / "docs" / "examples"):  # its commands are given beside its files
        shutil.copytree(page.parent, console.folder, dirs_exist_ok=True)
    failures = console.run(blocks_of(page.read_text("utf-8"), page))
    assert not failures, "\n" + "\n".join(map(str, failures))


def test_every_reason_why_a_block_is_not_run_is_one_of_these() -> None:
    """A block that is not run proves nothing: a new reason is added here, and so looked at."""
    found = {
        block.reason
        for page in PAGES
        for block in blocks_of(page.read_text("utf-8"), page)
        if block.reason
    }
    assert sorted(found) == sorted(REASONS)


def test_the_specialist_that_a_page_shows_is_that_of_the_example() -> None:
    page = ROOT / "docs" / "how-to" / "write-a-specialist.md"
    block, *_ = blocks_of(page.read_text("utf-8"), page)
    example = ROOT / "docs" / "examples" / "plugin" / "florilegium_tables" / "tables.py"
    assert f"{block.text}\n" == example.read_text("utf-8")

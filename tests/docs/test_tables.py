"""Tables of the documentation that are measured have the rows that are measured today."""

from __future__ import annotations

import re

from tests.conftest import ROOT
from tests.docs.blocks import Block, pages
from tests.docs.commands import commands_of
from tests.docs.page import Console
from tests.security.table import KINDS, markdown


def test_the_table_of_attacks_has_every_kind_that_is_counted() -> None:
    header, *lines = markdown(dict.fromkeys(KINDS, 0), dict.fromkeys(KINDS, 0)).rstrip().split("\n")
    (text,) = [text for page in pages() if header in (text := page.read_text("utf-8"))]
    table = text[text.index(header) :].partition("\n\n")[0].split("\n")
    assert table[0] == header
    assert len(table) == len(lines) + 1
    for quoted, line in zip(table[1:], lines, strict=True):
        assert re.sub(r"\d+", "0", quoted) == line


def test_what_it_makes_is_made_by_the_commands_beside_it(console: Console) -> None:
    """Those of exports and of the quickstart are run, others are parsed."""
    readme = ROOT / "README.md"
    table = readme.read_text("utf-8").partition("\n## What it makes\n")[2].partition("\n## ")[0]
    rows = [line for line in table.splitlines() if line.startswith("| ")][1:]
    commands = [re.findall(r"`(florilegium [^`]+)`", row)[-1] for row in rows]
    block = Block(page=readme, line=1, end=1, language="console", text="\n".join(commands))
    assert not console.run([block])
    assert len(commands) == 7
    for words in (command.words for command in commands_of(block) if "export" in command.words):
        assert any(console.folder.joinpath(words[-1]).iterdir()), words

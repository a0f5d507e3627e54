"""Tables of the documentation that are measured have the rows that are measured today."""

from __future__ import annotations

import re

from tests.docs.blocks import pages
from tests.security.table import KINDS, markdown


def test_the_table_of_attacks_has_every_kind_that_is_counted() -> None:
    header, *lines = markdown(dict.fromkeys(KINDS, 0), dict.fromkeys(KINDS, 0)).rstrip().split("\n")
    (text,) = [text for page in pages() if header in (text := page.read_text("utf-8"))]
    table = text[text.index(header) :].partition("\n\n")[0].split("\n")
    assert table[0] == header
    assert len(table) == len(lines) + 1
    for quoted, line in zip(table[1:], lines, strict=True):
        assert re.sub(r"\d+", "0", quoted) == line

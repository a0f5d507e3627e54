"""Links of all Markdown pages lead somewhere. Addresses on the web are checked for their form."""

from __future__ import annotations

from pathlib import Path

import pytest

from florilegium.pipelines.reference.pages import write_reference
from tests.conftest import ROOT
from tests.docs.links import anchors_of, links_of, problem_of

_OURS = ("docs", "configs", "engine", "pipelines", "specialists", ".github")
PAGES = sorted(
    page
    for page in [
        *ROOT.glob("*.md"),
        *(page for top in _OURS for page in (ROOT / top).rglob("*.md")),
    ]
    if "_build" not in page.parts
)


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> dict[Path, str]:
    """The pages that are made from the code, by the paths that they have in the documentation."""
    folder = tmp_path_factory.mktemp("reference")
    write_reference(folder)
    place = ROOT / "docs" / "reference"
    return {place / page.name: page.read_text("utf-8") for page in folder.glob("*.md")}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_of_a_page_leads_somewhere(page: Path, reference: dict[Path, str]) -> None:
    links = sorted(set(links_of(page.read_text("utf-8"), page)))
    problems = {link: problem_of(link, page, reference) for link in links}
    assert {link: what for link, what in problems.items() if what} == {}


PAGE = Path("page.md").resolve()


def test_links_are_found_however_they_are_written() -> None:
    text = """See [a `b`](a.md#x), ![a picture](b.png "its title") and [![badge](c.svg)](d.md).
<img src="e.png" alt="">, <https://example.org/f> and [named][g].
`[not](this.md)` <!-- [nor](that.md) -->

```{note}
[within](h.md)
```

```text
[code](no.md)
```

[g]: i.md
"""
    found = list(links_of(text, PAGE))
    assert sorted(found) == [
        *("a.md#x", "b.png", "c.svg", "d.md", "e.png", "h.md", "https://example.org/f", "i.md"),
    ]


def test_a_heading_has_the_name_that_github_gives_it() -> None:
    text = "(own)=\n# `open_dataset`: What's new?\n## Again\n## Again\n```text\n# no\n```\n"
    assert anchors_of(text, PAGE) == {"own", "open_dataset-whats-new", "again", "again-1"}


@pytest.mark.parametrize(
    ("link", "problem"),
    [
        ("https://example.org/a?b=c#d", ""),
        ("http://localhost:9000", ""),
        ("http://example.org", "no https address"),
        ("https://nowhere", "no https address"),
        ("mailto:someone@example.org", ""),
        ("/etc/hosts", "neither a relative path nor an https address"),
        ("ftp://example.org/a", "neither a relative path nor an https address"),
        ("no.md", "no such file"),
        ("made.md#part", ""),
        ("made.md#other", "no heading of made.md has this name"),
        ("LICENSE", ""),
        ("configs", ""),
    ],
)
def test_what_is_wrong_with_a_link_is_named(link: str, problem: str) -> None:
    page = ROOT / "README.md"
    assert problem_of(link, page, {ROOT / "made.md": "# Part\n"}) == problem


def test_a_link_to_a_heading_of_its_own_page_is_checked(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# Part\n", "utf-8")
    assert problem_of("#part", page, {}) == ""
    assert problem_of("#other", page, {}) == "no heading of page.md has this name"

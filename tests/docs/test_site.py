"""The documentation is built without a warning, every page is reached, and pages stay short."""

from __future__ import annotations

import re
import subprocess
import sys
from html.parser import HTMLParser
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.conftest import ROOT

DOCS = ROOT / "docs"
MAX_LINES = 250
"""Of a page that is written by hand: longer ones have two jobs."""
README_LINES = 150


class _Links(HTMLParser):
    """Collects what a page links to and what it loads."""

    def __init__(self) -> None:
        super().__init__()
        self.links: set[str] = set()
        self.loads: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        if tag == "a":
            self.links.add(found.get("href") or "")
        elif tag in ("script", "img", "iframe"):
            self.loads.add(found.get("src") or "")
        elif tag == "link" and found.get("rel") in ("stylesheet", "preload", "icon"):
            self.loads.add(found.get("href") or "")


def read(page: Path) -> _Links:
    parser = _Links()
    parser.feed(page.read_text("utf-8"))
    return parser


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built documentation, as `make docs` builds it."""
    folder = tmp_path_factory.mktemp("site")
    strict = ("--fail-on-warning", "--keep-going", "--nitpicky", "--quiet")
    command = (sys.executable, "-m", "sphinx", *strict, str(DOCS), str(folder))
    built = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert built.returncode == 0, built.stderr
    return folder


def test_every_page_is_reached_from_the_first_one(site: Path) -> None:
    waiting, reached = [site / "index.html"], {site / "index.html"}
    while waiting:
        page = waiting.pop()
        for link in read(page).links:
            target = (page.parent / urlsplit(link).path).resolve()
            if not urlsplit(link).scheme and target.suffix == ".html" and target not in reached:
                assert target.exists(), f"{page.name} links to {link}"
                reached.add(target)
                waiting.append(target)
    pages = {site / page.relative_to(DOCS).with_suffix(".html") for page in written()}
    assert pages <= reached, sorted(pages - reached)


def test_a_reader_loads_nothing_from_a_network(site: Path) -> None:
    for page in site.rglob("*.html"):
        assert [url for url in read(page).loads if urlsplit(url).netloc] == [], page.name


def test_formulas_are_drawn_by_the_browser(site: Path) -> None:
    page = (site / "explanation" / "merge.html").read_text("utf-8")
    assert page.count('<math xmlns="http://www.w3.org/1998/Math/MathML" display="block">') > 3
    assert "\\frac" not in page
    assert "$" not in re.sub(r"<(script|style).*?</\1>", "", page, flags=re.DOTALL)


def test_a_page_has_one_job_and_is_short() -> None:
    lines = {page: len(page.read_text("utf-8").splitlines()) for page in written()}
    assert {page: count for page, count in lines.items() if count > MAX_LINES} == {}
    assert len((ROOT / "README.md").read_text("utf-8").splitlines()) <= README_LINES


def test_the_diagram_is_what_its_script_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = spec_from_file_location("diagram", DOCS / "pictures" / "diagram.py")
    assert spec is not None
    assert spec.loader is not None
    diagram = module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "diagram", diagram)
    spec.loader.exec_module(diagram)
    assert (DOCS / "pictures" / "engine.svg").read_text("utf-8") == diagram.drawn()


def written() -> list[Path]:
    """Return the pages that are written by hand."""
    made = ("reference", "examples")
    return [page for page in DOCS.rglob("*.md") if page.relative_to(DOCS).parts[0] not in made]

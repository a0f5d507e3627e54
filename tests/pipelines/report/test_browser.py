"""The report in a real browser, wide and on a phone, from disk and served."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from florilegium.engine.core.sample import DeadLetter
from florilegium.engine.storage.folder import Folder
from florilegium.pipelines.report.page import write_report
from tests.pipelines.report.dataset import Photo, box, caption, phrase, plain, publish

pytest.importorskip("selenium", reason="selenium drives the browser")
pytest.importorskip("starlette", reason="the extra serve shows the report")

from florilegium.pipelines.serve.app import create_app
from tests.pipelines.serve.browser import CHROMIUM, DRIVER, PHONE, WIDE, Browser, serving
from tests.pipelines.serve.conftest import SECRET, finish

pytestmark = pytest.mark.skipif(
    not (CHROMIUM.exists() and DRIVER.exists()), reason="chromium and chromedriver are not there"
)
TAB, RIGHT, ENTER = "\ue004", "\ue014", "\ue007"
LINKS = "return [...document.querySelectorAll('[data-serve] a')].map((a) => a.getAttribute('href'))"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset with long names, dropped boxes, an image of which nothing was kept, a failure."""
    path = tmp_path_factory.mktemp("run")
    output = Folder(str(path))
    long = "a_specialist_with_a_name_that_is_far_too_long_for_a_phone"
    kept = (caption(), box(), phrase("A cat", (0, 5)), box("weak", score=0.2, specialist=long))
    photos = [Photo(key=f"cat{number}", data=plain(), annotations=kept) for number in range(6)]
    bare = Photo(key="bare", data=plain(), annotations=(box("low", score=0.1),))
    letter = DeadLetter(key="k", source="k.jpg", stage="source", reason="empty_file", message="!")
    shards = publish(output, [*photos, bare], dead_letters=[letter])
    write_report(output, shards)
    finish(output, shards)
    return path


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    browser = Browser()
    yield browser
    browser.driver.quit()


@pytest.mark.parametrize("size", [WIDE, PHONE], ids=["wide", "phone"])
def test_from_disk_it_fits_shows_what_was_dropped_and_links_nowhere(
    chromium: Browser, run: Path, size: tuple[int, int]
) -> None:
    chromium.resize(*size)
    chromium.driver.get((run / "report.html").as_uri())
    assert chromium.overflow == 0
    assert chromium.run(LINKS) == []
    (nothing,) = chromium.texts(".bare .nothing")
    assert " ".join(nothing.split()).endswith("what was dropped: strong: too_weak 1")
    visible = "return getComputedStyle(document.querySelector(arguments[0])).display"
    assert chromium.run(visible, ".bare .region.dropped") != "none"
    assert chromium.run(visible, "#plate-1 .region.dropped") == "none"
    assert chromium.driver.get_log("browser") == []


def test_keys_go_from_a_thumbnail_to_its_plate_and_through_its_regions(
    chromium: Browser, run: Path
) -> None:
    from selenium.webdriver import ActionChains

    chromium.resize(*WIDE)
    chromium.driver.get((run / "report.html").as_uri())
    chromium.run("document.querySelector('.sheet a').focus()")
    ActionChains(chromium.driver).send_keys(ENTER).perform()
    assert chromium.run("return document.activeElement.id") == "plate-1"
    ActionChains(chromium.driver).send_keys(TAB, RIGHT).perform()
    assert chromium.run("return document.activeElement.classList.contains('region')")
    chromium.until(lambda: chromium.texts("#tip:not([hidden])"))
    assert chromium.texts("#tip")[0].startswith("cat\nobject detection, score 0.90")


def test_served_its_numbers_link_to_the_images_behind_them(chromium: Browser, run: Path) -> None:
    chromium.resize(*PHONE)
    with serving(create_app(Folder(str(run)), SECRET)) as address:
        chromium.problems(address)  # those of the pages before
        chromium.driver.get(f"{address}/serve/report?token={SECRET}")
        links = chromium.run(LINKS)
        for link in ("/?task=object_detection&verdict=dropped", "/?reason=strong%2Ftoo_weak",
                     "/lost?reason=empty_file", "/image?key=bare"):  # fmt: skip
            assert link in links
        assert chromium.overflow == 0
        chromium.run("document.querySelector('.reasons [data-serve] a').click()")
        chromium.settle()
        assert chromium.path == "/?reason=strong%2Ftoo_weak"
        assert len(chromium.texts(".card")) == 7
        for link in links:
            page, _, query = link.partition("?")
            question = {"/": "/api/images", "/lost": "/api/lost", "/image": "/api/sample"}[page]
            fetched = "return fetch(arguments[0]).then((answer) => answer.status)"
            assert chromium.run(fetched, f"{question}?{query}") == 200, link
        assert chromium.problems(address) == []

"""The page in a real browser, wide and on a phone: gallery, filter, image, keys, history."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from florilegium.engine.storage.folder import Folder
from florilegium.pipelines.serve.app import create_app
from tests.pipelines.serve.browser import PHONE, WIDE, Browser, serving
from tests.pipelines.serve.conftest import SCRIPT, SECRET, mask_of

LEFT, RIGHT, ENTER, ESCAPE = "\ue012", "\ue014", "\ue007", "\ue00c"


@pytest.fixture(scope="module")
def address(run: Path) -> Iterator[str]:
    with serving(create_app(Folder(str(run)), SECRET)) as url:
        yield url


BOTH = pytest.mark.parametrize("browser", [WIDE, PHONE], ids=["wide", "phone"], indirect=True)


@pytest.fixture
def browser(request: pytest.FixtureRequest, chromium: Browser, address: str) -> Iterator[Browser]:
    """A browser that shows all images; at the end, nothing may have gone wrong."""
    chromium.resize(*getattr(request, "param", WIDE))
    chromium.open(f"{address}/?token={SECRET}")
    chromium.problems(address)
    yield chromium
    assert chromium.problems(address) == []
    assert chromium.overflow == 0


def keys(browser: Browser) -> list[str]:
    return browser.texts(".card .key")


def shown(browser: Browser, key: str) -> None:
    """Wait until the page of an image is drawn."""
    browser.until(lambda: browser.texts("main h1") == [key])
    browser.settle()
    assert browser.path.startswith(f"/image?key={key}&")


@BOTH
def test_all_images_are_shown_with_what_was_said(browser: Browser) -> None:
    assert keys(browser) == ["cat0", "cat1", "cat2", "cat3", "cat4", "dog", "weak", "empty"]
    assert browser.texts(".card .said")[0] == "Cat 0."
    assert browser.texts(".card .said")[5] == SCRIPT  # text, and no element
    assert browser.run("return document.querySelectorAll('main img[onerror]').length") == 0
    assert browser.texts(".card .marks")[6:] == ["nothing kept, 1 dropped", "no annotation"]
    loaded = "return [...document.images].slice(0, 2).every((one) => one.naturalWidth > 0)"
    browser.until(lambda: browser.run(loaded))
    painted = """const canvas = document.querySelector('.card canvas');
        const data = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
        return data.some((value) => value > 0)"""
    assert browser.run(painted)
    assert "token" not in browser.path


@BOTH
def test_a_filter_stands_in_the_url_and_the_back_button_takes_it_back(browser: Browser) -> None:
    browser.press("/", "cat 3", ENTER)
    browser.until(lambda: keys(browser) == ["cat3"])
    assert browser.path == "/?text=cat+3"
    browser.driver.back()
    browser.until(lambda: len(keys(browser)) == 8)
    assert browser.path == "/"
    browser.driver.refresh()
    browser.driver.forward()
    browser.until(lambda: keys(browser) == ["cat3"])
    browser.press(ESCAPE)
    browser.until(lambda: len(keys(browser)) == 8)


@BOTH
def test_keys_lead_through_the_images(browser: Browser) -> None:
    browser.press(RIGHT, RIGHT, LEFT, RIGHT, ENTER)
    shown(browser, "cat1")
    browser.press(RIGHT)
    shown(browser, "cat2")
    browser.press(LEFT)
    shown(browser, "cat1")
    browser.driver.back()
    shown(browser, "cat2")
    browser.driver.back()
    shown(browser, "cat1")
    browser.press(ESCAPE)
    browser.until(lambda: keys(browser))
    assert browser.path == "/"


def test_of_a_search_keys_lead_through_what_it_finds(browser: Browser) -> None:
    browser.press("/", "cat", ENTER)
    browser.until(lambda: len(keys(browser)) == 4)
    browser.press(RIGHT, ENTER)
    shown(browser, "cat0")
    browser.press(RIGHT)
    shown(browser, "cat2")  # the words are not in cat1
    browser.press(LEFT)
    shown(browser, "cat0")


@BOTH
def test_an_image_shows_its_verdicts_and_the_list_lights_the_region(
    browser: Browser, address: str
) -> None:
    browser.open(f"{address}/image?key=weak&draw=boxes,dropped")
    assert "dropped: strong/too_weak" in browser.texts(".entry .verdicts summary")[0]
    assert "strength 0.1000" in browser.texts(".entry .verdicts li")[0]
    name = browser.run("return document.querySelector('.entry').dataset.id")
    browser.run("document.querySelector('.entry').focus()")
    lit = browser.run("return document.querySelector('.region.lit').dataset.id")
    assert lit == name
    browser.open(f"{address}/image?key=cat1&shard=0")
    assert browser.run("return document.querySelectorAll('.region').length") == 4


@BOTH
def test_a_number_of_the_funnel_leads_to_its_images(browser: Browser, address: str) -> None:
    browser.open(f"{address}/funnel")
    browser.click(".reason a")
    browser.until(lambda: keys(browser) == ["weak"])
    assert browser.path == "/?reason=strong%2Ftoo_weak"
    browser.open(f"{address}/disagreements")
    assert keys(browser)[0] == "cat1"
    browser.open(f"{address}/lost")
    assert browser.texts("tbody th") == ["bad.jpg"]
    browser.open(f"{address}/image?key=cat0&shard=0")


def test_controls_have_names(browser: Browser, address: str) -> None:
    for path in ("/", "/image?key=cat1", "/funnel", "/disagreements"):
        browser.open(f"{address}{path}")
        nameless = """const all = 'input, select, button, a, nav, summary';
            return [...document.querySelectorAll(all)]
              .filter((one) => !one.labels?.length && !one.textContent.trim())
              .filter((one) => !one.getAttribute('aria-label')).map((one) => one.outerHTML)"""
        assert browser.run(nameless) == []
        assert browser.texts("h1")
        assert browser.run("return document.documentElement.lang") == "en"


def test_masks_are_decoded_as_coco_does(browser: Browser) -> None:
    random = np.random.default_rng(5)
    mask = random.random((37, 90)) > 0.6
    mask[3:30, 20:70] = True
    encoded = mask_of(mask)
    script = """const done = arguments[arguments.length - 1], mask = arguments[0];
        import('/static/masks.js').then(({ pieces }) => {
          const found = [];
          pieces(mask, (x, top, bottom) => found.push([x, top, bottom]));
          done(found);
        });"""
    pieces = browser.driver.execute_async_script(script, encoded._asdict())
    decoded = np.zeros_like(mask)
    for x, top, bottom in pieces:
        decoded[top:bottom, x] = True
    assert (decoded == mask).all()
    hostile = {"size": [10, 10], "counts": "\u0000ooooooooooooooooo~~~"}
    assert browser.driver.execute_async_script(script, hostile) == []

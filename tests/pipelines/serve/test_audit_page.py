"""The audit in a real browser: by keys alone, wide and on a phone."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from florilegium.engine.results.dataset import open_dataset
from florilegium.engine.storage.folder import Folder
from florilegium.pipelines.audit.session import AuditSession
from florilegium.pipelines.merge.learning.audit import read_audit
from florilegium.pipelines.refine.audits import FileAuditor
from florilegium.pipelines.serve.app import create_app
from florilegium.pipelines.serve.audit_routes import audit_routes
from tests.pipelines.serve.browser import PHONE, WIDE, Browser, serving
from tests.pipelines.serve.conftest import SECRET

RIGHT, DOWN, ENTER = "\ue014", "\ue015", "\ue007"
IDLE = "!document.body.hasAttribute('aria-busy') && document.getElementById('who').textContent"


@pytest.fixture(scope="module")
def copy(scenes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(shutil.copytree(scenes, tmp_path_factory.mktemp("audit") / "run"))


@pytest.fixture(scope="module")
def address(copy: Path) -> Iterator[str]:
    session = AuditSession(open_dataset(str(copy)))
    with serving(create_app(Folder(str(copy)), SECRET, audit=audit_routes(session))) as url:
        yield url


@pytest.fixture
def browser(chromium: Browser, address: str) -> Iterator[Browser]:
    """A browser; at the end, nothing may have gone wrong."""
    chromium.resize(*WIDE)
    chromium.problems(address)
    chromium.driver.get(f"{address}/audit?token={SECRET}")
    yield chromium
    assert chromium.problems(address) == []
    assert chromium.overflow == 0


def wait(browser: Browser, script: str) -> None:
    """Wait until an expression in the page is true."""
    browser.until(lambda: browser.run(f"return {script}"))


def text(browser: Browser, name: str) -> str:
    return browser.texts(f"#{name}")[0]


def answered(browser: Browser, count: int) -> None:
    wait(browser, f"({IDLE}) && ({IDLE}).includes(': {count} answered')")


def test_five_statements_by_keys_undone_reloaded_and_read_by_refine(
    browser: Browser, copy: Path
) -> None:
    wait(browser, "document.activeElement.id === 'name'")
    browser.press("Ada", ENTER)
    answered(browser, 0)
    for count, key in enumerate("1n3y2", start=1):
        browser.press(key)
        answered(browser, count)
    last = text(browser, "question"), text(browser, "kind")
    browser.press("z")
    answered(browser, 4)
    browser.press("2")
    answered(browser, 5)
    assert (text(browser, "question"), text(browser, "kind")) == last
    browser.driver.refresh()
    answered(browser, 5)
    assert (text(browser, "question"), text(browser, "kind")) == last
    assert browser.overflow == 0
    file = str(copy / "audit.jsonl")
    assert sorted(read_audit(file).right.values()) == [False, False, True, True]
    auditor = FileAuditor(file)
    auditor.review(open_dataset(str(copy)))
    auditor.check()


def test_a_box_is_moved_by_keys_and_what_is_missing_is_drawn(browser: Browser) -> None:
    from selenium.webdriver import ActionChains
    from selenium.webdriver.common.by import By

    answered(browser, 5)
    while "object_detection" not in text(browser, "kind"):
        count = int(text(browser, "who").split(": ")[1].split()[0])
        browser.press("1")
        answered(browser, count + 1)
    count = int(text(browser, "who").split(": ")[1].split()[0])
    browser.press("f", RIGHT, RIGHT, DOWN, ENTER)
    answered(browser, count + 1)
    browser.press("m")
    wait(browser, "document.body.classList.contains('searching')")
    image = browser.driver.find_element(By.ID, "close")
    drag = (
        ActionChains(browser.driver).move_to_element_with_offset(image, -30, -30).click_and_hold()
    )
    drag.move_by_offset(60, 60).release().perform()
    wait(browser, "document.activeElement.id === 'missing-name'")
    browser.press("star", ENTER)
    wait(browser, "document.querySelectorAll('#found li').length === 1")
    browser.driver.refresh()  # a draft is kept
    wait(browser, IDLE)
    browser.press("m")
    wait(browser, "document.querySelectorAll('#found li').length === 1")
    browser.press("d")
    wait(browser, "!document.body.classList.contains('searching')")


def test_on_a_phone_nothing_overflows(browser: Browser) -> None:
    browser.resize(*PHONE)
    wait(browser, "document.querySelector('#close image') !== null")
    assert browser.overflow == 0
    browser.press("m")
    wait(browser, "document.body.classList.contains('searching')")

"""The audit in a real browser: by keys alone, wide and on a phone."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from florilegium.engine.results.dataset import open_dataset
from florilegium.engine.storage.folder import Folder
from florilegium.pipelines.audit.session import AuditSession
from florilegium.pipelines.merge.learning.audit import read_audit
from florilegium.pipelines.refine.audits import FileAuditor
from florilegium.pipelines.serve.app import create_app
from florilegium.pipelines.serve.audit_routes import audit_routes

selenium = pytest.importorskip("selenium", reason="selenium drives the browser")
uvicorn = pytest.importorskip("uvicorn")
CHROMIUM, DRIVER = Path("/usr/bin/chromium"), Path("/usr/bin/chromedriver")
pytestmark = pytest.mark.skipif(
    not (CHROMIUM.exists() and DRIVER.exists()), reason="chromium and chromedriver are not there"
)
WAIT_S = 10


@pytest.fixture(scope="module")
def run(scenes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(shutil.copytree(scenes, tmp_path_factory.mktemp("audit") / "run"))


@pytest.fixture(scope="module")
def url(run: Path) -> Iterator[str]:
    session = AuditSession(open_dataset(str(run)))
    app = create_app(Folder(str(run)), "secret", audit=audit_routes(session))
    config = uvicorn.Config(app, host="127.0.0.1", port=0, log_level="error", ws="none")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        thread.join(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    yield f"http://127.0.0.1:{port}/audit?token=secret"
    server.should_exit = True
    thread.join()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = str(CHROMIUM)
    for one in ("headless=new", "no-sandbox", "disable-dev-shm-usage", "window-size=1300,900"):
        options.add_argument(f"--{one}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(str(DRIVER)))
    yield driver
    driver.quit()


def press(browser: Any, *keys: str) -> None:
    """Press keys where the focus is."""
    from selenium.webdriver import ActionChains

    ActionChains(browser).send_keys(*keys).perform()


def wait(browser: Any, script: str) -> Any:
    """Wait until a script returns something true, and return it."""
    from selenium.webdriver.support.ui import WebDriverWait

    return WebDriverWait(browser, WAIT_S, 0.02).until(lambda one: one.execute_script(script))


def text(browser: Any, name: str) -> str:
    return str(browser.execute_script(f"return document.getElementById('{name}').textContent"))


IDLE = "!document.body.hasAttribute('aria-busy') && document.getElementById('who').textContent"


def answered(browser: Any, count: int) -> None:
    wait(browser, f"return ({IDLE}) && ({IDLE}).includes(': {count} answered')")


def fits(browser: Any) -> bool:
    width = "document.documentElement"
    return bool(browser.execute_script(f"return {width}.scrollWidth === {width}.clientWidth"))


def test_five_statements_by_keys_undone_reloaded_and_read_by_refine(
    browser: Any, url: str, run: Path
) -> None:
    browser.get(url)
    wait(browser, "return document.activeElement.id === 'name'")
    press(browser, "Ada", "\ue007")
    answered(browser, 0)
    for count, key in enumerate("1n3y2", start=1):
        press(browser, key)
        answered(browser, count)
    last = text(browser, "question"), text(browser, "kind")
    press(browser, "z")
    answered(browser, 4)
    press(browser, "2")
    answered(browser, 5)
    assert (text(browser, "question"), text(browser, "kind")) == last
    browser.get(browser.current_url)
    answered(browser, 5)
    assert (text(browser, "question"), text(browser, "kind")) == last
    assert fits(browser)
    file = str(run / "audit.jsonl")
    assert sorted(read_audit(file).right.values()) == [False, False, True, True]
    auditor = FileAuditor(file)
    auditor.review(open_dataset(str(run)))
    auditor.check()
    assert not browser.get_log("browser")


def test_a_box_is_moved_by_keys_and_what_is_missing_is_drawn(browser: Any, url: str) -> None:
    from selenium.webdriver import ActionChains
    from selenium.webdriver.common.by import By

    browser.get(url)
    answered(browser, 5)
    while "object_detection" not in text(browser, "kind"):
        count = int(text(browser, "who").split(": ")[1].split()[0])
        press(browser, "1")
        answered(browser, count + 1)
    count = int(text(browser, "who").split(": ")[1].split()[0])
    press(browser, "f", "\ue014", "\ue014", "\ue015", "\ue007")  # right, right, down, Enter
    answered(browser, count + 1)
    press(browser, "m")
    wait(browser, "return document.body.classList.contains('searching')")
    image = browser.find_element(By.ID, "close")
    drag = ActionChains(browser).move_to_element_with_offset(image, -30, -30).click_and_hold()
    drag.move_by_offset(60, 60).release().perform()
    wait(browser, "return document.activeElement.id === 'missing-name'")
    press(browser, "star", "\ue007")
    wait(browser, "return document.querySelectorAll('#found li').length === 1")
    browser.refresh()  # a draft is kept
    wait(
        browser,
        f"return {IDLE}",
    )
    press(browser, "m")
    wait(browser, "return document.querySelectorAll('#found li').length === 1")
    press(browser, "d")
    wait(browser, "return !document.body.classList.contains('searching')")
    assert not browser.get_log("browser")


def test_on_a_phone_nothing_overflows(browser: Any, url: str) -> None:
    phone = {"width": 390, "height": 844, "deviceScaleFactor": 2, "mobile": True}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", phone)
    browser.get(url)
    wait(browser, "return document.querySelector('#close image') !== null")
    assert fits(browser)
    press(browser, "m")
    wait(browser, "return document.body.classList.contains('searching')")
    assert fits(browser)
    hosts = "return performance.getEntriesByType('resource').map(one => new URL(one.name).host)"
    assert {one.split(":")[0] for one in browser.execute_script(hosts)} == {"127.0.0.1"}

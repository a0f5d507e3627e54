"""A page in Debian's Chromium, and a server for it."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

CHROMIUM, DRIVER = Path("/usr/bin/chromium"), Path("/usr/bin/chromedriver")
WIDE, PHONE = (1280, 900), (390, 844)
_WAIT_S = 10


@contextmanager
def serving(app: Any) -> Iterator[str]:
    """Answer requests with an app while the block runs; the address of the server."""
    import uvicorn

    config = uvicorn.Config(app, host="127.0.0.1", port=0, log_level="error", ws="none")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        thread.join(0.01)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    thread.join()


class Browser:
    """Chromium without a window: what a person does, and what went wrong meanwhile."""

    def __init__(self) -> None:
        from selenium import webdriver

        options = webdriver.ChromeOptions()
        options.binary_location = str(CHROMIUM)
        for one in ("headless=new", "no-sandbox", "disable-dev-shm-usage", "disable-gpu"):
            options.add_argument(f"--{one}")
        logs = {"browser": "ALL", "performance": "ALL"}
        options.set_capability("goog:loggingPrefs", logs)
        self.driver = webdriver.Chrome(
            options=options, service=webdriver.ChromeService(str(DRIVER))
        )

    def resize(self, width: int, height: int) -> None:
        """Show pages so wide and high, below 500 pixels as a phone does."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)

    def open(self, url: str) -> None:
        """Open a page, and wait until it is drawn."""
        self.driver.get(url)
        self.settle()

    def settle(self) -> None:
        """Wait until the page is drawn."""
        ready = "return !document.getElementById('page')?.hasAttribute('aria-busy')"
        self.until(lambda: self.run(ready))

    def until(self, condition: Callable[[], Any]) -> Any:
        """Wait until a condition holds, and return what it gave."""
        from selenium.webdriver.support.ui import WebDriverWait

        return WebDriverWait(self.driver, _WAIT_S, 0.02).until(lambda _: condition())

    def run(self, script: str, *values: Any) -> Any:
        """Run a script in the page."""
        return self.driver.execute_script(script, *values)

    def texts(self, selector: str) -> list[str]:
        """Return the texts of elements."""
        script = "return [...document.querySelectorAll(arguments[0])].map((one) => one.textContent)"
        found: list[str] = self.run(script, selector)
        return found

    def click(self, selector: str) -> None:
        """Click on the first element."""
        self.driver.find_element("css selector", selector).click()
        self.settle()

    def press(self, *keys: str) -> None:
        """Press keys where the focus is."""
        from selenium.webdriver import ActionChains

        ActionChains(self.driver).send_keys(*keys).perform()
        self.settle()

    @property
    def path(self) -> str:
        """The path and the query of the page."""
        return str(self.run("return location.pathname + location.search"))

    @property
    def overflow(self) -> int:
        """Pixels by which the page is wider than the window."""
        width = "document.documentElement"
        return int(self.run(f"return {width}.scrollWidth - {width}.clientWidth"))

    def problems(self, address: str) -> list[str]:
        """Return errors of the console, and requests to other hosts, since the last time."""
        errors = [one["message"] for one in self.driver.get_log("browser")]
        messages = (
            json.loads(one["message"])["message"] for one in self.driver.get_log("performance")
        )
        urls = [
            one["params"]["request"]["url"]
            for one in messages
            if one["method"] == "Network.requestWillBeSent"
        ]
        return errors + [url for url in urls if not url.startswith((f"{address}/", "data:"))]

"""The picture of the report: `python docs/pictures/screenshot.py` writes `report.png` beside it.

Draws the samples of `out/quickstart/report.html` (`make demo`) in a Chromium without a window.
Fonts are those of the machine: install Inter and P052 (URW) for the look of the committed picture.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

ROOT = Path(__file__).parents[2]
REPORT = ROOT / "out" / "quickstart" / "report.html"
PICTURE = Path(__file__).with_name("report.png")
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
SIZE = "1240,1000"
"""Width and height of the page, in pixels of CSS."""
SCALE = 1.25
ONLY_SAMPLES = """<style>
.masthead, footer, main > :not(#samples), #samples > h2, #samples > p,
.plate:not(#plate-1, #plate-2) { display: none !important }
#samples { margin: 0; padding: 0 }
</style></head>"""
COLOURS = 256
METHOD = Image.Quantize.MAXCOVERAGE
"""Keeps the colours of small things, such as the box of a line of text."""


def main() -> int:
    """Draw the picture and return the exit code."""
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        return _failed(f"no browser on PATH: install one of {', '.join(BROWSERS)}")
    if not REPORT.exists():
        return _failed(f"{REPORT} is not there: run `make demo`")
    with tempfile.TemporaryDirectory() as folder:
        page, drawn = Path(folder) / "report.html", Path(folder) / "report.png"
        page.write_text(REPORT.read_text("utf-8").replace("</head>", ONLY_SAMPLES, 1), "utf-8")
        options = ("--headless", "--no-sandbox", "--hide-scrollbars", f"--window-size={SIZE}")
        scale = f"--force-device-scale-factor={SCALE}"
        subprocess.run(
            [browser, *options, scale, f"--screenshot={drawn}", page.as_uri()], check=True
        )
        with Image.open(drawn) as picture:
            few = picture.convert("RGB").quantize(COLOURS, method=METHOD, dither=Image.Dither.NONE)
            few.save(PICTURE, optimize=True)
    return 0


def _failed(message: str) -> int:
    sys.stderr.write(message + "\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())

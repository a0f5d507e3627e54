"""Starting measured programs in processes of their own, and what they leave behind."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.benchmarks.marks import FIRST_IMAGE, Timeline
from tests.benchmarks.processes import Family, Peak, watched

ROOT = Path(__file__).parents[2]
DRIVER = "tests.benchmarks.driver"
BY_HAND = "tests.benchmarks.by_hand"
TIMEOUT_S = 900
ENVIRONMENT = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
"""One thread per process on both sides: the processes share the cores, not the threads."""


@dataclass(frozen=True, kw_only=True)
class Child:
    """A program that runs, its family, and where it writes marks and messages."""

    process: subprocess.Popen[bytes]
    family: Family
    marks: Path
    messages: Path
    started_s: float

    @property
    def timeline(self) -> Timeline:
        """The marks so far."""
        return Timeline.read(self.marks)


@dataclass(frozen=True, kw_only=True)
class Ended:
    """What a program that ended well has cost; 0 bytes if its memory was not watched."""

    timeline: Timeline
    started_s: float
    peak_bytes: int

    @property
    def startup_s(self) -> float:
        """Seconds from the start of its process to its first image."""
        return self.timeline.of(FIRST_IMAGE)[0].time_s - self.started_s


def marked(document: Mapping[str, Any], marks: Path) -> dict[str, Any]:
    """Return a config whose first stage marks the first image."""
    first = {"use": "tests.benchmarks.stages:FirstImage", "marks": str(marks)}
    return {**document, "specialists": {"first_image": first, **document["specialists"]}}


@contextmanager
def running(
    module: str, folder: Path, document: Mapping[str, Any], *arguments: str
) -> Iterator[Child]:
    """Start a program on a config, with marks; kill it when the block ends before it does.

    The folder takes config, marks and messages; the config decides on the output.
    """
    folder.mkdir(parents=True)
    config, marks, messages = folder / "config.json", folder / "marks", folder / "messages"
    config.write_text(json.dumps(marked(document, marks)))
    command = [sys.executable, "-m", module, str(config), str(marks), *arguments]
    with messages.open("wb") as file:
        started_s = time.monotonic()
        process = subprocess.Popen(
            command, cwd=ROOT, stdout=file, stderr=file, env={**os.environ, **ENVIRONMENT}
        )
    try:
        yield Child(
            process=process,
            family=Family(process.pid),
            marks=marks,
            messages=messages,
            started_s=started_s,
        )
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()


def run(
    module: str,
    folder: Path,
    document: Mapping[str, Any],
    *arguments: str,
    is_memory_watched: bool = True,
) -> Ended:
    """Run a program on a config to its end. To watch its memory takes a tenth of two cores.

    Raises:
        RuntimeError: it failed; the message has its last words.
    """
    with running(module, folder, document, *arguments) as child:
        with watched(child.family) if is_memory_watched else nullcontext(Peak()) as peak:
            code = child.process.wait(TIMEOUT_S)
        if code != 0:
            raise RuntimeError(f"{module} failed: {child.messages.read_text()[-2000:]}")
        return Ended(
            timeline=child.timeline, started_s=child.started_s, peak_bytes=peak.memory_bytes
        )

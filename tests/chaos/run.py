"""One build that is disturbed by a seeded schedule, and whether it kept its promises."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.benchmarks.children import ROOT
from tests.chaos.calls import CallLog, Strike
from tests.chaos.hog import FULL
from tests.chaos.nodes import NODES, Nodes, kill

KILLED = ("worker", "node", "driver")
"""Kinds of disturbances in which processes die."""
LIMIT_S = 600.0
"""Seconds for a build, on a busy machine."""
POLL_S = 0.02
NODES_BACK_S = 60.0
"""Seconds for which a driver waits for nodes: it may start when all are gone."""
FULL_S = 5.0
"""Seconds for which shared memory is full."""
_MOST_FAILURES = 3
_LAST_WORDS_S = 2.0


class Hung(Exception):
    """A build did not end in time."""


@dataclass(frozen=True, kw_only=True)
class Planned:
    """A disturbance to come: its kind, and the share of the answers that are there by then."""

    kind: str
    share: float


def plan_of(random: random.Random, kinds: Sequence[str]) -> list[Planned]:
    """Spread disturbances over a build, in a random order and at random distances."""
    order = random.sample(kinds, len(kinds))
    for at, kind in enumerate(order):
        if kind == "store" and at > len(order) // 2:  # it takes its time
            order.insert(0, order.pop(at))
    return [
        Planned(kind=kind, share=0.94 * (number + random.random()) / len(order))
        for number, kind in enumerate(order)
    ]


class DisturbedBuild:
    """A build on a cluster; `strikes` are the disturbances so far."""

    def __init__(
        self, nodes: Nodes, config: Path, log: Path, random: random.Random, *, keep_s: float
    ) -> None:
        self._nodes = nodes
        self._config = config
        self._random = random
        self._keep_s = keep_s
        self._words = config.with_suffix(".out")
        self._return_at_s: list[float] = []  # when nodes come back
        self.calls = CallLog(log)
        self.strikes: list[Strike] = []
        self.failures: list[str] = []
        self.seconds = 0.0
        self._hogs: list[subprocess.Popen[bytes]] = []

    def run(self, plan: Sequence[Planned], *, answers: int = 0) -> None:
        """Build to the end, which are so many answers.

        Raises:
            Hung: it takes too long; the message has all stacks.
        """
        begun_s = time.monotonic()
        self._driver = self._started()
        coming = list(plan)
        try:
            while not self._is_over():
                if time.monotonic() - begun_s > LIMIT_S:
                    raise Hung(self._stacks())
                self.calls.update()
                self._bring_back()
                is_due = coming and len(self.calls.answered) >= coming[0].share * answers
                if is_due and self._strike(coming[0].kind):
                    coming.pop(0)
                time.sleep(POLL_S)
            self.seconds = time.monotonic() - begun_s
        finally:
            for process in (self._driver, *self._hogs):
                process.kill()
                process.wait()
        self.calls.update()
        if self._hogs and FULL not in self._words.read_text(errors="replace"):
            self.failures.append("shared memory was not filled before the build was over")
        if coming:
            self.failures.append(f"it was over before {len(coming)} disturbances")
        while len(self._nodes) < NODES:
            self._nodes.add()

    def _started(self) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "tests.chaos.driver", "build", str(self._config)]
        runner = ["--runner", "ray", "--set", f"runner.address={self._nodes.address}"]
        runner += ["--set", f"runner.keep_s={self._keep_s:g}"]
        runner += ["--set", f"runner.wait_for_nodes_s={NODES_BACK_S:g}"]
        with self._words.open("ab") as words:
            return subprocess.Popen(
                [*command, *runner], cwd=ROOT, stdout=words, stderr=words, start_new_session=True
            )

    def _is_over(self) -> bool:
        """Whether the build has ended; one that failed is started again, and the failure noted."""
        code = self._driver.poll()
        if code:
            self.failures.append(f"the build ended with {code}: {self._last_words()}")
            self._driver = self._started()
        return code == 0 or len(self.failures) > _MOST_FAILURES

    def _bring_back(self) -> None:
        if self._return_at_s and time.monotonic() > self._return_at_s[0]:
            self._return_at_s.pop(0)
            self._nodes.add()

    def _strike(self, kind: str) -> bool:
        """Disturb the build, where something is in flight; tell whether it was done."""
        workers = self._nodes.workers()
        busy = sorted(pid for pid in workers if pid in self.calls.busy())
        if not busy:
            return False
        victim = self._random.choice(busy)
        killed = [victim]
        at_s = time.monotonic()
        match kind:
            case "worker":
                kill(victim)
            case "node":
                killed = [pid for pid, index in workers.items() if index == workers[victim]]
                self._nodes.kill_node(workers[victim])
                if len(self._nodes) < NODES:
                    self._return_at_s.append(at_s + self._random.uniform(0.5, 2.0))
            case "driver":
                killed = list(workers)
                self._driver.kill()
                self._driver.wait()
                self._driver = self._started()
            case "join":
                killed = []
                self._nodes.add()
            case "store":
                killed = []
                self._fill()
        self.strikes.append(Strike(kind=kind, at_s=at_s, pids=frozenset(killed)))
        return True

    def _fill(self) -> None:
        """Have another program fill the shared memory of all nodes."""
        command = [sys.executable, "-m", "tests.chaos.hog", self._nodes.address, str(FULL_S)]
        with self._words.open("ab") as words:
            hog = subprocess.Popen(command, cwd=ROOT, stdout=words, stderr=words)
        self._hogs.append(hog)

    def _stacks(self) -> str:
        os.kill(self._driver.pid, signal.SIGUSR1)
        time.sleep(_LAST_WORDS_S)
        return self._last_words(8000)

    def _last_words(self, most: int = 1500) -> str:
        return self._words.read_text(errors="replace")[-most:]

"""What runs asked of their stages, and what services were paid, since a version was published.

    OUTPUT/spent.json   until the next version is published

An observer adds up what workers report after each call, and stores it every few seconds and at the
end, whatever ends the run: the next refresh adds to it. Of a run that was killed, its last seconds
and the calls that were going on are not known.
"""

from __future__ import annotations

import logging
import time
from collections import Counter

from florilegium.engine.core.errors import StorageError
from florilegium.engine.execution.observer import (
    CallFinished,
    Fact,
    Observer,
    RunFailed,
    RunStopped,
)
from florilegium.engine.storage.folder import Folder
from florilegium.pipelines.dataset.files import SPENT
from florilegium.pipelines.dataset.refreshed import SpentSince, VersionCost, read_spent
from florilegium.pipelines.telemetry.progress_file import LOCAL_S, REMOTE_S

_log = logging.getLogger(__name__)

_DECIMALS = 9


class Spending(Observer):
    """Adds up, from what earlier refreshes stored; what a worker that died had spent since its last
    report is not known."""

    def __init__(self, output: Folder) -> None:
        self._output = output
        self._impatient = output.impatient()
        self._pause_s = LOCAL_S if output.is_local else REMOTE_S
        self._since = ""
        self._earlier = VersionCost()
        self._counts = {name: Counter[str]() for name in ("asked", "requests", "tokens")}
        self._money: dict[str, float] = {}
        self._is_stored = True
        self._stored_s = -float("inf")

    def resume(self, since: str) -> None:
        """Go on from what was spent since the current version, `version_of` its manifest or empty.
        The caller holds the lease.

        Raises:
            StorageError: the file is damaged.
        """
        self._since = since
        stored = read_spent(self._output)
        if stored and stored.since == since:  # a run may have been killed just after the switch
            self._earlier = stored.spent

    def observe(self, fact: Fact) -> None:
        if isinstance(fact, CallFinished):
            self._add(fact)
        is_end = isinstance(fact, RunFailed | RunStopped)
        is_due = time.monotonic() - self._stored_s >= self._pause_s
        if not self._is_stored and (is_end or is_due):
            try:
                self._store(self._impatient)
            except StorageError as error:  # no reason to end the run, nor to hide what ended it
                self._stored_s = time.monotonic()
                _log.warning("what the refresh has spent cannot be stored: %s", error)

    def store(self) -> None:
        """Store what was spent so far.

        Raises:
            StorageError: the file cannot be written.
        """
        self._store(self._output)

    @property
    def spent(self) -> VersionCost:
        """What was spent so far; stages that spent nothing are left out."""
        counts = {name: dict(sorted((+one).items())) for name, one in self._counts.items()}
        money = {name: round(one, _DECIMALS) for name, one in sorted(self._money.items()) if one}
        return self._earlier + VersionCost(**counts, money=money)

    def _add(self, fact: CallFinished) -> None:
        for timing in fact.timings:
            stage, spent = timing.stage, timing.spent
            self._counts["asked"][stage] += timing.samples
            self._counts["requests"][stage] += spent.requests
            self._counts["tokens"][stage] += spent.tokens
            self._money[stage] = self._money.get(stage, 0.0) + spent.cost
            self._is_stored = False

    def _store(self, output: Folder) -> None:
        spent = SpentSince(since=self._since, spent=self.spent)
        output.publish(SPENT, spent.to_json())
        self._is_stored, self._stored_s = True, time.monotonic()

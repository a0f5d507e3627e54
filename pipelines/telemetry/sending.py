"""Sending to a service in the background: what it does not take is no reason to wait or to fail."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

from engine.core.redaction import redacted
from pipelines.terminal.console import ERR

MessageT = TypeVar("MessageT")

CLOSING_S = 10.0
STOPPING_S = 3.0
"""Seconds that a run waits at its end for what is still to be sent, and when it is stopped."""


class Warned:
    """Prints one warning about a service, whatever fails and how often."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._is_done = False

    def warn(self, reason: object) -> None:
        """Print why something was not delivered, unless that was done before."""
        if not self._is_done:
            self._is_done = True
            line = f"{self._what}: {reason}; the run goes on without it"
            ERR.say(redacted(line), label="warning", style="yellow")


class Sender(Generic[MessageT]):
    """Delivers messages in their order, in a thread of its own, which calls `finish` at the end."""

    def __init__(
        self,
        deliver: Callable[[MessageT], object],
        finish: Callable[[], object],
        *,
        what: str,
    ) -> None:
        self._deliver = deliver
        self._finish = finish
        self._warned = Warned(what)
        self._messages: queue.Queue[MessageT | None] = queue.Queue()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def send(self, message: MessageT) -> None:
        """Deliver a message after those before it; return at once."""
        self._messages.put(message)
        if self._thread.ident is None:
            self._thread.start()

    def close(self, timeout_s: float) -> None:
        """Wait until all that was sent is delivered, or the time is over."""
        self._messages.put(None)
        self._thread.join(timeout_s)
        if self._thread.is_alive():
            self._warned.warn(f"no answer within {timeout_s:g} s")

    def _run(self) -> None:
        while (message := self._messages.get()) is not None:
            self._try(lambda message=message: self._deliver(message))
        self._try(self._finish)

    def _try(self, action: Callable[[], object]) -> None:
        try:
            action()
        except Exception as error:  # each transport has its own
            self._warned.warn(f"{type(error).__name__}: {error}")

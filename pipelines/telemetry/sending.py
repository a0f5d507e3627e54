"""Sending to a service in the background: what it does not take is no reason to wait or to fail."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

from florilegium.engine.core.redaction import redacted
from florilegium.pipelines.terminal.console import ERR

MessageT = TypeVar("MessageT")

CLOSING_S = 10.0
STOPPING_S = 2.0
"""Seconds that a run waits at its end for what is still to be sent; the shorter time is for a run
that is stopped, and for a service that did not take something before."""


class Service:
    """A service that gets messages; whatever fails, and how often, one warning is printed."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._is_warned_of = False

    def warn(self, reason: object) -> None:
        """Print why something was not delivered, unless that was done before."""
        if not self._is_warned_of:
            self._is_warned_of = True
            line = f"{self._name}: {reason}; the dataset is not affected"
            ERR.say(redacted(line), label="warning", style="yellow")

    def wait_for(self, thread: threading.Thread, seconds: float) -> None:
        """Wait until a thread has delivered everything, or the time is over, which is short where
        something failed before."""
        seconds = min(seconds, STOPPING_S) if self._is_warned_of else seconds
        thread.join(seconds)
        if thread.is_alive():
            self.warn(f"it took nothing within {seconds:g} s")


class Sender(Generic[MessageT]):
    """Delivers messages in their order, in a thread of its own, which calls `finish` at the end."""

    def __init__(
        self,
        deliver: Callable[[MessageT], object],
        finish: Callable[[], object],
        service: Service,
    ) -> None:
        self._deliver = deliver
        self._finish = finish
        self._service = service
        self._messages: queue.Queue[MessageT | None] = queue.Queue()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def send(self, message: MessageT) -> None:
        """Deliver a message after those before it; return at once."""
        self._messages.put(message)
        if self._thread.ident is None:
            self._thread.start()

    def close(self, seconds: float) -> None:
        """Wait until all that was sent is delivered, or the time is over."""
        self._messages.put(None)
        self._service.wait_for(self._thread, seconds)

    def _run(self) -> None:
        while (message := self._messages.get()) is not None:
            try:
                self._deliver(message)
            except Exception as error:  # each transport has its own
                self._service.warn(f"{type(error).__name__}: {error}")
        self._finish()

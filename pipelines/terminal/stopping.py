"""Stopping a command by Ctrl-C or SIGTERM, whatever it waits for.

The first signal raises `KeyboardInterrupt` in the main thread, so that the command cleans up. If
that takes too long, or a second signal comes, a thread ends the process at once. The thread gets
signals through a socket (`signal.set_wakeup_fd`), even while the main thread waits in C code.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    import psutil

PATIENCE_S = 15.0
"""Seconds that a stopped command has for cleaning up."""
STOPPED = "stopped; finished work is kept: run the same command again to resume"
_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_SHOW_CURSOR = "\x1b[?25h"


class Stop:
    """The signal that stops the command, if one came."""

    def __init__(self) -> None:
        self._number = 0
        self._is_regular = False
        self._family: list[psutil.Process] | None = None

    @property
    def is_asked(self) -> bool:
        """Whether a signal came."""
        return self._number != 0

    def expect(self) -> None:
        """Take a signal as the regular end of a command that runs until then, as a server does:
        it has nothing to resume, and its exit code is 0."""
        self._is_regular = True

    def ask(self, number: int) -> None:
        """Remember a signal, also one that a library handles itself."""
        self._number = self._number or number

    def raised(self, number: int, frame: FrameType | None) -> None:
        """Handle the first signal; the thread handles a second one."""
        self.ask(number)
        if self._family is None:
            self._family = _descendants()  # now: a child that exits may leave children of its own
            raise KeyboardInterrupt

    def end(self) -> NoReturn:
        """Print `STOPPED` and exit with the code of shells after the signal: 130 after Ctrl-C, 143
        after SIGTERM. If the signal was expected, print nothing and exit with 0."""
        if self._number:  # a regular exit may crash libraries that were just starting
            self.end_now()
        sys.stderr.write(f"{STOPPED}\n")
        sys.exit(128 + signal.SIGINT)

    def end_now(self) -> NoReturn:
        """Kill all child processes and exit at once."""
        import psutil

        for process in (*(self._family or ()), *_descendants()):
            with suppress(psutil.Error):
                process.kill()
        cursor = _SHOW_CURSOR if sys.stderr.isatty() else ""
        with suppress(OSError):
            os.write(2, (cursor if self._is_regular else f"{cursor}{STOPPED}\n").encode())
        os._exit(0 if self._is_regular else 128 + self._number)


@contextmanager
def stoppable() -> Iterator[Stop]:
    """Let signals stop the block; outside of the main thread this does nothing."""
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = {one: signal.getsignal(one) for one in _SIGNALS}
    # A signal that nohup ignores stays ignored.
    before = {one: now for one, now in before.items() if now is not signal.SIG_IGN}
    receiver, sender = socket.socketpair()
    sender.setblocking(False)
    threading.Thread(target=_watch, args=(receiver, stop), daemon=True).start()
    previous_fd = signal.set_wakeup_fd(sender.fileno(), warn_on_full_buffer=False)
    for one in before:
        signal.signal(one, stop.raised)
    try:
        yield stop
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)
        signal.set_wakeup_fd(previous_fd)
        sender.close()


def _watch(receiver: socket.socket, stop: Stop) -> None:
    """End the process when a second signal comes, or `PATIENCE_S` after the first one."""
    with receiver:
        first = _next(receiver)
        if not first:
            return
        stop.ask(first)
        receiver.settimeout(PATIENCE_S)
        try:
            is_over = not _next(receiver)
        except TimeoutError:
            is_over = False
        if not is_over:
            stop.end_now()


def _next(receiver: socket.socket) -> int:
    """Wait for a signal that ends the process; return 0 when the block is over."""
    while data := receiver.recv(1):
        if data[0] in _SIGNALS:
            return data[0]
    return 0


def _descendants() -> list[psutil.Process]:
    """Return all child processes, direct and indirect."""
    import psutil  # not before it is needed: `--help` answers at once

    with suppress(psutil.Error):
        return psutil.Process().children(recursive=True)
    return []

"""Ending a command from outside: one Ctrl-C or SIGTERM stops it, whatever it waits for.

The first signal is raised in the main thread as `KeyboardInterrupt`, and what runs tidies up. Where
that takes too long, or another signal comes, a thread ends the process at once; the system tells
the thread of signals even while the main thread waits in C code.
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
"""Seconds in which a command that was stopped may tidy up."""
STOPPED = "stopped; nothing that is finished is lost: run the same command to resume"
_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_SHOW_CURSOR = "\x1b[?25h"


class Stop:
    """Whether a signal came that ends the command, and which one."""

    def __init__(self) -> None:
        self._number = 0
        self._family: list[psutil.Process] | None = None

    @property
    def is_asked(self) -> bool:
        """Whether a signal came."""
        return self._number != 0

    def ask(self, number: int) -> None:
        """Note a signal, also one that a library handles in its own way."""
        self._number = self._number or number

    def raised(self, number: int, frame: FrameType | None) -> None:
        """Handle a signal; of a second one the thread takes care."""
        self.ask(number)
        if self._family is None:
            self._family = _descendants()  # now, as one that is ended may leave its own behind
            raise KeyboardInterrupt

    def end(self) -> NoReturn:
        """Say that nothing is lost, and exit with the code that shells use after the signal: 130
        after Ctrl-C, 143 after SIGTERM."""
        if self._number:  # libraries in the middle of their start may crash in a tidy exit
            self.end_now()
        sys.stderr.write(f"{STOPPED}\n")
        sys.exit(128 + signal.SIGINT)

    def end_now(self) -> NoReturn:
        """End this process and all that it started."""
        import psutil

        for process in (*(self._family or ()), *_descendants()):
            with suppress(psutil.Error):
                process.kill()
        cursor = _SHOW_CURSOR if sys.stderr.isatty() else ""
        with suppress(OSError):
            os.write(2, f"{cursor}{STOPPED}\n".encode())
        os._exit(128 + self._number)


@contextmanager
def stoppable() -> Iterator[Stop]:
    """Let signals end what the block does; elsewhere than in the main thread none arrive."""
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = {one: signal.getsignal(one) for one in _SIGNALS}
    before = {one: now for one, now in before.items() if now is not signal.SIG_IGN}  # as by nohup
    told, tell = socket.socketpair()
    tell.setblocking(False)
    threading.Thread(target=_watch, args=(told, stop), daemon=True).start()
    earlier_fd = signal.set_wakeup_fd(tell.fileno(), warn_on_full_buffer=False)
    for one in before:
        signal.signal(one, stop.raised)
    try:
        yield stop
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)
        signal.set_wakeup_fd(earlier_fd)
        tell.close()


def _watch(told: socket.socket, stop: Stop) -> None:
    """End the process when a second signal comes, or the first one does not end it in time."""
    with told:
        first = _next(told)
        if not first:
            return
        stop.ask(first)
        told.settimeout(PATIENCE_S)
        try:
            is_over = not _next(told)
        except TimeoutError:
            is_over = False
        if not is_over:
            stop.end_now()


def _next(told: socket.socket) -> int:
    """Wait for a signal that ends the process; return 0 when the block is over."""
    while data := told.recv(1):
        if data[0] in _SIGNALS:
            return data[0]
    return 0


def _descendants() -> list[psutil.Process]:
    """Return the processes that this one started, and those that they started."""
    import psutil  # not before it is needed: `--help` answers at once

    with suppress(psutil.Error):
        return psutil.Process().children(recursive=True)
    return []

"""Feeders: processes that decode and preprocess images beside a worker, which drives a device.

In threads of the worker they would compete with the device's thread for Python's lock. A feeder
calls one function on items, both pickled, and hands the results over in shared memory
(`handover`). It ends with its owner, whatever it does then.
"""

from __future__ import annotations

import fcntl
import math
import os
import pickle
import signal
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import parent_process
from multiprocessing.connection import Connection
from pathlib import Path
from queue import LifoQueue
from typing import Any, TypeVar

from florilegium.engine.core.errors import ConfigError, SampleError
from florilegium.engine.execution.allowance import usable_cpus
from florilegium.engine.execution.answer import PROCESS_DIED
from florilegium.engine.execution.apart import start_ahead, started
from florilegium.engine.execution.reply import can_be_sent
from florilegium.engine.untrusted.traces import message_of, traceback_of
from florilegium.specialists.pretrained.handover import receive, send

T = TypeVar("T")
PreparedT = TypeVar("PreparedT")

MOST = 8
"""Feeders of a worker, at most, where their number is not given."""
_MODULES = (
    *("torch", "cv2", "transformers.image_processing_backends"),
    *("florilegium.engine.core.image.reading", "florilegium.specialists.pretrained.views"),
)
"""What is imported once for all feeders of a worker."""
_PARTS = 2
"""Parts of a batch for each feeder: smaller ones end closer together, larger ones cost less."""
_PATIENCE_S = 5.0


class Feeders:
    """A number of feeders, started when they are first needed; safe to use from many threads."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._idle: LifoQueue[_Feeder | None] = LifoQueue()
        for _ in range(count):
            self._idle.put(None)
        self._threads = ThreadPoolExecutor(count, thread_name_prefix="feeder")
        start_ahead(_MODULES)

    def prepare(
        self, items: Sequence[T], one: Callable[[T], PreparedT]
    ) -> tuple[list[PreparedT], float]:
        """Call `one` on each item, in feeders; return the results in order, and the CPU-seconds.

        Items of one picture are prepared together, so that it is decoded once.

        Raises:
            SampleError: `process_died`: a feeder ended, perhaps because of an item.
            ConfigError: `one` or an item cannot be pickled.
            Exception: that of the first part that failed.
        """
        order = _by_picture(items)
        size = math.ceil(len(items) / (_PARTS * self._count)) or 1
        parts = [order[start : start + size] for start in range(0, len(order), size)]

        def prepared(part: Sequence[int]) -> tuple[list[PreparedT], float]:
            return self._prepared([items[number] for number in part], one)

        found: dict[int, PreparedT] = {}
        cpu_s = 0.0
        for part, (results, own_s) in zip(parts, self._threads.map(prepared, parts), strict=True):
            found.update(zip(part, results, strict=True))
            cpu_s += own_s
        return [found[number] for number in range(len(items))], cpu_s

    def _prepared(
        self, items: Sequence[T], one: Callable[[T], PreparedT]
    ) -> tuple[list[PreparedT], float]:
        feeder = self._idle.get()
        try:
            if feeder is None or not feeder.is_alive:
                feeder = _Feeder()
            return feeder.results(items, one)
        finally:
            if feeder and feeder.is_busy:  # what it answers later, if at all, is not wanted
                feeder.end()
                feeder = None
            self._idle.put(feeder)

    def close(self) -> None:
        """End all feeders, when they have done what they are at."""
        self._threads.shutdown()
        for _ in range(self._count):
            if feeder := self._idle.get():
                feeder.end()


class _Feeder:
    """One process, and the function that it called last."""

    def __init__(self) -> None:
        self._process, self._connection = started(
            _serve, name="feeder", modules=_MODULES, is_daemon=True
        )
        self._one: Callable[[Any], Any] | None = None
        self.is_busy = False
        """Whether it was sent something whose results have not been received."""

    @property
    def is_alive(self) -> bool:
        """Whether it is still there; one that is idle sends nothing but the end of its pipe."""
        return not self._connection.poll()

    def results(
        self, items: Sequence[T], one: Callable[[T], PreparedT]
    ) -> tuple[list[PreparedT], float]:
        """Return the results for some items, and the CPU-seconds that they took; a function that it
        has already is not sent again."""
        self.is_busy = True
        try:
            self._send(items, one)
            outcome = receive(self._connection)
        except (EOFError, ConnectionError) as error:
            raise SampleError(PROCESS_DIED, self._how_it_died()) from error
        self.is_busy = False
        if isinstance(outcome, _Failure):
            self._one = None  # perhaps it was not received
            raise outcome.error from _RemoteError(outcome.traceback)
        self._one = one
        results, cpu_s = outcome
        return results, cpu_s

    def _send(self, items: Sequence[Any], one: Callable[[Any], Any]) -> None:
        try:
            send(self._connection, (None if one == self._one else one, items))
        except (pickle.PicklingError, AttributeError, TypeError) as error:
            raise ConfigError(
                f"what prepares images cannot be given to a feeder: {error}; `prepare` takes a "
                "function of a module, or an object of a class there, or set `feeders: 0`"
            ) from error

    def end(self) -> None:
        """End it at once."""
        self._connection.close()
        self._process.kill()
        self._process.join()

    def _how_it_died(self) -> str:
        self._process.join(_PATIENCE_S)
        code = self._process.exitcode
        how = f"by {signal.Signals(-code).name}" if code and code < 0 else f"with code {code}"
        return f"the process that decodes and preprocesses images ended {how}"


class _Failure:
    """What a function raised, and where."""

    def __init__(self, error: BaseException) -> None:
        self.traceback = traceback_of(error, above=(__file__,))
        what = f"{type(error).__name__}: {message_of(error)}"
        self.error = error if can_be_sent(error) else RuntimeError(what)


class _RemoteError(Exception):
    """The traceback of an error in a feeder, as text."""


def _serve(connection: Connection) -> None:
    """Call functions on items until the owner closes the pipe."""
    _end_with_owner()
    _keep_to_one_thread()
    one: Any = None
    while True:
        outcome: Any
        try:
            new, items = receive(connection)
            one = one if new is None else new
        except (EOFError, ConnectionError):
            os._exit(0)
        except BaseException as error:
            outcome = _Failure(error)
        else:
            outcome = _outcome(one, items)
            del items
        try:
            send(connection, outcome)
        except ConnectionError:
            os._exit(0)
        except BaseException as error:  # it cannot be pickled, or there is no memory for it
            send(connection, _Failure(error))
        del outcome


def _outcome(one: Callable[[Any], Any], items: Sequence[Any]) -> tuple[list[Any], float] | _Failure:
    before_s = time.process_time()
    try:
        return [one(item) for item in items], time.process_time() - before_s
    except BaseException as error:
        return _Failure(error)


def _end_with_owner() -> None:
    """Have the system end this process when its owner is gone, also while it decodes an image and
    Python gets no turn: a signal that nothing here handles."""
    owner = parent_process()
    assert owner is not None, "a feeder has an owner"
    pipe = int(owner.sentinel)
    fcntl.fcntl(pipe, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(pipe, fcntl.F_SETFL, fcntl.fcntl(pipe, fcntl.F_GETFL) | os.O_ASYNC)


def _keep_to_one_thread() -> None:
    """Keep libraries to one thread, those that are imported and those to come, and their warnings
    to errors: the worker has prepared an image of its own when it loaded the model."""
    os.environ |= {"OMP_NUM_THREADS": "1", "TRANSFORMERS_VERBOSITY": "error"}
    import cv2

    cv2.setNumThreads(1)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)
    if "transformers" in sys.modules:
        sys.modules["transformers"].logging.set_verbosity_error()


def _by_picture(items: Sequence[Any]) -> list[int]:
    """Return the numbers of items, those of one picture together."""
    pictures = [id(getattr(item, "picture", item)) for item in items]
    first = {picture: number for number, picture in reversed([*enumerate(pictures)])}
    return sorted(range(len(items)), key=lambda number: first[pictures[number]])


def feeders_of(feeders: int | str, device_type: str, num_gpus: float) -> int:
    """Return the number of feeders of a worker; by default, workers share the CPUs of a machine as
    they share its GPUs."""
    if not isinstance(feeders, str):
        return feeders
    if device_type == "cpu":
        return 0
    return max(1, min(MOST, int(usable_cpus() * (num_gpus or 1) / _gpus())))


def _gpus() -> int:
    """Return the GPUs of this machine, also those that other workers have."""
    return len([*Path("/dev").glob("nvidia[0-9]*")]) or 1

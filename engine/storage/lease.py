"""One writer at a time: the lease on an output folder.

A lease is a small file in the output that names its holder and is renewed while the holder
lives. On a mounted file system an OS lock beside it shows at once that a holder on this machine
is dead. On other machines and on object storage, a lease that is not renewed expires. A new lease
is a new file, created only if it does not exist, and is deleted when there is another one: two
writers may both be refused, but never both be admitted.

An output can be written in parts instead, by one writer each. A part has a lease of its own; it is
refused while the whole is written, and the whole while a part is. Each takes its own lease, then
looks for others: both may be refused, but never both be admitted.

Clocks of two machines differ, and any clock may step. So a lease whose time looks old is watched
for a while before it is taken. A holder that slept (a laptop, a paused machine) goes on if its
lease was not taken meanwhile, and otherwise writes nothing more.
"""

from __future__ import annotations

import getpass
import json
import os
import random
import socket
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import asdict, dataclass, replace
from typing import Annotated

from pydantic import Field, TypeAdapter

from florilegium.engine.core.errors import OutputInUse, RunError, StorageError
from florilegium.engine.core.redaction import redacted
from florilegium.engine.storage.failure import storage_error
from florilegium.engine.storage.folder import Folder

LEASES = ".lease"
"""The folder of leases within an output."""
LEASE_S = 90.0
"""Seconds without renewal after which a lease has ended."""
RENEW_S = 15.0
"""Seconds between two renewals; a lease that looks old is watched for twice as long."""
PARTS = "slices"
"""The folder of parts within an output; the lease on part 3 is in `slices/3/.lease`."""
DIVISION = f"{PARTS}/division.json"
"""Which part has which shards. While it is there, the output is written in parts only."""
WAITS_S = (1.0, 2.0, 4.0, 8.0, 16.0, 30.0)
"""Seconds between tries to renew when it must be known whether the lease still holds."""
_LOCK = "lock"
_Time = Annotated[float, Field(ge=0, lt=253_402_300_800, allow_inf_nan=False)]
"""Seconds since 1970, before the year 10000."""


@dataclass(frozen=True, kw_only=True)
class Holder:
    """The writer of an output: process, machine, user, and the command's first two words.

    Times are seconds since 1970.
    """

    command: str
    user: str
    host: str
    namespace: str
    pid: Annotated[int, Field(gt=0, lt=1 << 31)]
    since: _Time
    renewed: _Time

    @classmethod
    def this_process(cls) -> Holder:
        """Describe this process."""
        now = time.time()
        return cls(
            command=redacted(" ".join([os.path.basename(sys.argv[0]), *sys.argv[1:3]]))[:200],
            user=_user(),
            host=socket.gethostname(),
            namespace=_process_namespace(),
            pid=os.getpid(),
            since=now,
            renewed=now,
        )

    def __str__(self) -> str:
        since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(self.since))
        return f"{self.user} on {self.host}, process {self.pid}, since {since}: {self.command}"

    def is_on(self, other: Holder) -> bool:
        """Whether both processes are in one namespace of process ids."""
        return (self.host, self.namespace) == (other.host, other.namespace)

    @property
    def has_ended(self) -> bool:
        """Whether the process has certainly ended, as far as this machine can tell."""
        me = Holder.this_process()
        return self.is_on(me) and not _is_running(self.pid)

    def is_same(self, other: Holder) -> bool:
        """Whether both describe one lease, perhaps before and after it was renewed."""
        return replace(self, renewed=other.renewed) == other


_HOLDER = TypeAdapter(Holder)


class Lease:
    """The right to write an output, while it is renewed."""

    def __init__(self, folder: Folder, name: str, holder: Holder, *, is_locked: bool) -> None:
        self._folder = folder.impatient()
        self._name = name
        self._holder = holder
        self._is_locked = is_locked
        self._is_lost = False
        self._released = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="lease", daemon=True)
        self._thread.start()

    def check(self) -> None:
        """Check that this process still holds the lease.

        Raises:
            RunError: the lease ended, and another command took it.
            StorageError: the lease cannot be renewed.
        """
        if not self._is_held():
            raise RunError(
                f"the lease on {self._folder.url} ended before this command did, another one may "
                f"write there now: run the same command again, it resumes"
            )

    def release(self) -> None:
        """Delete the lease; one that cannot be deleted expires."""
        self._released.set()
        self._thread.join()
        with suppress(StorageError):  # the error that ended the run matters more
            if self._is_stored():
                self._folder.remove(self._name)

    def _is_ours(self) -> bool:
        """Whether the lease is stored as written here, and there is no later one."""
        last = f"{LEASES}/{max(_numbers(self._folder.names(LEASES)), default=0):06d}.json"
        return not self._is_lost and last == self._name and self._is_stored()

    def _is_stored(self) -> bool:
        stored = _read(self._folder, self._name)
        return stored is not None and stored.is_same(self._holder)

    def _is_held(self) -> bool:
        """Whether the lease still holds; a storage that fails for a while is waited for."""
        for wait_s in () if self._folder.is_local else WAITS_S:
            try:
                return self._renew_and_look()
            except StorageError:
                self._released.wait(wait_s * random.uniform(0.5, 1))
        return self._renew_and_look()

    def _renew_and_look(self) -> bool:
        self._renew()  # first: another command sees the renewal, or we see its lease
        return self._is_ours()

    def _renew(self) -> None:
        """Renew the lease. After a long pause it may have been taken: then it counts as lost.

        So a write must not last: the client is one that fails soon, and is asked again.
        """
        looked_s = _steady_s()
        if not self._is_ours():
            self._is_lost = True
            return
        renewed = replace(self._holder, renewed=time.time())
        self._folder.publish(self._name, _written(renewed), durable=False)
        if not self._is_locked and _steady_s() - looked_s > 2 * RENEW_S:
            self._is_lost = True

    def _keep(self) -> None:
        while not self._is_lost and not self._released.wait(RENEW_S):
            with suppress(Exception):  # storage may be unreachable for a while: try again next time
                self._renew()


def holder_of(output: Folder) -> Holder | None:
    """Return who wrote the latest lease on an output, alive or not; `None` where there is none.

    Raises:
        StorageError: the output cannot be read.
    """
    return max(_leases(output).values(), key=lambda holder: holder.renewed, default=None)


@contextmanager
def writing(output: Folder, *, ends_parts: bool = False) -> Iterator[Lease]:
    """Hold the lease on an output while the block runs; with `ends_parts` also on one that is
    divided into parts, when none of them is being written.

    Raises:
        OutputInUse: another command writes the output; the message names it.
        StorageError: the lease cannot be written.
    """
    me = Holder.this_process()
    with _os_lock(output) if output.is_local else nullcontext(False) as is_locked:
        lease = _taken(output, me, is_locked=is_locked)
        try:
            _refuse_parts(output, me, ends_parts=ends_parts)
            yield lease
        finally:
            lease.release()


@contextmanager
def writing_part(output: Folder, part: int) -> Iterator[Lease]:
    """Hold the lease on a part of an output, beside those on other parts, while the block runs.

    Raises:
        OutputInUse: another command writes the part, or the whole output.
        StorageError: the lease cannot be written.
    """
    with writing(Folder(f"{output.url}/{PARTS}/{part}")) as lease:
        _refuse_others(output, _leases(output), Holder.this_process(), is_locked=False)
        yield lease


def _refuse_parts(output: Folder, me: Holder, *, ends_parts: bool) -> None:
    """Refuse to write the whole while it is written in parts."""
    names = output.names(PARTS)
    leases = {
        f"{PARTS}/{part}/{name}": holder
        for part in filter(str.isdigit, names)
        for name, holder in _leases(Folder(f"{output.url}/{PARTS}/{part}")).items()
    }
    _refuse_others(output, leases, me, is_locked=False)
    if DIVISION.removeprefix(f"{PARTS}/") in names and not ends_parts:
        raise OutputInUse(
            f"{output.url} is being built in slices: `florilegium build CONFIG --finish` completes "
            f"it, and `--drop-slices` ends the slices and keeps what is finished"
        )


@contextmanager
def _os_lock(output: Folder) -> Iterator[bool]:
    """Hold the OS lock of a local output, which ends with the process; yield whether the file
    system has locks."""
    from filelock import FileLock, Timeout

    path = output.path(f"{LEASES}/{_LOCK}")
    lock = FileLock(path, timeout=0, fallback_to_soft=False)
    try:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        lock.acquire()
    except Timeout:
        holders = list(_leases(output).values())
        raise _in_use(output, holders[0] if holders else None) from None
    except OSError as error:
        raise storage_error("write", path, error) from error
    except NotImplementedError:  # a file system without locks: the lease alone must do
        yield False
        return
    try:
        yield True
    finally:
        lock.release()


def _taken(output: Folder, me: Holder, *, is_locked: bool) -> Lease:
    """Write a lease, unless there is another one."""
    before = output.names(LEASES)
    known = _leases(output, before)
    _refuse_others(output, known, me, is_locked=is_locked)
    own = f"{max(_numbers(before), default=0) + 1:06d}.json"
    name = f"{LEASES}/{own}"
    if not output.create(name, _written(me)):
        stored = _read(output, name)
        if stored != me:  # it is ours where the answer to the first try was lost
            raise _in_use(output, stored)
    others = [other for other in output.names(LEASES) if other not in (own, _LOCK)]
    unknown = {one: by for one, by in _leases(output, others).items() if known.get(one) != by}
    try:
        _refuse_others(output, unknown, me, is_locked=is_locked)
    except OutputInUse:
        output.remove(name)
        raise
    for other in others:  # unfinished ones, too
        output.remove(f"{LEASES}/{other}")
    return Lease(output, name, me, is_locked=is_locked)


def _refuse_others(
    output: Folder, leases: Mapping[str, Holder], me: Holder, *, is_locked: bool
) -> None:
    """Refuse to write while another holder is alive, or may be.

    Raises:
        OutputInUse: the message names the holder.
    """
    living = {
        name: one for name, one in leases.items() if not _is_dead(one, me, is_locked=is_locked)
    }
    for holder in living.values():
        if abs(time.time() - holder.renewed) <= LEASE_S:
            raise _in_use(output, holder)
    if living:
        time.sleep(2 * RENEW_S)
    for name, holder in living.items():
        if _read(output, name) not in (holder, None):  # it was renewed: a clock is wrong
            raise _in_use(output, holder)


def _is_dead(holder: Holder, me: Holder, *, is_locked: bool) -> bool:
    """Whether the process of a holder has certainly ended."""
    if holder.host == me.host and is_locked:
        return True  # it held the OS lock, which is ours now
    return holder.is_on(me) and not _is_running(holder.pid)


def _in_use(output: Folder, holder: Holder | None) -> OutputInUse:
    return OutputInUse(
        f"{output.url} is being written by {holder or 'another command'}; wait for its end, stop "
        f"it, or choose another `output` (if it died on another machine, its lease ends after "
        f"{LEASE_S:.0f} seconds)"
    )


def _leases(output: Folder, names: Sequence[str] | None = None) -> dict[str, Holder]:
    """Return who wrote the leases with these names, by default all that are there."""
    numbers = _numbers(output.names(LEASES) if names is None else names)
    paths = [f"{LEASES}/{number:06d}.json" for number in numbers]
    found = {path: _read(output, path) for path in paths}
    return {path: holder for path, holder in found.items() if holder is not None}


def _numbers(names: Iterable[str]) -> list[int]:
    """Return the numbers of leases, those that cannot be read included."""
    stems = [name.removesuffix(".json") for name in names]
    return [int(stem) for stem in stems if stem.isdigit()]


def _read(output: Folder, name: str) -> Holder | None:
    data = output.read(name)
    if data is None:
        return None
    try:
        return _HOLDER.validate_json(data, strict=True)
    except ValueError:
        return None  # unfinished, of a process that died


def _written(holder: Holder) -> bytes:
    return json.dumps(asdict(holder)).encode()


def _steady_s() -> float:
    """Return seconds of a clock that never steps and runs while the machine sleeps."""
    clock = getattr(
        time, "CLOCK_BOOTTIME", None
    )  # Linux: `time.monotonic` stops while the machine sleeps
    return time.monotonic() if clock is None else time.clock_gettime(clock)


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container whose user has no name
        return str(os.getuid())


def _process_namespace() -> str:
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:
        return ""

"""Two builds of one output, a build that sleeps past its lease, and readers meanwhile."""

from __future__ import annotations

import json
import os
import signal
import time
from contextlib import nullcontext
from hashlib import sha256
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from florilegium.engine.core.errors import FlorilegiumError, OutputInUse
from florilegium.engine.storage import lease
from florilegium.engine.storage.folder import Folder
from florilegium.pipelines.verify.verify import verify_dataset
from tests.building import BRIGHT_ENOUGH, DESCRIBED
from tests.end_to_end.dying import context
from tests.security.points import Watch, files_of, whole_build

pytestmark = pytest.mark.attack("faults")

KEYS: dict[str, Any] = {"specialists": DESCRIBED, "filters": BRIGHT_ENOUGH, "shard_size": 3}
LENIENT: dict[str, Any] = {**KEYS, "filters": {"enough": {**BRIGHT_ENOUGH["enough"], "minimum": 0}}}
LEASE_S, RENEW_S = 3.0, 1.0
LATE = {
    "run.yaml": "run.yaml",
    "report": "report.html",
    "card": "README.md",
    "dead letters": "dead_letters.parquet",
}
"""The one file that a build writes yet that falls asleep between the last look and the write: where
there is no lock of the system, nothing can tell. The manifest is never among them."""


def build_when_all_are_there(source: Path, out: Path, barrier: Any, sender: Any) -> None:
    """Build at the same moment as others; report how it ended."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    barrier.wait()
    try:
        whole_build(source, out, **KEYS)
    except OutputInUse as error:
        sender.send(str(error))
    else:
        sender.send("")


def test_of_builds_that_start_at_once_one_writes_and_the_others_are_told(
    album: Path, tmp_path: Path
) -> None:
    out, count = tmp_path / "out", 4
    barrier, pipes = context().Barrier(count), [context().Pipe(duplex=False) for _ in range(count)]
    builds = [
        context().Process(target=build_when_all_are_there, args=(album, out, barrier, sender))
        for _, sender in pipes
    ]
    for build in builds:
        build.start()
    messages = [receiver.recv() for receiver, _ in pipes]
    for build in builds:
        build.join()
        assert build.exitcode == 0
        build.close()
    assert "" in messages
    assert all("is being written by" in one for one in messages if one)
    whole_build(album, tmp_path / "alone", **KEYS)
    assert files_of(out) == files_of(tmp_path / "alone")


def build_and_sleep(source: Path, out: Path, kind: str, is_locked: bool, sender: Any) -> None:
    """Build, and be stopped at the first point of a kind; report how it ended."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)

    def stop() -> None:
        sender.send("stopped")
        os.kill(os.getpid(), signal.SIGSTOP)

    first = Watch(out)

    def reach(point: str, operation: str, **_: Any) -> None:
        if point == kind and operation in ("before", "open") and not first.points:
            first.points.append(point)  # type: ignore[arg-type]
            stop()

    first.reach = reach  # type: ignore[method-assign]
    with short_lease(is_locked), first.on():
        try:
            whole_build(source, out, **KEYS)
        except FlorilegiumError as error:
            sender.send(str(error))
        else:
            sender.send("")


def short_lease(is_locked: bool) -> Any:
    """Shorten the lease; without the lock of the system it stands alone, as on object storage."""
    changes: dict[str, Any] = {"LEASE_S": LEASE_S, "RENEW_S": RENEW_S}
    if not is_locked:
        changes["_os_lock"] = lambda _: nullcontext(False)
    return patch.multiple(lease, **changes)


@pytest.mark.parametrize("is_locked", [True, False], ids=["locked", "lease alone"])
@pytest.mark.parametrize("kind", ["answers", "tar", "run.yaml", "report", "card", "dead letters"])
def test_a_build_that_wakes_up_after_its_lease_overwrites_nothing(
    album: Path, tmp_path: Path, kind: str, is_locked: bool
) -> None:
    out = tmp_path / "out"
    receiver, sender = context().Pipe(duplex=False)
    sleeper = context().Process(target=build_and_sleep, args=(album, out, kind, is_locked, sender))
    sleeper.start()
    assert receiver.recv() == "stopped"
    time.sleep(LEASE_S + 0.2)  # its lease ends while it sleeps
    with short_lease(is_locked):
        if is_locked:  # the system knows that it lives
            with pytest.raises(OutputInUse, match=f"process {sleeper.pid}"):
                whole_build(album, out, **LENIENT)
        else:
            whole_build(album, out, **LENIENT)
    os.kill(sleeper.pid, signal.SIGCONT)
    assert receiver.poll(120)
    messages = receiver.recv()
    assert messages == "" if is_locked else "run the same command again" in messages
    sleeper.join()
    sleeper.close()
    keys = KEYS if is_locked else LENIENT
    whole_build(album, tmp_path / "alone", **keys)
    alone = files_of(tmp_path / "alone")
    late = {LATE[kind]} if kind in LATE and not is_locked else set()
    assert different(alone, files_of(out)) <= late
    whole_build(album, out, **keys)
    assert different(alone, files_of(out)) == set()
    assert list(verify_dataset(Folder(str(out)))) == []


def different(wanted: dict[str, bytes], found: dict[str, bytes]) -> set[str]:
    """Return the names of files that are missing or have another content."""
    return {name for name, data in wanted.items() if found.get(name) != data}


class _Reading(Watch):
    """Reads the dataset at every point of a build."""

    def __init__(self, output: Path) -> None:
        super().__init__(output)
        self.output = output
        self.seen: set[bytes] = set()

    def reach(self, kind: str, operation: str, **options: Any) -> None:
        super().reach(kind, operation, **options)
        if kind == "parquet" and operation == "write":  # many, and nothing comes of one
            return
        manifest = (self.output / "manifest.json").read_bytes()
        self.seen.add(manifest)
        for shard in json.loads(manifest)["shards"]:
            for suffix in ("tar", "parquet"):
                data = (self.output / "shards" / f"{shard['name']}.{suffix}").read_bytes()
                assert sha256(data).hexdigest() == shard[suffix]["sha256"]


def test_a_reader_sees_one_whole_version_at_every_moment_of_a_build(
    album: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    whole_build(album, out, **KEYS)
    reading = _Reading(out)
    with reading.on():
        whole_build(album, out, **LENIENT)
    assert len(reading.seen) == 2
    assert len(reading.points) > 200

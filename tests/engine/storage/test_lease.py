from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import time
from contextlib import nullcontext
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from florilegium.engine.core.errors import OutputInUse, RunError, StorageError
from florilegium.engine.storage import lease
from florilegium.engine.storage.folder import Folder
from florilegium.engine.storage.lease import DIVISION, LEASE_S, Holder, writing, writing_part


def elsewhere() -> Holder:
    """Return a live writer on another machine."""
    return replace(Holder.this_process(), host="another-host", namespace="pid:[1]", pid=1)


@pytest.fixture(params=["local", "memory"])
def output(request: pytest.FixtureRequest, tmp_path: Path) -> Folder:
    return Folder(str(tmp_path) if request.param == "local" else f"memory://{uuid4().hex}")


def hold(output: Folder, holder: Holder) -> None:
    """Write the lease of another process."""
    output.publish(".lease/000007.json", json.dumps(asdict(holder)).encode())


def holders(output: Folder) -> list[Holder]:
    names = [name for name in output.names(".lease") if name.endswith(".json")]
    return [Holder(**json.loads(output.read(f".lease/{name}") or b"")) for name in names]


def test_one_writer_holds_the_output_and_gives_it_back(output: Folder) -> None:
    with writing(output) as held:
        assert [holder.pid for holder in holders(output)] == [os.getpid()]
        held.check()
    assert holders(output) == []
    with writing(output):
        pass


def test_a_second_writer_is_refused_and_told_who_holds_the_output(output: Folder) -> None:
    with (
        writing(output),
        pytest.raises(OutputInUse, match=rf"process {os.getpid()}, since 20\d\d-"),
        writing(output),
    ):
        raise AssertionError("two writers")
    assert holders(output) == []


def test_an_error_in_the_block_gives_the_output_back(output: Folder) -> None:
    with pytest.raises(KeyError), writing(output):
        raise KeyError
    assert holders(output) == []


def test_a_live_writer_on_another_machine_is_respected(output: Folder) -> None:
    other = elsewhere()
    hold(output, other)
    with pytest.raises(OutputInUse, match="on another-host, process 1"), writing(output):
        raise AssertionError("two writers")
    assert holders(output) == [other]


@pytest.mark.usefixtures("quick")
def test_a_lease_that_is_not_renewed_ends_by_itself(output: Folder) -> None:
    hold(output, replace(elsewhere(), renewed=time.time() - LEASE_S - 1))
    with writing(output):
        assert [holder.host for holder in holders(output)] != ["another-host"]


def test_the_lease_of_a_dead_process_of_this_machine_ends_at_once(output: Folder) -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    hold(output, replace(Holder.this_process(), pid=dead.pid))
    with writing(output):
        assert [holder.pid for holder in holders(output)] == [os.getpid()]


def test_a_killed_writer_leaves_no_lock_behind(tmp_path: Path) -> None:
    code = (
        "import sys, time\n"
        "from florilegium.engine.storage.folder import Folder\n"
        "from florilegium.engine.storage.lease import writing\n"
        f"with writing(Folder({str(tmp_path)!r})): print('held', flush=True); time.sleep(60)"
    )
    other = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert other.stdout is not None
    assert other.stdout.readline() == b"held\n"
    with pytest.raises(OutputInUse, match=f"process {other.pid}"), writing(Folder(str(tmp_path))):
        raise AssertionError("two writers")
    other.kill()
    other.wait()
    other.stdout.close()
    with writing(Folder(str(tmp_path))):
        pass


def test_parts_are_written_at_once_and_each_by_one_writer(output: Folder) -> None:
    with writing_part(output, 1) as first, writing_part(output, 2) as second:
        with pytest.raises(OutputInUse, match="slices/2 is being written"), writing_part(output, 2):
            raise AssertionError("two writers")
        first.check()
        second.check()
    with writing(output):
        pass


def test_the_whole_is_not_written_beside_a_part(output: Folder) -> None:
    with (
        writing_part(output, 3),
        pytest.raises(OutputInUse, match="is being written by"),
        writing(output, ends_parts=True),
    ):
        raise AssertionError("two writers")
    assert holders(output) == []
    with (
        writing(output),
        pytest.raises(OutputInUse, match="is being written by"),
        writing_part(output, 3),
    ):
        raise AssertionError("two writers")
    assert holders(Folder(f"{output.url}/slices/3")) == []


def test_a_live_part_on_another_machine_is_respected_and_a_dead_one_ends(output: Folder) -> None:
    part = Folder(f"{output.url}/slices/12")
    hold(part, elsewhere())
    with pytest.raises(OutputInUse, match="on another-host, process 1"), writing(output):
        raise AssertionError("two writers")
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    hold(part, replace(Holder.this_process(), pid=dead.pid))
    with writing(output):
        pass


def test_a_whole_that_is_written_on_another_machine_is_respected_by_parts(output: Folder) -> None:
    hold(output, elsewhere())
    with pytest.raises(OutputInUse, match="on another-host"), writing_part(output, 1):
        raise AssertionError("two writers")


def test_an_output_that_is_divided_is_written_by_parts_until_one_ends_them(output: Folder) -> None:
    output.publish(DIVISION, b"{}")
    with pytest.raises(OutputInUse, match="is being built in slices"), writing(output):
        raise AssertionError("two writers")
    with writing_part(output, 1):
        pass
    with writing(output, ends_parts=True):
        pass


def test_two_who_create_their_leases_at_once_are_never_both_let_in(
    output: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    create, other = Folder.create, elsewhere()

    def overtaken(folder: Folder, name: str, data: bytes) -> bool:
        hold(output, other)  # after we looked, before we wrote
        return create(folder, name, data)

    monkeypatch.setattr(Folder, "create", overtaken)
    with pytest.raises(OutputInUse, match="another-host"), writing(output):
        raise AssertionError("two writers")
    assert holders(output) == [other]


@pytest.mark.attack("faults")
@pytest.mark.parametrize("step_s", [-1e6, -100.0, 100.0, 1e6])
def test_a_clock_that_steps_ends_no_lease(
    output: Folder, monkeypatch: pytest.MonkeyPatch, step_s: float
) -> None:
    now = time.time
    with writing(output) as held:
        monkeypatch.setattr(time, "time", lambda: now() + step_s)
        held.check()


@pytest.mark.attack("faults")
@pytest.mark.parametrize("step_s", [-1e6, -100.0, 100.0, 1e6])
def test_a_live_writer_with_a_wrong_clock_is_respected(
    output: Folder, monkeypatch: pytest.MonkeyPatch, step_s: float
) -> None:
    other = replace(elsewhere(), renewed=time.time() + step_s)
    hold(output, other)
    renewed = replace(other, renewed=other.renewed + lease.RENEW_S)
    monkeypatch.setattr(time, "sleep", lambda _: hold(output, renewed))
    with pytest.raises(OutputInUse, match="on another-host"), writing(output):
        raise AssertionError("two writers")
    assert holders(output) == [renewed]


@pytest.mark.attack("faults")
@pytest.mark.parametrize("step_s", [-1e6, -100.0, 100.0, 1e6])
def test_a_dead_writer_with_a_wrong_clock_locks_nobody_out(
    output: Folder, monkeypatch: pytest.MonkeyPatch, step_s: float
) -> None:
    hold(output, replace(elsewhere(), renewed=time.time() + step_s))
    watched: list[float] = []
    monkeypatch.setattr(time, "sleep", watched.append)
    with writing(output):
        assert [holder.pid for holder in holders(output)] == [os.getpid()]
    assert watched == [2 * lease.RENEW_S]  # once, whatever is looked at again


@pytest.mark.attack("faults")
def test_a_writer_that_slept_goes_on_where_nobody_took_its_lease(
    output: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, steady_s = time.time, lease._steady_s
    with writing(output) as held:
        monkeypatch.setattr(time, "time", lambda: now() + 1e5)
        monkeypatch.setattr(lease, "_steady_s", lambda: steady_s() + 1e5)
        held.check()
        assert holders(output)[0].renewed > now() + 1e4


@pytest.mark.attack("faults")
def test_a_writer_that_slept_while_it_renewed_finds_its_lease_lost_for_good(
    output: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish, steady_s = Folder.publish, lease._steady_s

    def sleep_and_publish(folder: Folder, name: str, data: bytes, **options: bool) -> None:
        """Another command takes the lease and gives it back; then the file is put back."""
        output.remove(name)
        monkeypatch.setattr(lease, "_steady_s", lambda: steady_s() + LEASE_S)
        publish(folder, name, data, **options)

    monkeypatch.setattr(lease, "_os_lock", lambda _: nullcontext(False))
    with writing(output) as held:
        monkeypatch.setattr(Folder, "publish", sleep_and_publish)
        for _ in range(2):
            with pytest.raises(RunError, match=r"the lease .* ended before this command did"):
                held.check()
    assert holders(output) == []


@pytest.mark.attack("faults")
@pytest.mark.parametrize("number", [1, 2])
def test_a_writer_does_not_take_the_lease_of_another_for_its_own(
    output: Folder, number: int
) -> None:
    other = elsewhere()
    with writing(output) as held:
        output.publish(f".lease/{number:06d}.json", json.dumps(asdict(other)).encode())
        with pytest.raises(RunError, match="ended before this command did"):
            held.check()
    assert other in holders(output)  # nor gives it back


@pytest.mark.attack("faults")
def test_a_lease_that_cannot_be_renewed_for_a_while_is_kept(
    output: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise StorageError("cannot write it: the disk is full")

    with writing(output) as held:
        with monkeypatch.context() as full:
            full.setattr(lease, "WAITS_S", ())
            full.setattr(Folder, "publish", refuse)
            turns = iter([False, False, True])
            full.setattr(held._released, "wait", lambda _: next(turns))
            held._keep()
            with pytest.raises(StorageError, match="the disk is full"):
                held.check()
        held.check()


def test_a_storage_that_fails_for_a_moment_does_not_end_the_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    output = Folder(f"memory://{uuid4().hex}")
    publish, failures = Folder.publish, iter([StorageError("busy")] * 3)

    def fail_at_first(folder: Folder, *data: Any, **options: Any) -> None:
        if error := next(failures, None):
            raise error
        publish(folder, *data, **options)

    monkeypatch.setattr(lease, "WAITS_S", (0.0, 0.0, 0.0))
    with writing(output) as held:
        monkeypatch.setattr(Folder, "publish", fail_at_first)
        held.check()


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "RENEW_S", 0.01)


@pytest.mark.usefixtures("quick")
def test_a_lease_is_renewed_while_it_is_held(output: Folder) -> None:
    with writing(output):
        (first,) = holders(output)
        deadline = time.monotonic() + 30
        while holders(output)[0].renewed == first.renewed:
            assert time.monotonic() < deadline


@pytest.mark.usefixtures("quick")
def test_a_writer_whose_lease_was_taken_away_is_told_and_does_not_take_it_back(
    output: Folder,
) -> None:
    with writing(output) as held:
        (name,) = (name for name in output.names(".lease") if name.endswith(".json"))
        held._released.set()  # as if the process had slept
        held._thread.join()
        output.remove(f".lease/{name}")
        with pytest.raises(RunError, match=r"the lease .* ended before this command did"):
            held.check()


def lease_with(**changes: object) -> bytes:
    return json.dumps({**asdict(elsewhere()), **changes}).encode()


DAMAGED = [
    b"", b"{", b"[]", b"null", b"\xff", b"[" * 100_000, lease_with(since="now"),
    lease_with(since=float("nan")), lease_with(renewed=1e300), lease_with(renewed=-1.0),
    lease_with(pid=-1), lease_with(pid=0), lease_with(pid=1 << 40), lease_with(pid="1"),
    lease_with(user=None), lease_with(host=["a"]),
]  # fmt: skip


@pytest.mark.attack("faults")
@pytest.mark.parametrize("data", DAMAGED, ids=lambda data: data[:20].decode("ascii", "replace"))
def test_a_damaged_lease_counts_as_none_and_is_swept_away(output: Folder, data: bytes) -> None:
    for name in ("000001.json", "000003.json", ".0123456789abcdef.tmp"):
        output.publish(f".lease/{name}", data)
    with writing(output) as held:
        held.check()
        assert len(holders(output)) == 1
    assert set(output.names(".lease")) <= {"lock"}


def test_a_holder_is_named_without_its_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["/somewhere/bin/florilegium", "build", "c.yaml"])
    written: Any = str(Holder.this_process())
    assert written.endswith("florilegium build c.yaml")


def test_an_output_that_cannot_be_written_is_told_with_the_cure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("no folder", encoding="utf-8")
    with (
        pytest.raises(StorageError, match=r"cannot write .*file/out.*check the path"),
        writing(Folder(str(tmp_path / "file/out"))),
    ):
        pytest.fail("there is nothing to hold")

    def refused(*_: object, **__: object) -> int:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    output = Folder(str(tmp_path / "out"))
    monkeypatch.setattr(os, "open", refused)
    with pytest.raises(StorageError, match="read-only: choose another `output`"), writing(output):
        pytest.fail("there is nothing to hold")

"""The lease on an output on object storage, whose requests fail and whose answers are lost."""

from __future__ import annotations

import threading

import pytest

from florilegium.engine.core.errors import OutputInUse, StorageError
from florilegium.engine.storage.folder import Folder
from florilegium.engine.storage.lease import LEASES, writing
from florilegium.engine.storage.object_storage import FEW_TRIES
from tests.fault_proxy import Proxy, Request, no_fault
from tests.object_storage import ObjectStorage


@pytest.fixture
def output(watched: Proxy, object_storage: ObjectStorage) -> Folder:
    return Folder(f"{object_storage.new_bucket()}/out")


def is_lease(request: Request) -> bool:
    return request.kind == "PUT" and LEASES in request.path


def test_the_storage_creates_a_file_once_only(output: Folder) -> None:
    assert output.create("x", b"first")
    assert not output.create("x", b"second")
    assert output.read("x") == b"first"


def test_of_writers_that_start_at_once_one_at_most_is_let_in(output: Folder) -> None:
    start = threading.Barrier(4)
    admitted, refused = [], []
    both_are_done = threading.Barrier(4)

    def write(number: int) -> None:
        start.wait()
        try:
            with writing(Folder(output.url)):
                admitted.append(number)
                both_are_done.wait()
        except OutputInUse:
            refused.append(number)
            both_are_done.wait()

    writers = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert len(admitted) <= 1
    assert len(admitted) + len(refused) == 4
    with writing(output):
        pass
    assert output.names(LEASES) == []


def test_a_writer_whose_first_answer_was_lost_is_not_refused_by_its_own_lease(
    watched: Proxy, output: Folder
) -> None:
    watched.fault = lambda request: (
        "unanswered" if is_lease(request) and request.before == 0 else ""
    )
    with writing(output) as held:
        assert watched.faults == {"unanswered": 1}
        held.check()


def test_a_renewal_gives_up_soon_and_the_lease_is_kept(watched: Proxy, output: Folder) -> None:
    """One that lasted might overwrite the lease of another writer: it would count as lost."""
    with writing(output) as held:
        watched.fault = lambda request: "slow_down" if is_lease(request) else ""
        with pytest.raises(StorageError, match="busy or failed"):
            held._renew()
        assert watched.faults == {"slow_down": FEW_TRIES}
        watched.fault = no_fault
        held.check()


def test_a_second_process_sees_the_lease_of_the_first(output: Folder) -> None:
    other = Folder(output.url)
    assert other.names(LEASES) == []
    with (
        writing(output),
        pytest.raises(OutputInUse, match="is being written by"),
        writing(other),
    ):
        raise AssertionError("two writers")

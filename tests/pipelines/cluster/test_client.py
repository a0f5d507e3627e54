"""The job server: what goes wrong with it, and following a job through broken connections."""

from __future__ import annotations

import socket
from typing import Any

import pytest

from florilegium.engine.core.errors import MissingPackage, RunError, UsageError
from florilegium.pipelines.cluster import client
from florilegium.pipelines.cluster.client import Cluster
from tests.pipelines.cluster.server import JobServer

SECRET = "value-of-a-key"

# Ray 2.60 with aiohttp 3.14
pytestmark = pytest.mark.filterwarnings("ignore:ssl=None is deprecated:DeprecationWarning")


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "POLL_S", 0.01)


def submit(cluster: Cluster, name: str = "florilegium-a-1", **env: str) -> bool:
    return cluster.submit(name, "true", runtime_env={"env_vars": env}, metadata={})


def test_a_dead_address_is_an_error_with_the_cure() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{free.getsockname()[1]}"
        with pytest.raises(RunError, match=rf"no Ray cluster answers at {address} \(.*refused"):
            Cluster(address)


def test_a_server_that_never_answers_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "CONNECT_S", 0.2)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(RunError, match=rf"at {address} \(Read timed out. \(read timeout=0.2\)"):
            Cluster(address)


def test_another_server_is_no_job_server(server: JobServer) -> None:
    with pytest.raises(
        RunError, match="is no job server of Ray, it answers 404: check the address"
    ):
        Cluster(f"{server.address}/elsewhere")


@pytest.mark.parametrize("address", ["auto", "HEAD:8265", "ray://HEAD:10001", "http://"])
def test_an_address_that_is_no_url_is_wrong_usage(address: str) -> None:
    with pytest.raises(UsageError, match=r"is no URL: give http://HEAD:8265"):
        Cluster(address)


def test_variables_of_ray_do_not_replace_the_address(
    server: JobServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "http://127.0.0.1:1")
    monkeypatch.setenv("RAY_API_SERVER_ADDRESS", "http://127.0.0.1:1")
    assert Cluster(server.address).jobs() == []


def test_a_cluster_that_wants_a_token_names_the_variables(server: JobServer) -> None:
    server.token = SECRET
    with pytest.raises(UsageError, match=r"refuses us, .*set RAY_AUTH_MODE=token, and the cluster"):
        Cluster(server.address)


def test_a_cluster_that_takes_no_jobs_yet_is_waited_for(
    server: JobServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.too_early = 2
    cluster = Cluster(server.address)
    assert submit(cluster)
    assert not submit(cluster)
    server.too_early = 1000
    monkeypatch.setattr(client, "PATIENCE_S", 0.1)
    with pytest.raises(RunError, match="No available agent to submit job"):
        submit(cluster, "florilegium-a-2")


def test_without_the_extra_the_pip_line_is_named(
    server: JobServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "find_spec", lambda name: None if name == "pathspec" else name)
    with pytest.raises(
        MissingPackage, match=r"needs pathspec: pip install 'florilegium\[cluster\]'"
    ):
        Cluster(server.address)


def test_lines_come_whole_and_once_although_connections_break(server: JobServer) -> None:
    server.breaks = 2
    cluster = Cluster(server.address)
    submit(cluster)
    lines: list[str] = []
    assert cluster.follow("florilegium-a-1", lines.append).status == "SUCCEEDED"
    assert lines == ["a line", "another line"]


def test_a_last_line_without_end_is_printed_and_colours_are_not(server: JobServer) -> None:
    server.log = ["\x1b[1mbold\x1b[0m\tx\n", "no end"]
    cluster = Cluster(server.address)
    submit(cluster)
    lines: list[str] = []
    cluster.follow("florilegium-a-1", lines.append)
    assert lines == ["bold    x", "no end"]
    assert cluster.logs("florilegium-a-1") == "bold    x\nno end"


def test_no_value_of_a_secret_variable_is_printed(server: JobServer) -> None:
    server.log = [f"the key is {SECRET}\n"]
    cluster = Cluster(server.address, secrets=[SECRET])
    submit(cluster, KEY=SECRET)
    lines: list[str] = []
    cluster.follow("florilegium-a-1", lines.append)
    assert lines == ["the key is [key]"]
    assert cluster.logs("florilegium-a-1") == "the key is [key]\n"


def test_a_cluster_that_goes_away_is_waited_for_and_then_given_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(client, "PATIENCE_S", 0.1)
    with JobServer() as server:
        cluster = Cluster(server.address)
        submit(cluster)
    with pytest.raises(
        RunError, match=r"lost the cluster at .*florilegium job logs florilegium-a-1"
    ):
        cluster.follow("florilegium-a-1", lambda line: None)


def test_a_job_is_cancelled_and_its_end_waited_for(server: JobServer) -> None:
    cluster = Cluster(server.address)
    submit(cluster)
    assert cluster.cancel("florilegium-a-1").status == "STOPPED"


def test_a_job_that_does_not_stop_is_an_error(
    server: JobServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def stop(*_: Any) -> Any:
        from aiohttp import web

        return web.json_response({"stopped": True})

    monkeypatch.setattr(JobServer, "_stop", stop)
    monkeypatch.setattr(client, "CANCEL_S", 0.05)
    with JobServer() as stubborn:
        cluster = Cluster(stubborn.address)
        submit(cluster)
        with pytest.raises(RunError, match="florilegium-a-1 was asked to stop and goes on after"):
            cluster.cancel("florilegium-a-1")


def test_an_answer_that_is_an_error_has_no_secret_in_it(server: JobServer) -> None:
    cluster = Cluster(server.address, secrets=[SECRET])
    with pytest.raises(RunError, match="cannot be used: ") as error:
        cluster.job(f"absent-{SECRET}")
    assert SECRET not in str(error.value)

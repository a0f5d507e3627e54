"""One Ray cluster for all tests here. It wants a token, and no PATH leads to its Python."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.end_to_end.conftest import florilegium

__all__ = ["florilegium"]

TOKEN = "0123456789abcdef" * 4


def podman(folder: Path) -> Path:
    """Return a folder with a stand-in for podman; only inside of it there is a `python`."""
    inside = folder / "bin" / "inside"
    inside.mkdir(parents=True)
    shutil.copy(Path(__file__).with_name("podman.py"), folder / "bin" / "podman.py")
    for path, what in ((inside / "python", ""), (folder / "bin" / "podman", ".py")):
        program = f'"{path}{what}" ' if what else ""
        path.write_text(f'#!/bin/sh\nexec "{sys.executable}" {program}"$@"\n', "utf-8")
        path.chmod(0o755)
    return folder / "bin"


@pytest.fixture(scope="session")
def address() -> Iterator[str]:
    """The address of the job server; this process has the token in its environment."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    own = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": TOKEN}
    folder = tempfile.mkdtemp(prefix="ray", dir="/tmp")  # sockets have short paths
    environment = {
        **own,
        "PATH": f"{podman(Path(folder))}:/usr/bin:/bin",
        "HOME": folder,
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": "1",
        "RAY_USAGE_STATS_ENABLED": "0",
    }
    head = subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("head.py")), str(port), folder],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert head.stdin
    assert head.stdout
    try:
        with pytest.MonkeyPatch.context() as patch:
            for name, value in own.items():
                patch.setenv(name, value)
            for name in ("RAY_ADDRESS", "RAY_API_SERVER_ADDRESS"):
                patch.delenv(name, raising=False)
            lines = (line.strip() for line in head.stdout)
            yield next(line for line in lines if line.startswith("http://"))
    finally:
        head.stdin.close()
        head.wait(60)
        head.stdout.close()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(autouse=True)
def _job_server(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_API_SERVER_ADDRESS", address)
    monkeypatch.setattr("florilegium.pipelines.cluster.client.POLL_S", 0.1)
    assert os.environ["RAY_AUTH_TOKEN"] == TOKEN

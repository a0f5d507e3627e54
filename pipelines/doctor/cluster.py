"""Ray: its shared memory, a cluster that the environment names, and whether it starts here."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path
from time import perf_counter
from urllib.parse import urlsplit

from rich.filesize import decimal

from florilegium.engine.core.errors import RunError
from florilegium.engine.planning.config import RunnerConfig
from florilegium.pipelines.doctor.finding import OK, PROBLEM, WARNING, Finding

TOPIC = "Ray"
ADDRESS = "RAY_ADDRESS"
SHARED = Path("/dev/shm")
_CONNECT_S = 3.0


def ray_findings(runner: RunnerConfig, *, is_online: bool, is_started: bool) -> Iterator[Finding]:
    """Yield what is found about Ray. With `is_online`, the address in the environment is tried;
    with `is_started`, a small Ray is started and stopped."""
    if SHARED.is_dir():
        yield shared_memory(SHARED, runner.object_store_mb)
    if address := os.environ.get(ADDRESS, ""):
        yield _address(address, is_online=is_online)
    if is_started:
        yield _started()


def shared_memory(path: Path, store_mb: int) -> Finding:
    """Return the free shared memory, compared with that of Ray's objects in MiB."""
    free = shutil.disk_usage(path).free
    text = f"{path}, {decimal(free)} free"
    if free >= store_mb << 20:
        return Finding(topic=TOPIC, name="shared memory", level=OK, text=text)
    text += f"; runner.object_store_mb = {store_mb} does not fit, and Ray takes a slow disk instead"
    cure = f"start the container with --shm-size={store_mb + 64}m, or lower the option"
    return Finding(topic=TOPIC, name="shared memory", level=WARNING, text=text, cure=cure)


def _address(address: str, *, is_online: bool) -> Finding:
    text = f"{ADDRESS} names a cluster, which `runner.address=auto` joins"
    parts = urlsplit(address if "://" in address else f"//{address}")
    try:
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if not is_online or address in ("auto", "local"):
        return Finding(topic=TOPIC, name="address", level=OK, text=text)
    cure = f"start that cluster, or unset {ADDRESS}"
    if host is None or port is None:
        text += "; it is not of the form HOST:PORT"
        return Finding(topic=TOPIC, name="address", level=WARNING, text=text, cure=cure)
    try:
        socket.create_connection((host, port), timeout=_CONNECT_S).close()
    except OSError as error:
        text += f"; it does not answer: {error}"
        return Finding(topic=TOPIC, name="address", level=WARNING, text=text, cure=cure)
    return Finding(topic=TOPIC, name="address", level=OK, text=f"{text}; it answers")


def _started() -> Finding:
    from florilegium.engine.execution.ray_runner import ray_started

    began = perf_counter()
    try:
        with ray_started(RunnerConfig(workers=1, object_store_mb=80)):
            seconds = perf_counter() - began
    except RunError as error:
        cure = "build with --runner local, and see Ray's own log in /tmp/ray/session_latest/logs"
        text = f"it does not start: {error}"
        return Finding(topic=TOPIC, name="start", level=PROBLEM, text=text, cure=cure)
    return Finding(topic=TOPIC, name="start", level=OK, text=f"started in {seconds:.1f} s")

"""CPUs, memory and GPUs as this process may use them, those of its container included."""

from __future__ import annotations

import csv
import os
import platform
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from florilegium.engine.core.counted import counted
from florilegium.engine.execution.allowance import memory_left, memory_limit, usable_cpus
from florilegium.pipelines.doctor.finding import OK, WARNING, Finding

TOPIC = "machine"
WORKER_MIB = 700
"""Peak memory of a process that asks all stages of the quickstart, as `florilegium try text_filter
--config quickstart` shows it."""
_MIB = 1 << 20
_NVIDIA = ("nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader")
_NVIDIA_S = 10.0


def machine_findings(store_mib: int) -> Iterator[Finding]:
    """Yield CPUs, memory and GPUs; `store_mib` is the memory for images that a build takes."""
    cpus = usable_cpus()
    whole = os.cpu_count() or cpus
    more = f" of {whole}; the others are not for this process" if cpus < whole else ""
    yield Finding(topic=TOPIC, name="CPUs", level=OK, text=f"{counted(cpus, 'CPU')}{more}")
    yield _memory(cpus, store_mib)
    yield from gpu_findings()


def _memory(cpus: int, store_mib: int) -> Finding:
    import psutil

    memory = psutil.virtual_memory()
    limit = min(memory_limit() or memory.total, memory.total)
    left = memory_left()
    free_mib = min(memory.available, limit if left is None else left) / _MIB
    text = f"{limit / 2**30:.1f} GiB, of which {free_mib / 1024:.1f} GiB are free"
    workers = int((free_mib - store_mib) // WORKER_MIB)
    if workers >= cpus:
        return Finding(topic=TOPIC, name="memory", level=OK, text=text)
    text += f"; {counted(cpus, 'worker')} of the quickstart take about {WORKER_MIB} MiB each"
    cure = f"build with --set runner.workers={max(1, workers)}"
    return Finding(topic=TOPIC, name="memory", level=WARNING, text=text, cure=cure)


def gpu_findings() -> Iterator[Finding]:
    """Yield the GPUs that torch can use. It is imported only where there is a sign of one."""
    found = list(_nvidia())
    has_device = any(Path("/dev").glob("nvidia[0-9]*"))
    is_apple = sys.platform == "darwin" and platform.machine() == "arm64"
    if not (found or has_device or is_apple):
        text = "none found; models run on CPUs, which is slow for large ones"
        yield Finding(topic=TOPIC, name="GPUs", level=OK, text=text)
        return
    here = ", ".join(found) or ("Apple's" if is_apple else "a device of NVIDIA")
    if find_spec("torch") is None:
        text, cure = f"{here}; torch is not installed", "pip install torch"
        yield Finding(topic=TOPIC, name="GPUs", level=WARNING, text=text, cure=cure)
        return
    yield _of_torch(here)


def _nvidia() -> Iterator[str]:
    """Yield name, memory and driver of each GPU that NVIDIA's own program lists."""
    try:
        done = subprocess.run(
            _NVIDIA, capture_output=True, text=True, timeout=_NVIDIA_S, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return
    for name, memory, driver in csv.reader(done.stdout.splitlines(), skipinitialspace=True):
        yield f"{name} ({memory}, driver {driver})"


def _of_torch(here: str) -> Finding:
    import warnings

    import torch

    build = f"torch {torch.__version__}"
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        is_usable = torch.cuda.is_available() or torch.backends.mps.is_available()
    if is_usable:
        text = f"{here}, usable by {build}"
        return Finding(topic=TOPIC, name="GPUs", level=OK, text=text)
    reasons = [str(one.message).splitlines()[0] for one in caught]
    if os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1"):
        reasons, cure = ["CUDA_VISIBLE_DEVICES hides them"], "unset CUDA_VISIBLE_DEVICES"
    elif torch.version.cuda is None:
        reasons, cure = [f"{build} is built for CPUs"], "install the build of torch for CUDA"
    else:
        cure = f"install a driver for CUDA {torch.version.cuda}, or a torch for the driver"
    text = f"{here}; not usable: {'; '.join(reasons) or build}; models run on CPUs"
    return Finding(topic=TOPIC, name="GPUs", level=WARNING, text=text, cure=cure)
